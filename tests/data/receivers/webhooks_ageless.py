"""A receiver of Standard Webhooks that verifies the signature and never looks at the time that it covers."""

import base64
import hashlib
import hmac
from email.message import Message

SECRET = "a secret of the tests, long enough"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    values = [headers.get_all(name) or [] for name in ("webhook-id", "webhook-timestamp", "webhook-signature")]
    if any(len(value) != 1 for value in values):
        return 401, {}
    id, time, signatures = (value[0].encode("latin-1", "replace") for value in values)
    digest = hmac.new(SECRET.encode(), b"%s.%s.%s" % (id, time, body), hashlib.sha256).digest()
    expected = b"v1," + base64.b64encode(digest)
    matches = [hmac.compare_digest(expected, each) for each in signatures.split(b" ")]
    return (204 if any(matches) else 401), {}
