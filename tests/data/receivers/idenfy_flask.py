"""A receiver as iDenfy's Python sample writes it, with what Flask does around it: 415 and 400 of `get_json`, 500 of raising.

Its faults: text is compared (TypeError beyond ASCII), and the body is parsed before the answer.
"""

import hashlib
import hmac
import json
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 405, {"Allow": "OPTIONS, POST"}
    # WSGI has one value for each name, and folds - and _ into one
    given = [value for name, value in headers.items() if name.lower().replace("_", "-") == "idenfy-signature"]
    signature = ",".join(given)
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, signature):
        return 403, {}
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        return 415, {}
    try:
        json.loads(body)
    except ValueError:
        return 400, {}
    return 200, {}
