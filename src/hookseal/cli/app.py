"""Which commands there are and which module each lives in. A module is imported only when its command is asked for.

A module of commands has `register(app)`, which adds its commands to the application. Importing one must be cheap:
servers, databases and HTTP clients are imported inside the command that needs them.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final

import typer

from hookseal.cli.examples import epilog_of

MODULES: Final = {
    "demo": "demo",
    "serve": "serve",
    "check": "check",
    "config": "check",
    "migrate": "migrate",
    "backup": "backup",
    "keys": "keys",
    "verify": "offline",
    "sign": "offline",
    "providers": "providers",
    "simulate": "simulate",
    "stamp": "stamp",
    "events": "operate",
    "subjects": "operate",
    "deliveries": "operate",
    "endpoints": "registering",
    "sources": "registering",
    "quarantine": "operate",
    "replay": "operate",
}
"""Command → module of this package, in the order of `--help`."""


def command(arguments: Sequence[str]) -> Callable[..., Any]:
    """The application, with the commands that these arguments may need: one module, or all of them for `--help`."""
    app = typer.Typer(
        name="hookseal",
        help="The gateway for identity events: receives, proves, stores and delivers the webhooks of identity providers.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    asked = MODULES.get(arguments[0]) if arguments else None
    for name in [asked] if asked else dict.fromkeys(MODULES.values()):
        import_module(f"hookseal.cli.{name}").register(app)
    _add_examples(app)
    made: Callable[..., Any] = typer.main.get_command(app)
    return made


def _add_examples(app: typer.Typer, *, group: str = "") -> None:
    """Set the example of each command, and of the commands of its groups, as the last lines of its `--help`."""
    for one in app.registered_commands:
        one.epilog = epilog_of(f"{group}{one.name or getattr(one.callback, '__name__', '')}")
    for inner in app.registered_groups:
        if inner.typer_instance is not None:
            _add_examples(inner.typer_instance, group=f"{group}{inner.name} ")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"hookseal {version('hookseal')}")
        raise typer.Exit


def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an unforeseen error. Goes first."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Options that stand before the command."""
