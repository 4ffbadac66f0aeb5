"""`hookseal stamp`: the visual signature of seal.ID on a PDF, and a real one with it when a key is given."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hookseal.clock import Instant
    from hookseal.model import Json
    from hookseal.stamp.element import Box
    from hookseal.stamp.signing import SigningKey

_MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
_MAX_BYTES = 32 * 1024 * 1024
"""Of any other file."""
_PEM_BYTES = 1024 * 1024

_OPTIONS = {
    "/document": "IN.pdf",
    "/page": "--page",
    "/box": "--box",
    "/image": "--image",
    "/signer": "--event",
    "/signer/name": "--name",
    "/timestamp": "--at",
    "/time_zone": "--zone",
    "/font": "--font",
}
"""What `Invalid` points at → what the operator wrote."""
_MISUSES = frozenset({"/time_zone"})


def register(app: typer.Typer) -> None:
    app.command("stamp")(stamp)


def stamp(
    document: Annotated[str, typer.Argument(metavar="IN.pdf", help="The document.")],
    out: Annotated[str, typer.Option("-o", "--out", metavar="OUT.pdf", help="Where the made one goes; - for stdout.")],
    box: Annotated[
        str,
        typer.Option(
            metavar="L,B,R,T", help="Left, bottom, right, top in points from the lower left corner of the page."
        ),
    ],
    at: Annotated[str, typer.Option(metavar="TIME", help="The time shown: unix seconds or RFC 3339.")],
    zone: Annotated[str, typer.Option(metavar="ZONE", help="In which it is shown, such as Europe/Oslo.")] = "UTC",
    page: Annotated[int, typer.Option(help="1 is the first page, -1 the last.")] = -1,
    signer: Annotated[str, typer.Option(help="Which name is shown: none, initial or verified.")] = "none",
    name: Annotated[str | None, typer.Option(help="The signer's name.")] = None,
    event: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="An event, or the events of one subject, as JSON: verified takes the name from it."
        ),
    ] = None,
    image: Annotated[str | None, typer.Option(metavar="FILE", help="A PNG or JPEG; lies behind the text.")] = None,
    font: Annotated[
        str | None, typer.Option(metavar="FILE", help="A TrueType or OpenType font instead of Open Sans.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Sign the document too: the private key, PEM.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(metavar="FILE", help="The key's certificate, PEM; its chain may follow in the file.")
    ] = None,
    passphrase: Annotated[
        str | None, typer.Option(metavar="env:NAME|file:PATH", help="Where the key's passphrase stands.")
    ] = None,
) -> None:
    """Place a visual signature on a PDF: a name or none, the time, an image behind the text."""
    from hookseal.stamp.installed import require

    require()
    from hookseal.cli.printing import print_bytes, say
    from hookseal.errors import ConfigurationError, Invalid
    from hookseal.stamp.element import VisualSignature, zone_of
    from hookseal.stamp.placing import place

    try:
        shown = VisualSignature(
            at=_time(at),
            zone=zone_of(zone),
            box=_box(box),
            page=page,
            name=_name(signer, name, event),
            image=None if image is None else _file(image, "--image", _MAX_BYTES),
        )
        made = place(
            _file(document, "IN.pdf", _MAX_DOCUMENT_BYTES),
            shown,
            key=_key(key, certificate, passphrase),
            font=None if font is None else _file(font, "--font", _MAX_BYTES),
        )
    except Invalid as error:
        option = _OPTIONS.get(error.pointer, error.pointer)
        if error.pointer in _MISUSES:
            raise ConfigurationError("command line", option, error.problem) from None
        say(f"hookseal: {option}: {error.problem}")
        raise typer.Exit(1) from None
    if out == "-":
        print_bytes(made)
    else:
        _write(Path(out), made)
        say(f"wrote {out}")


def _time(text: str) -> "Instant":
    from datetime import datetime

    from hookseal.cli import given
    from hookseal.clock import from_datetime, from_unix

    moment = given.time(text)
    return from_datetime(moment) if isinstance(moment, datetime) else from_unix(float(moment or 0))


def _box(text: str) -> "Box":
    from hookseal.errors import ConfigurationError
    from hookseal.stamp.element import box_of

    try:
        left, bottom, right, top = (float(one) for one in text.split(","))
    except ValueError:
        raise ConfigurationError("command line", "--box", "write four numbers: left,bottom,right,top") from None
    return box_of(left, bottom, right, top)


def _name(signer: str, name: str | None, event: str | None) -> str | None:
    """The name to show. `--name` with `verified` is the operator's own word for what verification produced."""
    from hookseal.errors import ConfigurationError
    from hookseal.stamp import names
    from hookseal.stamp.element import SignerName, name_of

    try:
        kind = SignerName(signer)
    except ValueError:
        raise ConfigurationError("command line", "--signer", "write none, initial or verified") from None
    if kind is SignerName.NONE:
        if name is not None or event is not None:
            raise ConfigurationError(
                "command line", "--signer", "say initial or verified, or give no name and no event"
            )
        return None
    if kind is SignerName.INITIAL:
        if name is None or event is not None:
            raise ConfigurationError("command line", "--name", "give the name that was submitted, and no event")
        return name_of(name)
    if (name is None) is (event is None):
        remedy = "give the event of the verification, or with --name the name that it produced"
        raise ConfigurationError("command line", "--event", remedy)
    if event is not None:
        return names.of_document(_event(event))
    return name_of(name or "")


def _event(path: str) -> "Json":
    import json

    from hookseal.errors import ConfigurationError

    try:
        document: Json = json.loads(_file(path, "--event", _MAX_BYTES))
    except (ValueError, RecursionError):
        raise ConfigurationError("command line", "--event", "the file is not JSON") from None
    return document


def _key(key: str | None, certificate: str | None, passphrase: str | None) -> "SigningKey | None":
    from hookseal.clock import SystemClock
    from hookseal.errors import ConfigurationError
    from hookseal.settings.secrets import Unfit, secret_of_command
    from hookseal.stamp.signing import signing_key

    if key is None and certificate is None and passphrase is None:
        return None
    if key is None or certificate is None:
        raise ConfigurationError("command line", "--key", "give --key and --certificate together")
    secret = None
    if passphrase is not None:
        if not passphrase.startswith(("env:", "file:")):
            # Every user of the machine reads the command lines of every process.
            raise ConfigurationError("command line", "--passphrase", "write env:NAME or file:PATH")
        try:
            secret = secret_of_command(passphrase)
        except Unfit as error:
            raise ConfigurationError("command line", "--passphrase", error.remedy) from None
    pem = _file(key, "--key", _PEM_BYTES), _file(certificate, "--certificate", _PEM_BYTES)
    return signing_key(*pem, secret, SystemClock().now())


def _file(path: str, option: str, limit: int) -> bytes:
    from hookseal.errors import ConfigurationError
    from hookseal.settings.secrets import Unfit, read_small

    try:
        return read_small(Path(path), limit)[0]
    except (Unfit, ValueError) as error:
        remedy = error.remedy if isinstance(error, Unfit) else "is no path"
        raise ConfigurationError("command line", option, remedy) from None


def _write(path: Path, made: bytes) -> None:
    """All of it or nothing: the file beside it takes the name only when it is whole."""
    import os
    import tempfile

    from hookseal.errors import ConfigurationError

    try:
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".hookseal-", suffix=".pdf")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(made)
            os.chmod(beside, 0o666 & ~_umask())
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such path"
        raise ConfigurationError(
            "command line", "-o", f"{str(path)!a} cannot be written ({why}); name another"
        ) from None


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
