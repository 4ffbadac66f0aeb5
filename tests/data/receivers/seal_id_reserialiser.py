"""A receiver that minifies by parsing and dumping, reads one spelling of the headers, and knows no form of the time."""

import base64
import hashlib
import hmac
import json
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "POST"}
    text = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False)
    time = headers["x-ubiid-notification-timestamp"]
    digest = hmac.new(SECRET.encode(), f"{time}|{text}".encode(), hashlib.sha512).digest()
    given = headers["x-ubiid-notification-signature"]
    return (200 if hmac.compare_digest(base64.b64encode(digest), given.encode("latin-1")) else 401), {}
