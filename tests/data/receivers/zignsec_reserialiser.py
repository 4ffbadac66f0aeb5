"""A receiver that verifies what it parsed and dumped again, as many with a JSON middleware in front do."""

import base64
import hashlib
import hmac
import json
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "POST"}
    text = json.dumps(json.loads(body), separators=(",", ":"))
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    given = headers.get("X-ZignSec-Hmac-SHA256", "")
    return (200 if hmac.compare_digest(base64.b64encode(digest), given.encode("latin-1")) else 401), {}
