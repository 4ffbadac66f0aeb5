"""What the receivers of our deliveries may fetch or call without a key: our issuer's key set, and the consent callback.

A bare ASGI callable beside `/in/…`, since these are called from the same outside. Answers say the least: an unknown,
used or expired token and an issuer that is not there are all 404.
"""

import re
from collections.abc import Awaitable, Callable

from hookseal.destinations.issuer import KEYS_PATH
from hookseal.destinations.subscriptions import Callback
from hookseal.errors import HooksealError
from hookseal.logs import get_logger
from hookseal.web.receiving import Receive, Scope, Send

log = get_logger(__name__)

ISSUER, HANDSHAKE = b"/issuer/", b"/handshake/"

_KEYS = re.compile(rb"/issuer/([A-Za-z0-9][A-Za-z0-9.-]{0,127})" + KEYS_PATH.encode())
_TOKEN = re.compile(rb"/handshake/([A-Za-z0-9_-]{16,128})")
_MAX_RATE = 64

KeySet = Callable[[str], Awaitable[bytes | None]]
"""Return the key set of a tenant; None for a tenant that no endpoint has. HooksealError when that is not certain now."""

CallBack = Callable[[str, str | None], Awaitable[Callback]]


def is_published(path: bytes) -> bool:
    return path.startswith((ISSUER, HANDSHAKE))


class Publishing:
    """ASGI app."""

    def __init__(self, key_set: KeySet, call_back: CallBack) -> None:
        self._key_set = key_set
        self._call_back = call_back

    async def __call__(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        if (named := _KEYS.fullmatch(path)) is not None:
            await self._send_key_set(named[1].decode("ascii"), method, send)
        elif (found := _TOKEN.fullmatch(path)) is not None:
            # HEAD grants nothing: programs that preview links send it.
            if method not in ("GET", "POST"):
                await _respond(send, 405, headers=[(b"allow", b"GET, POST")])
                return
            await _respond(send, await self._granted(found[1].decode("ascii"), scope))
        else:
            await _respond(send, 404)

    async def _send_key_set(self, tenant: str, method: str, send: Send) -> None:
        try:
            keys = await self._key_set(tenant)
        except HooksealError as error:
            log.warning("the key set is not certain now", code=error.code)
            await _respond(send, 503)
            return
        if keys is None:
            await _respond(send, 404)
        elif method not in ("GET", "HEAD"):
            await _respond(send, 405, headers=[(b"allow", b"GET, HEAD")])
        else:
            kind = [(b"content-type", b"application/json"), (b"cache-control", b"public, max-age=3600")]
            await _respond(send, 200, keys, kind, head=method == "HEAD")

    async def _granted(self, token: str, scope: Scope) -> int:
        rates = {value for name, value in scope["headers"] if name == b"webhook-allowed-rate"}
        if len(rates) > 1 or any(len(rate) > _MAX_RATE for rate in rates):
            return 400
        rate = rates.pop().decode("latin-1") if rates else None
        try:
            match await self._call_back(token, rate):
                case Callback.GRANTED:
                    return 200
                case Callback.RATE_MALFORMED:
                    return 400
                case Callback.UNKNOWN:
                    return 404
        except HooksealError as error:
            log.warning("a callback cannot be answered now", code=error.code)
            return 503


async def _respond(
    send: Send, status: int, body: bytes = b"", headers: list[tuple[bytes, bytes]] | None = None, *, head: bool = False
) -> None:
    lines = [*(headers or []), (b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff")]
    if status == 503:
        lines.append((b"retry-after", b"10"))
    try:
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": b"" if head else body})
    except (ConnectionError, OSError, RuntimeError):
        return
