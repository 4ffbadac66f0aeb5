"""What the value of a setting may look like. A kind reads what TOML gives and refuses it with the remedy.

A kind knows shapes and ranges only. No message holds the value: it may be a secret pasted into the wrong line.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from hookseal.settings.model import ENV, FILE, SQLITE
from hookseal.settings.secrets import Desk, Unfit, file_path, raise_all, secret_bytes

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*", re.ASCII)


class Kind(Protocol):
    @property
    def says(self) -> str:
        """What to write, for the reference: `text`, `whole number from 1 to 9`."""
        ...

    def read(self, value: Any, desk: Desk) -> Any:
        """What the settings hold. Unfit when the value cannot be used."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    says: str = "text"
    longest: int = 2048

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str):
            raise Unfit("write text in quotation marks")
        if not value or len(value) > self.longest:
            raise Unfit(f"write 1 to {self.longest} characters")
        if not value.isprintable() or value != value.strip():
            raise Unfit("remove the blank space or control characters")
        return value


@dataclass(frozen=True, slots=True)
class Id:
    says: str = "id"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or not ID.fullmatch(value):
            raise Unfit("write 1 to 63 of a-z, 0-9, `-` and `_`, a letter or digit first")
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    low: int
    high: int

    @property
    def says(self) -> str:
        return f"whole number from {self.low} to {self.high}"

    def read(self, value: Any, desk: Desk) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise Unfit(f"write a whole number from {self.low} to {self.high}")
        return value


@dataclass(frozen=True, slots=True)
class Number:
    low: float
    high: float

    @property
    def says(self) -> str:
        return f"number from {self.low:g} to {self.high:g}"

    def read(self, value: Any, desk: Desk) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Unfit(f"write a number from {self.low:g} to {self.high:g}")
        # Compared before it is converted: an integer of 400 digits fits no float. False for NaN, too.
        if not self.low <= value <= self.high:
            raise Unfit(f"write a number from {self.low:g} to {self.high:g}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Switch:
    says: str = "true or false"

    def read(self, value: Any, desk: Desk) -> bool:
        if not isinstance(value, bool):
            raise Unfit("write true or false, without quotation marks")
        return value


@dataclass(frozen=True, slots=True)
class ListOf:
    item: Kind
    most: int = 1000

    @property
    def says(self) -> str:
        return f"list of {self.item.says}"

    def read(self, value: Any, desk: Desk) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Unfit("write a list in square brackets")
        if len(value) > self.most:
            raise Unfit(f"write at most {self.most} entries")
        items: list[Any] = []
        unfits: list[Unfit] = []
        for number, item in enumerate(value):
            try:
                items.append(self.item.read(item, desk))
            except Unfit as unfit:
                unfits += unfit.within(f"[{number}]")
        raise_all(unfits)
        return tuple(items)


@dataclass(frozen=True, slots=True)
class Listen:
    says: str = "HOST:PORT"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or host_and_port(value) is None:
            raise Unfit("write HOST:PORT, such as 127.0.0.1:8400 or [::1]:8400")
        return value


def host_and_port(listen: str) -> tuple[str, int] | None:
    """`[::1]:8400` → ("::1", 8400). None when it is not HOST:PORT; port 0 lets the system choose."""
    host, colon, port = listen.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        return (host, int(port)) if _is_address(host, 6) else None
    if re.fullmatch(r"[0-9.]+", host, re.ASCII):
        return (host, int(port)) if _is_address(host, 4) else None
    return (host, int(port)) if _HOST.fullmatch(host) else None


def _is_address(text: str, version: int) -> bool:
    try:
        return "%" not in text and ipaddress.ip_address(text).version == version
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Network:
    """A network written exactly: host bits that are set are a slip, and guessing which one is worse than asking."""

    says: str = "CIDR"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or not is_network(value):
            raise Unfit("write a network such as 10.20.0.0/16 with no address bits set behind the prefix")
        return value


def is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=True)
    except ValueError:
        return False
    return "%" not in text


@dataclass(frozen=True, slots=True)
class NetworkOrProvider:
    says: str = "CIDR or provider id"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or not (is_network(value) or ID.fullmatch(value)):
            raise Unfit(
                "write a network such as 10.20.0.0/16 with no address bits set behind the prefix, or a provider id"
            )
        return value


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """What others call. It is never called by us, so the address policy does not apply to it."""

    says: str = "URL"

    def read(self, value: Any, desk: Desk) -> str:
        text = Text().read(value, desk)
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise Unfit("write a URL such as https://hooks.example.com") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or port == 0 or not text.isascii():
            raise Unfit("write a URL such as https://hooks.example.com")
        if "@" in parts.netloc or "?" in text or "#" in text or " " in text:
            raise Unfit("write the URL without user name, query and fragment")
        return text


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """The path of SQLite is made absolute; the URL of PostgreSQL may name several hosts with commas between them."""

    says: str = "sqlite:///PATH or postgresql://USER@HOST/DATABASE"

    def read(self, value: Any, desk: Desk) -> str:
        if isinstance(value, str) and value.startswith(ENV):  # a URL with a password is a secret
            value = secret_bytes(value, desk).decode("utf-8", "replace")
        text = Text().read(value, desk)
        if text.startswith(("postgresql:", "postgres:")):
            return self._postgres(text)
        path = text.removeprefix(SQLITE)
        if path == text or not path or path.endswith("/") or "?" in path or "#" in path:
            raise Unfit("write sqlite:///relative/path or sqlite:////absolute/path")
        if path.startswith(":memory:"):
            raise Unfit("a store in memory would lose what it acknowledged; name a file")
        return SQLITE + str(desk.folder / path)

    def _postgres(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            database = parts.path.strip("/")
        except ValueError:
            database = ""
        if not database or "/" in database or "#" in text or not text.isprintable() or " " in text:
            raise Unfit("write postgresql://USER@HOST/DATABASE")
        return text


@dataclass(frozen=True, slots=True)
class KeyringPlace:
    """`file:PATH` is kept, made absolute. A keyring by `env:` or as text becomes the keyring's text."""

    says: str = "secret: `file:PATH`, `env:NAME` or the keyring itself"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or not value:
            raise Unfit("write file:PATH")
        if value.startswith(FILE):
            return FILE + str(file_path(value.removeprefix(FILE), desk.folder))
        if value.startswith(ENV):
            return secret_bytes(value, desk).decode("utf-8", "replace")
        return value


@dataclass(frozen=True, slots=True)
class Secret:
    says: str = "secret: `env:NAME`, `file:PATH` or the text itself"

    def read(self, value: Any, desk: Desk) -> bytes:
        if not isinstance(value, str):
            raise Unfit("write text: env:NAME, file:PATH or the secret itself")
        return secret_bytes(value, desk)


@dataclass(frozen=True, slots=True)
class OneOf:
    choices: tuple[str, ...]

    @property
    def says(self) -> str:
        return " or ".join(f"`{choice}`" for choice in self.choices)

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or value not in self.choices:
            raise Unfit(f"write {self._choices()}")
        return value

    def _choices(self) -> str:
        return " or ".join(f'"{choice}"' for choice in self.choices)
