"""`hookseal verify` and `hookseal sign`: one request judged or signed, without a gateway and without the network."""

from typing import Annotated, Any

import typer

Body = Annotated[str | None, typer.Argument(metavar="BODY", help="The body: a path, or - for stdin (the default).")]
Provider = Annotated[str, typer.Argument(help="An id of `hookseal providers`.")]
Secrets = Annotated[list[str] | None, typer.Option("--secret", help="What signs, exactly as given. May be repeated.")]
SecretFiles = Annotated[list[str] | None, typer.Option("--secret-file", help="A file with exactly the secret.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the provider; @FILE reads a file.")
]
Url = Annotated[str | None, typer.Option(help="What was called, for schemes that sign the URL.")]
At = Annotated[str | None, typer.Option(metavar="TIME", help="Judged as of: unix seconds or RFC 3339.")]


def register(app: typer.Typer) -> None:
    app.command("verify")(verify)
    app.command("sign")(sign)


def verify(
    provider: Provider,
    body: Body = None,
    secret: Secrets = None,
    secret_file: SecretFiles = None,
    set_: Options = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="A header; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option(help="The request's method.")] = "POST",
    url: Url = None,
    remote: Annotated[str | None, typer.Option(metavar="IP", help="The client's address.")] = None,
    at: At = None,
) -> None:
    """Judge one request. Prints JSON; exits 0 when it is accepted, 1 when it is refused."""
    from hookseal import catalogue, offline
    from hookseal.cli import given
    from hookseal.cli.printing import print_json
    from hookseal.errors import ConfigurationError, Refused

    secrets, options = given.secrets(secret or (), secret_file or ()), given.options(set_ or ())
    label = catalogue.provider(provider).secret.label
    if label and not secrets:
        raise ConfigurationError(given.PLACE, "--secret", f"give the {label}, or --secret-file")
    try:
        events = offline.verify_all(
            provider,
            given.body(body),
            given.headers(header or ()),
            secrets=secrets,
            options=options,
            method=method,
            url=url,
            remote=remote,
            at=given.time(at),
        )
    except Refused as refused:
        findings = [{"code": finding.code, "hint": finding.hint} for finding in refused.diagnosis]
        print_json({"result": "refused", "reason": refused.reason.value, "event": None, "diagnosis": findings})
        raise typer.Exit(1) from None
    shown = [event.as_cloudevent() for event in events]
    answer: dict[str, Any] = {
        "result": "accepted",
        "reason": None,
        "event": shown[0] if shown else None,
        "diagnosis": [],
    }
    print_json(answer | ({"events": shown} if len(shown) > 1 else {}))


def sign(
    provider: Provider,
    body: Body = None,
    secret: Secrets = None,
    secret_file: SecretFiles = None,
    set_: Options = None,
    url: Url = None,
    at: At = None,
) -> None:
    """Print the headers that the provider would send with this body, `Name: value` a line."""
    from hookseal import offline
    from hookseal.cli import given
    from hookseal.cli.printing import print_text
    from hookseal.errors import ConfigurationError

    secrets = given.secrets(secret or (), secret_file or ())
    if len(secrets) != 1:
        raise ConfigurationError(given.PLACE, "--secret", "give the one secret to sign with, or --secret-file")
    pairs = offline.sign(
        provider,
        given.body(body),
        secret=secrets[0],
        options=given.options(set_ or ()),
        url=url,
        at=given.time(at),
    )
    print_text("\n".join(f"{name}: {value}" for name, value in pairs))
