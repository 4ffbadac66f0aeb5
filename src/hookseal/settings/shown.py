"""The effective settings for a person to read: the keys of `hookseal.toml`, every secret masked.

Of a URL the query is masked too, since that is where people put tokens. A mask does not tell how long a secret is.
"""

import json
from collections.abc import Mapping
from typing import Any

from hookseal.settings.model import FILE, HandshakeSettings, RetrySettings, Settings, SigningSettings
from hookseal.settings.table import PRESET, Row, Section, rows_of

MASK = "***"


def shown(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values: `{"server": {...}, ..., "source": [{...}], "endpoint": [{...}]}`. Unset keys are null."""
    tables: dict[str, Any] = {"file": None if settings.file is None else str(settings.file)}
    for section in Section:
        if section.repeats:
            tables[section.value] = [_table(section, one) for one in getattr(settings, f"{section}s")]
        else:
            tables[section.value] = _table(section, getattr(settings, section))
    return tables


def as_toml(tables: Mapping[str, Any]) -> str:
    """What `shown` gives, as TOML. Keys that are unset are left out."""
    lines = [f"# {tables['file'] or 'defaults'}"]
    for section in Section:
        given = tables[section.value]
        for table in given if section.repeats else [given]:
            lines += ["", f"[[{section}]]" if section.repeats else f"[{section}]"]
            lines += [f"{name} = {toml_value(value)}" for name, value in table.items() if value is not None]
    return "\n".join(lines)


def _table(section: Section, values: object) -> dict[str, Any]:
    rows = rows_of(section)
    if getattr(values, "acting_as", None) is not None:  # what is preset is not written, or it would override the preset
        rows = tuple(row for row in rows if row.name in values.given or row.name not in PRESET)  # type: ignore[attr-defined]
    return {row.name: _value(row, getattr(values, row.attribute)) for row in rows}


def _value(row: Row, value: Any) -> Any:
    match value:
        case SigningSettings():
            scheme = {"scheme": value.scheme} if value.scheme else {}
            return scheme | ({"secrets": [MASK] * len(value.secrets)} if value.secrets else {}) | dict(value.options)
        case HandshakeSettings():
            rest = {"origin": value.origin, "request_rate": value.request_rate, "callback": value.callback or None}
            told = {name: one for name, one in rest.items() if one is not None}
            return {"kind": value.kind, **told} if told else value.kind
        case RetrySettings():
            own = {"delays_s": value.delays_s, "success": value.success, "permanent": value.permanent}
            given = {name: list(one) for name, one in own.items() if one is not None}
            return {"policy": value.policy, **given} if given else value.policy
        case str() if row.name == "keyring":
            return value if value.startswith(FILE) else MASK
        case str() if row.name == "url" and ("?" in value or "@" in value):
            return _masked_url(value)
        case Mapping():
            return {name: MASK if row.secret else one for name, one in value.items()}
        case tuple():
            return [MASK if row.secret else one for one in value]
        case _:
            return value


def _masked_url(url: str) -> str:
    """Without query and password."""
    place, asked, _ = url.partition("?")
    scheme, _, rest = place.partition("://")
    user, at, host = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}://{name}{colon and ':' + MASK}{at}{host}" + (f"?{MASK}" if asked else "")


def toml_value(value: Any) -> str:
    match value:
        case Mapping():
            inner = ", ".join(f"{json.dumps(name)} = {toml_value(one)}" for name, one in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(toml_value(one) for one in value)}]"
        case bool() | int() | float() | str():
            # A basic string of TOML takes every escape that JSON writes; 0x7f alone must be escaped by hand.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case _:
            return json.dumps(str(value))
