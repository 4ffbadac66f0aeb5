"""From a table of a provider file to a scheme: the columns are the fields of the scheme's dataclass.

Knows types only. What values mean, and which of them go together, is the scheme's own business: its `__post_init__`
raises ConfigurationError, with the column as key, for what cannot be.
"""

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from hookseal.errors import ConfigurationError

T = TypeVar("T")


def from_columns(scheme: type[T], table: Mapping[str, object]) -> T:
    """Make a scheme of a TOML table without its `kind`. A list column takes a lone text, too.

    ConfigurationError for an unknown or missing column and for a value of another type; its place is "".
    """
    known = _columns(scheme)  # type: ignore[arg-type]  # mypy takes `type[T]` for unhashable
    for name in table:
        if name not in known:
            raise ConfigurationError("", name, f"is not a column of this scheme; it knows {', '.join(known)}")
    for name, (column, _) in known.items():
        if name not in table and column.default is MISSING and column.default_factory is MISSING:
            raise ConfigurationError("", name, "is missing")
    return scheme(**{name: _converted(name, known[name][1], value) for name, value in table.items()})


# Resolving the type hints of a scheme takes 90 µs, more than verifying a request.
@cache
def _columns(scheme: Any) -> dict[str, tuple[Field[Any], Any]]:
    hints = typing.get_type_hints(scheme)
    return {column.name: (column, hints[column.name]) for column in fields(scheme) if column.init}


def _converted(name: str, wanted: Any, value: object) -> object:
    origin = typing.get_origin(wanted)
    if origin is types.UnionType:  # only `X | None` stands in schemes, and TOML has no null
        wanted = next(kind for kind in typing.get_args(wanted) if kind is not types.NoneType)
        return _converted(name, wanted, value)
    if origin is tuple:
        item = typing.get_args(wanted)[0]
        values = value if isinstance(value, list | tuple) else (value,)
        return tuple(_converted(name, item, one) for one in values)
    if isinstance(wanted, type) and issubclass(wanted, StrEnum):
        choices = [choice.value for choice in wanted]
        if value not in choices:
            raise ConfigurationError("", name, f"must be one of {', '.join(choices)}")
        return wanted(value)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigurationError("", name, "must be a table")
        return value
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ConfigurationError("", name, f"must be {_NAMES[wanted]}")
    return value


_NAMES = {str: "a text", int: "a whole number", bool: "true or false"}
