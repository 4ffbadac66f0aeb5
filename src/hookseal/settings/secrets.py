"""A secret as it is configured: `env:NAME`, `file:PATH`, or the text itself. Gives its exact bytes.

Nothing is ever stripped. A newline at the end of a secret file is the commonest reason why every signature fails, and
a gateway that removed it silently would fail in the other direction where the newline belongs to the secret. So it is
refused, with the command that mends it. No message here holds any part of a secret.
"""

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hookseal.settings.model import ENV, FILE

SHORT_BYTES = 16
MAX_SECRET_BYTES = 65_536

# $X, ${X}, $(command), %X%, {{ x }}, and `env:` or `file:` in another case.
_UNEXPANDED = re.compile(
    rb"\$[A-Za-z_][A-Za-z0-9_]*|\$\{.*\}|\$\(.*\)|%[A-Za-z_][A-Za-z0-9_]*%|\{\{.*\}\}|(?i:env|file):.*", re.DOTALL
)
_BOM = "\ufeff"


class Unfit(ValueError):
    """A value cannot be used. The message is the remedy and never holds the value; `part` says which part of the key.

    more  what else is wrong with the same value.
    """

    def __init__(self, remedy: str, part: str = "", more: Sequence["Unfit"] = ()) -> None:
        super().__init__(remedy)
        self.remedy = remedy
        self.part = part
        self.more = tuple(more)

    @property
    def all(self) -> tuple["Unfit", ...]:
        return (self, *self.more)

    def within(self, part: str) -> tuple["Unfit", ...]:
        """Return all of them as faults of a part of a larger value."""
        return tuple(Unfit(one.remedy, part + one.part) for one in self.all)


def raise_all(unfits: Sequence[Unfit]) -> None:
    """Raise the first with the others behind it; return if there is none."""
    if unfits:
        first, *more = unfits
        raise Unfit(first.remedy, first.part, more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a value is read with.

    folder   where relative paths count from.
    exposed  the value stands in a file that every user of this machine can read.
    distant  the value came over the API: it may name neither variables nor files of this machine.
    """

    folder: Path
    environ: Mapping[str, str]
    exposed: bool = False
    distant: bool = False
    warnings: list[str] = field(default_factory=list)


def secret_bytes(text: str, desk: Desk) -> bytes:
    """The secret itself. Unfit when it is missing, empty, or has blank space around it. UTF-8 when it is text."""
    if desk.distant and text.startswith((ENV, FILE)):
        raise Unfit("give the secret itself; `env:` and `file:` are for the configuration file")
    if text.startswith(ENV):
        secret, place = _from_environment(text.removeprefix(ENV), desk), "the variable"
    elif text.startswith(FILE):
        secret, place = _from_file(text.removeprefix(FILE), desk), "the file"
    else:
        secret, place = text.encode(), "the secret"
        if desk.exposed:
            desk.warnings.append("stands in a file that everyone can read; `chmod 600` it, or write env:NAME")
    _refuse_blank(secret, place)
    if _UNEXPANDED.fullmatch(secret):
        desk.warnings.append("looks like a variable that nothing has expanded; write env:NAME")
    if len(secret) < SHORT_BYTES:
        desk.warnings.append(f"is shorter than {SHORT_BYTES} bytes, which can be guessed; use a longer one")
    return secret


def secret_of_command(text: str) -> bytes:
    """The same for a secret that an option of a command names: relative paths count from the current folder."""
    return secret_bytes(text, Desk(folder=Path(), environ=os.environ))


def _from_environment(name: str, desk: Desk) -> bytes:
    if not name or "=" in name or "\0" in name:
        raise Unfit("write the name of a variable after `env:`")
    value = desk.environ.get(name)
    if value is None:
        raise Unfit(f"the variable {_plain(name)} is not set; set it before starting")
    # The environment is bytes; Python carries those that are not UTF-8 as lone surrogates.
    return value.encode("utf-8", "surrogateescape")


def _from_file(name: str, desk: Desk) -> bytes:
    path = file_path(name, desk.folder)
    content, mode = read_small(path, MAX_SECRET_BYTES)
    if mode & stat.S_IROTH:
        desk.warnings.append(f"the file {_plain(str(path))} is readable by everyone; `chmod 600` it")
    return content


def file_path(name: str, folder: Path) -> Path:
    """The absolute path that `file:` names. Unfit for what no path can be."""
    if not name or "\0" in name:
        raise Unfit("write a path after `file:`")
    return folder / name


def read_small(path: Path, limit: int) -> tuple[bytes, int]:
    """The content and mode of a regular file of at most `limit` bytes. Never waits on a pipe or a device."""
    shown = _plain(str(path))
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unfit(f"{shown} is not a file; name a file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise Unfit(f"the file {shown} is not there; make it or name another") from None
    except PermissionError:
        raise Unfit(f"the file {shown} may not be read by this user; change its owner or mode") from None
    except OSError as error:
        raise Unfit(f"the file {shown} cannot be read ({_errno(error)}); name another") from None
    if len(content) > limit:
        raise Unfit(f"the file {shown} is larger than {limit} bytes; name the right file")
    return content, found.st_mode


def _refuse_blank(secret: bytes, place: str) -> None:
    if not secret:
        raise Unfit(f"{place} is empty; give the secret")
    text = secret.decode("utf-8", "replace")
    if place == "the file" and text.endswith(("\n", "\r")):
        raise Unfit("the file ends with a newline, which would count as part of the secret; write it with `printf %s`")
    if text[0] == _BOM:
        raise Unfit(f"{place} begins with a byte order mark; save it without")
    if text != text.strip():
        raise Unfit(f"{place} has blank space at its start or end; remove it, it is never stripped")
    if "\0" in text:
        raise Unfit(f"{place} holds a zero byte; give the secret as text")


def _plain(text: str) -> str:
    """Text from the operator's file, fit for one line of a terminal."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 200 else shown[:200] + "..."


def _errno(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")
