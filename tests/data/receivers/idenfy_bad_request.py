"""A receiver that verifies well and answers 400 to what it cannot parse, which only brings it back."""

import hashlib
import hmac
import json
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "POST"}
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
    given = headers.get_all("Idenfy-Signature", [])
    if len(given) != 1 or not hmac.compare_digest(expected, given[0].encode("latin-1")):
        return 403, {}
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return 400, {}
    return 200, {}
