"""A receiver that reads the page of seal.ID literally: "remove all empty spaces and line-breaks", in values too."""

import base64
import hashlib
import hmac
import re
from email.message import Message

SECRET = "a secret of the tests, long enough"
SPELLINGS = ("ubiid-notification", "x-ubiid-notification")


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "POST"}
    signature, time = one_value(headers, "signature"), one_value(headers, "timestamp")
    if signature is None or time is None or not is_a_moment(time):
        return 401, {}
    expected = sign(time, re.sub(rb"[ \t\r\n]", b"", body))
    return (200 if hmac.compare_digest(expected, signature.encode("latin-1", "replace")) else 401), {}


def one_value(headers: Message, what: str) -> str | None:
    """The value of a header with two spellings, or None if it is absent or not the same everywhere."""
    values = [value for spelling in SPELLINGS for value in headers.get_all(f"{spelling}-{what}", [])]
    alone = all(len(headers.get_all(f"{spelling}-{what}", [])) <= 1 for spelling in SPELLINGS)
    return values[0] if alone and len(set(values)) == 1 else None


def is_a_moment(time: str) -> bool:
    form = re.fullmatch(r"[0-9]{4}([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z", time, re.ASCII)
    if form is None:
        return False
    month, day, hour, minute, second = map(int, form.groups())
    return 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60


def sign(time: str, text: bytes) -> bytes:
    digest = hmac.new(SECRET.encode(), time.encode("latin-1") + b"|" + text, hashlib.sha512).digest()
    return base64.b64encode(digest)
