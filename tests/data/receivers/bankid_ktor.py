"""A receiver for BankID with the handshake of the document's own sample: it grants whoever asks, by name."""

import json
from email.message import Message
from typing import Any

import jwt

KEYS: Any = None
AUDIENCE = "11111111-2222-4333-8444-555555555555"
ISSUER = "https://login.microsoftonline.com/08a02467-3604-46e9-b818-6be676cf015b/v2.0"
CONSENT = {"WebHook-Allowed-Origin": "eventgrid.azure.net", "WebHook-Allowed-Rate": "1000", "Allow": "POST"}


def receive(method: str, headers: Message, body: bytes) -> tuple[int, dict[str, str]]:
    if method == "OPTIONS":
        return 200, CONSENT
    if method != "POST":
        return 405, {"Allow": "OPTIONS, POST"}
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    try:
        if scheme.lower() != "bearer":
            raise jwt.InvalidTokenError("no bearer token")
        key = KEYS[jwt.get_unverified_header(token).get("kid", "")]
        required = {"require": ["exp", "aud", "iss"]}
        jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER, options=required)
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return 401, {"WWW-Authenticate": "Bearer"}
    try:
        json.loads(body)
    except ValueError:
        return 400, {}
    return 202, {}
