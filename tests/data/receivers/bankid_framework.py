"""A receiver for BankID whose framework answers OPTIONS by itself, and whose token check believes the signature alone.

`KEYS` is a key set (PyJWKSet) that the test puts in.
"""

import json
from email.message import Message
from typing import Any

import jwt

KEYS: Any = None


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method == "OPTIONS":
        return 200, {"Allow": "OPTIONS, POST"}
    if method != "POST":
        return 405, {"Allow": "OPTIONS, POST"}
    token = headers["Authorization"].split(" ")[1]
    key = KEYS[jwt.get_unverified_header(token)["kid"]]
    try:
        jwt.decode(token, key, algorithms=["RS256"], options={"verify_aud": False})
    except jwt.PyJWTError:
        return 401, {}
    if headers["Content-Type"] != "application/cloudevents+json; charset=utf-8":
        return 400, {}
    event = json.loads(body)
    if event["type"] != "no.bankid.antifraud.alarm.dispatch.v2":
        return 400, {}
    return 205, {}
