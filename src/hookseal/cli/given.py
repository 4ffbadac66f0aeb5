"""What stands on the command line of `verify`, `sign` and their like, as exact bytes and typed values.

Arguments are bytes to the operating system. Python carries what is not UTF-8 as lone surrogates; `os.fsencode` gives
the bytes back, so that a secret or a header arrives exactly as it was typed. Nothing is stripped: whoever asks here
often asks because of a blank too many.
"""

import json
import math
import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hookseal.clock import parse_rfc3339, to_datetime
from hookseal.errors import ConfigurationError
from hookseal.settings.kinds import ID, is_network

PLACE = "command line"

_UNIX = re.compile(r"[0-9]{1,11}(\.[0-9]{1,9})?", re.ASCII)
_MAX_BYTES = 64 * 1_048_576


def body(path: str | None) -> bytes:
    """The bytes of a file, or of stdin for `-` and for nothing."""
    return sys.stdin.buffer.read() if path in (None, "-") else _file(str(path), "BODY")


def secrets(texts: Sequence[str], files: Sequence[str]) -> list[bytes]:
    """Those given as text first, then those in files; exact, blank space and newlines included."""
    given = [("--secret", os.fsencode(text)) for text in texts]
    given += [("--secret-file", _file(path, "--secret-file")) for path in files]
    for key, secret in given:
        if not secret:
            raise ConfigurationError(PLACE, key, "is empty; give the secret")
    return [secret for _, secret in given]


def headers(lines: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """From `Name: value`."""
    made = []
    for line in lines:
        name, colon, value = os.fsencode(line).partition(b":")
        if not colon or not name.strip():
            raise ConfigurationError(PLACE, "--header", "write 'Name: value'")
        made.append((name, value))
    return made


def options(settings: Sequence[str]) -> dict[str, Any]:
    """From `KEY=VALUE`; a value that begins with `@` names a file. A key that is given again makes a list.

    A value that is written as a JSON array, object, number, true or false is taken as such; all else is text. Write
    `KEY="12"`, with the quotation marks in the value, for a text of digits.
    """
    made: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise ConfigurationError(PLACE, "--set", "write KEY=VALUE")
        value = _typed(_text_file(text[1:], key) if text.startswith("@") else text)
        if key in made:
            before = made[key] if isinstance(made[key], list) else [made[key]]
            made[key] = [*before, value]
        else:
            made[key] = value
    if "addresses" in made:
        made["addresses"] = _networks(made["addresses"])
    return made


def time(text: str | None) -> datetime | float | None:
    """From unix seconds or RFC 3339; None stays None."""
    if text is None:
        return None
    if _UNIX.fullmatch(text) and float(text) < 253_402_300_800:
        return float(text)
    try:
        return to_datetime(parse_rfc3339(text))
    except (ValueError, OverflowError):
        raise ConfigurationError(PLACE, "--at", "write unix seconds or a time such as 2026-11-21T08:00:00Z") from None


def _networks(given: Any) -> list[str]:
    """The one option that is the source's and not the provider's: networks, or a provider's id for its list."""
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(text, str) and (is_network(text) or ID.fullmatch(text)) for text in texts):
        raise ConfigurationError(PLACE, "--set addresses", "write networks such as 10.20.0.0/16")
    return texts


def json_value(text: str | bytes) -> Any:
    """Parse JSON. ValueError, also for NaN and for a number that is infinite as a float: JSON could not write it."""
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _typed(text: str) -> Any:
    try:
        return json_value(text)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that no float holds")
    return number


def _text_file(path: str, key: str) -> str:
    try:
        return _file(path, f"--set {ascii(key)[1:-1]}").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(
            PLACE, f"--set {ascii(key)[1:-1]}", "the file is not UTF-8; save it as UTF-8"
        ) from None


def _file(path: str, key: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "no such path"
        raise ConfigurationError(PLACE, key, f"the file {path!a} cannot be read ({why}); name another") from None
    if len(content) > _MAX_BYTES:
        raise ConfigurationError(PLACE, key, f"the file is larger than {_MAX_BYTES} bytes; name another")
    return content
