"""Values that are tables of their own inside a `[[source]]` or an `[[endpoint]]`: options, headers, signing, retry.

They are judged here as far as their shape goes. What a provider, a scheme or a policy must know is judged above.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from hookseal.settings.kinds import Kind, ListOf, Number, OneOf, Secret, Switch, Text, Whole
from hookseal.settings.model import HandshakeSettings, RetrySettings, SigningSettings
from hookseal.settings.secrets import Desk, Unfit, raise_all, secret_bytes

_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}", re.ASCII)
_ORIGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_TOKEN_OPTIONS = frozenset(("audience", "issuer", "tenant"))
_STATUSES = re.compile(r"[1-5]xx|[1-5][0-9][0-9]|[1-5][0-9][0-9]-[1-5][0-9][0-9]", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a provider, by the names of its entry, which judges them."""

    says: str = "table"

    def read(self, value: Any, desk: Desk) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Unfit('write a table such as { audience = "..." }')
        return value


@dataclass(frozen=True, slots=True)
class HeaderTable:
    """Headers added to every call. Values may be secrets, so they are read as such; `egress.headers` judges them."""

    says: str = "table of header names and values; a value may be `env:NAME` or `file:PATH`"

    def read(self, value: Any, desk: Desk) -> dict[str, str]:
        if not isinstance(value, dict) or len(value) > 50:
            raise Unfit('write a table of at most 50 headers such as { X-Tenant = "blue" }')
        return {name: self._value(name, text, desk) for name, text in value.items()}

    def _value(self, name: str, text: Any, desk: Desk) -> str:
        part = f".{name}" if _HEADER_NAME.fullmatch(name) else ""
        if not isinstance(text, str):
            raise Unfit("write text in quotation marks", part)
        quiet = replace(desk, exposed=False, warnings=[])  # a header's value is rarely a secret: no warning
        try:
            return secret_bytes(text, quiet).decode("utf-8", "replace")
        except Unfit as unfit:
            raise Unfit(unfit.remedy, part) from None


@dataclass(frozen=True, slots=True)
class Signing:
    """Without a scheme where the endpoint acts as a provider; whether it does is judged with the whole endpoint."""

    says: str = (
        '`none`, or a table: `scheme`, and `secret` or `secrets` unless the scheme is "none"; for tokens `audience`, '
        "`issuer`, `tenant`"
    )

    def read(self, value: Any, desk: Desk) -> SigningSettings:
        if value == "none":
            return SigningSettings(scheme="none")
        known = ("scheme", "secret", "secrets", *sorted(_TOKEN_OPTIONS))
        table = _table(value, known, '{ scheme = "standard_webhooks", secret = "env:NAME" }')
        scheme = _part(".scheme", lambda: Text(longest=64).read(table["scheme"], desk)) if "scheme" in table else ""
        if "secret" in table and "secrets" in table:
            raise Unfit("write `secret`, or `secrets` while it rotates, not both", ".secrets")
        if "secrets" in table:
            secrets = _part(".secrets", lambda: ListOf(Secret()).read(table["secrets"], desk))
        elif "secret" in table:
            secrets = (_part(".secret", lambda: Secret().read(table["secret"], desk)),)
        else:
            secrets = ()
        if scheme == "none" and secrets:
            raise Unfit('remove the secret, or name a signing scheme instead of "none"', ".secret")
        options = {
            name: _part(f".{name}", partial(Text().read, table[name], desk)) for name in table.keys() & _TOKEN_OPTIONS
        }
        if scheme not in ("none", "") and not secrets and not options:
            raise Unfit("give the secret to sign with, such as env:NAME", ".secret")
        return SigningSettings(scheme=scheme, secrets=secrets, options=options)


@dataclass(frozen=True, slots=True)
class Handshake:
    says: str = "`none` or `cloudevents`, or a table: `kind`, `origin`, `request_rate`, `callback`"

    def read(self, value: Any, desk: Desk) -> HandshakeSettings:
        kind = OneOf(("none", "cloudevents"))
        if not isinstance(value, dict):
            return HandshakeSettings(kind=kind.read(value, desk))
        known = tuple(field.name for field in fields(HandshakeSettings))
        table = _table(value, known, '"none", "cloudevents" or { kind = "cloudevents", origin = "hooks.example.com" }')
        made: dict[str, Any] = {"kind": "cloudevents"}
        readers: dict[str, Kind] = {
            "kind": kind,
            "origin": Origin(),
            "request_rate": Whole(1, 1_000_000),
            "callback": Switch(),
        }
        made.update(_parts(table, readers, desk))
        if made["kind"] == "none" and len(table) > 1:
            raise Unfit('remove the other keys, or write kind = "cloudevents"', ".kind")
        return HandshakeSettings(**made)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sends, as the receiver is asked: the name of a host."""

    says: str = "host name"

    def read(self, value: Any, desk: Desk) -> str:
        if not isinstance(value, str) or not _ORIGIN.fullmatch(value):
            raise Unfit("write a host name such as hooks.example.com")
        return value


@dataclass(frozen=True, slots=True)
class Retry:
    says: str = "name of a policy, or a table: `policy`, `delays_s`, `success`, `permanent`"

    def read(self, value: Any, desk: Desk) -> RetrySettings:
        if isinstance(value, str):
            return RetrySettings(policy=Text(longest=64).read(value, desk))
        known = tuple(field.name for field in fields(RetrySettings))
        table = _table(value, known, '"standard" or { delays_s = [5, 300] }')
        readers: dict[str, Kind] = {
            "policy": Text(longest=64),
            "delays_s": ListOf(Number(0, 31_536_000), 100),
            "success": ListOf(Statuses(), 100),
            "permanent": ListOf(Statuses(), 100),
        }
        return RetrySettings(**_parts(table, readers, desk))


@dataclass(frozen=True, slots=True)
class Statuses:
    says: str = "status or range"

    def read(self, value: Any, desk: Desk) -> str:
        # In range before it is text: Python writes no integer of more than 4300 digits.
        text = str(value) if isinstance(value, int) and 100 <= value <= 599 else value
        if not isinstance(text, str) or not _STATUSES.fullmatch(text):
            raise Unfit('write a status such as 410, "2xx" or "200-204"')
        return text


def _table(value: Any, known: tuple[str, ...], example: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(f"write {example}")
    for name in value:
        if name not in known:
            raise Unfit(f"unknown key {ascii(name)[:60]} in this table; known are {', '.join(known)}")
    return value


def _part(part: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Unfit as unfit:
        first, *more = unfit.within(part)
        raise Unfit(first.remedy, first.part, more) from None


def _parts(table: Mapping[str, Any], readers: Mapping[str, Kind], desk: Desk) -> dict[str, Any]:
    """Return the values of the keys that have a reader. Unfit with the faults of all of them."""
    values: dict[str, Any] = {}
    unfits: list[Unfit] = []
    for name, kind in readers.items():
        if name in table:
            try:
                values[name] = kind.read(table[name], desk)
            except Unfit as unfit:
                unfits += unfit.within(f".{name}")
    raise_all(unfits)
    return values
