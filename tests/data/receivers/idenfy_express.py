"""A receiver as iDenfy's Node sample writes it: `timingSafeEqual` throws where lengths differ, `JSON.parse` where it is none.

`express.raw({type: "application/json"})` leaves no bytes for another media type, and hashing them throws.
"""

import hashlib
import hmac
import json
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method != "POST":
        return 404, {}
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise TypeError("the data argument must be of type string or Buffer")
    signature = ", ".join(headers.get_all("Idenfy-Signature", [])).encode()
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
    if len(expected) != len(signature):
        raise ValueError("input buffers must have the same byte length")
    if not hmac.compare_digest(expected, signature):
        return 403, {}
    json.loads(body)
    return 200, {}
