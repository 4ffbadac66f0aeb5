"""A receiver that compares only as much as it was given, and tells the right signature to whoever was wrong."""

import hashlib
import hmac
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "POST"}
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    given = headers.get("Idenfy-Signature", "")
    if expected.startswith(given):
        return 200, {}
    return 403, {"X-Debug": f"expected {expected}"}
