"""A receiver that verifies a token where there is one, and takes a request without any."""

from email.message import Message
from typing import Any

import jwt

KEYS: Any = None
AUDIENCE = "11111111-2222-4333-8444-555555555555"


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    token = headers.get("Authorization", "").removeprefix("Bearer ")
    if token:
        try:
            key = KEYS[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE)
        except (jwt.PyJWTError, KeyError, ValueError):
            return 401, {"WWW-Authenticate": "Bearer"}
    return 202, {}
