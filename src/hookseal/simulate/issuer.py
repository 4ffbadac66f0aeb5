"""An issuer of tokens as Microsoft Entra ID is one: a key of its own, and the key set that it publishes.

It is an ASGI app; whoever runs it says where. The key set is served for every tenant, since there is only one key, at
`/{tenant}/discovery/v2.0/keys`. Tokens are made by the scheme, with `keys`.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from hookseal.schemes.jose import key_id
from hookseal.schemes.jwk import public_jwks
from hookseal.schemes.verdict import SigningKeys

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

TENANT = "08a02467-3604-46e9-b818-6be676cf015b"
"""BankID's tenant, from its "Receiving CloudEvents"."""

_PATH = "/discovery/v2.0/keys"
_BITS = 2048


def _new_key() -> object:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


@dataclass(frozen=True, slots=True)
class Issuer:
    """private_key: an RSA key; a new one is made where none is given."""

    private_key: object = field(default_factory=_new_key, repr=False)

    @property
    def keys(self) -> SigningKeys:
        """What the scheme signs tokens with."""
        return SigningKeys(private_key=self.private_key, kid=key_id(self.private_key))

    @property
    def key_set(self) -> bytes:
        """The public half, as JSON."""
        return json.dumps(public_jwks(self.private_key, key_id(self.private_key)), separators=(",", ":")).encode()

    def jwks_url(self, base_url: str, tenant: str = TENANT) -> str:
        """Where the key set is, when the app is served at `base_url`."""
        return f"{base_url}/{tenant}{_PATH}"

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        found = scope["method"] == "GET" and str(scope["path"]).endswith(_PATH)
        body = self.key_set if found else b""
        headers = [(b"content-length", b"%d" % len(body))]
        if found:
            headers += [(b"content-type", b"application/json"), (b"cache-control", b"max-age=86400")]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
