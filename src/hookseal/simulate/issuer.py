"""An issuer of tokens as Microsoft Entra ID is one: a key of its own, and the key set that it publishes.

It is an ASGI app; whoever runs it says where. The key set is served for every tenant, since there is only one key, at
`/{tenant}/discovery/v2.0/keys`. Tokens are made by the scheme, with `keys`.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hookseal.destinations import issuer
from hookseal.destinations.issuer import KEYS_PATH

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

TENANT = "08a02467-3604-46e9-b818-6be676cf015b"
"""BankID's tenant, from its "Receiving CloudEvents"."""


class Issuer(issuer.Issuer):
    """The gateway's own issuer, served by itself."""

    __slots__ = ()

    def jwks_url(self, base_url: str, tenant: str = TENANT) -> str:
        """Where the key set is, when the app is served at `base_url`."""
        return f"{base_url}/{tenant}{KEYS_PATH}"

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        found = scope["method"] == "GET" and str(scope["path"]).endswith(KEYS_PATH)
        body = self.key_set if found else b""
        headers = [(b"content-length", b"%d" % len(body))]
        if found:
            headers += [(b"content-type", b"application/json"), (b"cache-control", b"max-age=86400")]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": body})
