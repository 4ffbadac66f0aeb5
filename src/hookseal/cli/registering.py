"""`hookseal endpoints` and `hookseal sources`: listed, shown, made, changed, deleted, tested, given a new secret.

The keys are those of the configuration file, dots between the parts: `--set signing.scheme=idenfy`. A verb is only a
verb when an id follows it, so that an endpoint may be named `test`.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from hookseal.cli.operate import AsJson, Key, Url, print_one, print_page

_COLUMNS = {
    "sources": ("id", "provider", "path", "secrets", "origin", "problem"),
    "endpoints": ("id", "url", "sources", "types", "format", "signing", "retry", "consent", "origin", "problem"),
}
_VERBS = "create, update, delete, test or rotate"

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[ID | VERB ID]", help=f"One of them; or {_VERBS}, and an id.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="create, update: KEY=VALUE, as in the file; @PATH reads a file, null takes a key away."),
]
Table = Annotated[str | None, typer.Option("--from", help="create, update: the keys from a JSON file; - is stdin.")]
SecretFile = Annotated[
    str | None, typer.Option("--secret-file", help="create, rotate: a file with exactly the secret; made unless given.")
]
Overlap = Annotated[
    int | None, typer.Option("--overlap-s", min=0, help="rotate: seconds that the former secrets stay live.")
]


def register(app: typer.Typer) -> None:
    for command in (endpoints, sources):
        app.command(command.__name__)(command)


def endpoints(
    words: Words = None,
    settings: Set = None,
    table: Table = None,
    secret_file: SecretFile = None,
    overlap_s: Overlap = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """List the endpoints that events go to; show, create, update, delete or test one, or rotate its secret."""
    _run("endpoints", words or [], _Given(settings or [], table, secret_file, overlap_s), url, key, json)


def sources(
    words: Words = None,
    settings: Set = None,
    table: Table = None,
    secret_file: SecretFile = None,
    overlap_s: Overlap = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """List the sources that events come from; show, create, update, delete or test one, or rotate its secret."""
    _run("sources", words or [], _Given(settings or [], table, secret_file, overlap_s), url, key, json)


class _Given:
    """What stands on the command line behind the verb."""

    def __init__(
        self, settings: Sequence[str], table: str | None, secret_file: str | None, overlap_s: int | None
    ) -> None:
        self._settings = settings
        self._table = table
        self._secret_file = secret_file
        self._overlap_s = overlap_s

    def new(self, what: str) -> dict[str, Any]:
        """The table of one to be made. The secret of `--secret-file` has its place there, for a command line is no place."""
        made = self.table()
        if (secret := self._secret()) is not None:
            if what == "sources":
                made["secrets"] = [secret]
            else:
                signing = made.get("signing")
                signing = {"scheme": signing} if isinstance(signing, str) else signing
                made["signing"] = {**(signing if isinstance(signing, dict) else {}), "secret": secret}
        return made

    def table(self) -> dict[str, Any]:
        """The keys of `--from`, and over them those of `--set`."""
        from hookseal.cli import given
        from hookseal.cli.remote import misuse

        made: Any = {}
        if self._table is not None:
            try:
                made = given.json_value(given.body(self._table))
            except (ValueError, RecursionError):
                misuse("--from: the file is not JSON, or holds a number that is too large")
            if not isinstance(made, dict):
                misuse("--from: write one JSON object")
        for name, value in given.options(self._settings).items():
            *parts, last = name.split(".")
            place = made
            for part in parts:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    misuse(f"--set: {part!a} is no table")
            place[last] = value
        return made  # type: ignore[no-any-return]

    def rotation(self) -> dict[str, Any]:
        made: dict[str, Any] = {} if self._overlap_s is None else {"overlap_s": self._overlap_s}
        if (secret := self._secret()) is not None:
            made["secret"] = secret
        return made

    def _secret(self) -> str | None:
        from hookseal.cli import given
        from hookseal.cli.remote import misuse

        if self._secret_file is None:
            return None
        try:
            return given.secrets([], [self._secret_file])[0].decode()
        except UnicodeDecodeError:
            misuse("--secret-file: the file is not UTF-8")


def _run(what: str, words: list[str], asked: _Given, url: str | None, key: str | None, as_json: bool) -> None:
    from hookseal.cli.printing import say
    from hookseal.cli.remote import gateway, misuse, segment

    there = gateway(url, key)
    match words:
        case []:
            page = there.page(what, {}, 100_000, None)
            print_page(page, page["data"], _COLUMNS[what], as_json)
        case [one]:
            print_one(there.get(f"{what}/{segment(one)}"), as_json)
        case ["create", one]:
            _print_made(there.post(what, {"id": one, **asked.new(what)}), as_json)
        case ["update", one]:
            _print_made(there.patch(f"{what}/{segment(one)}", asked.table()), as_json)
        case ["delete", one]:
            there.delete(f"{what}/{segment(one)}")
            if as_json:
                print_one({"id": one, "deleted": True}, as_json)
            else:
                say(f"{one} is deleted")
        case ["rotate", one]:
            print_one(there.post(f"{what}/{segment(one)}/rotate", asked.rotation()), as_json)
        case ["test", one]:
            told = there.post(f"{what}/{segment(one)}/test")
            print_one(told, as_json)
            if told.get("delivered") is False or told.get("result") == "refused":
                raise typer.Exit(1)
        case _:
            misuse(f"{what}: give one id, or {_VERBS} and one id")


def _print_made(one: dict[str, Any], as_json: bool) -> None:
    from hookseal.cli.printing import say
    from hookseal.cli.remote import plain

    hidden = set() if as_json else {"warnings"} | ({"secret"} if one["secret"] is None else set())
    print_one({name: each for name, each in one.items() if name not in hidden}, as_json)
    for warning in one["warnings"]:
        say(f"warning: {plain(warning['pointer'])} {plain(warning['detail'])}")
    if one["secret"] is not None:
        say("the secret was made here and is shown this once")
