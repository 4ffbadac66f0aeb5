"""A service of the user's, as the last stop of a demonstration: it believes only what is signed, and counts it once.

The signature is checked here with nothing of `schemes`, from the specification alone
(https://github.com/standard-webhooks/standard-webhooks, 1.0), so that a mistake in our signing cannot hide in our
checking. It is an ASGI app; whoever runs it says where.
"""

import base64
import hmac
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from hookseal.clock import Clock, to_unix
from hookseal.model import Json

Message = MutableMapping[str, Any]

_TOLERANCE_S = 300
_REMEMBERED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One POST whose signature holds. repeat: the same `webhook-id` came before."""

    webhook_id: str
    event: dict[str, Json]
    repeat: bool


class Sink:
    """secret: `whsec_` and base64. arrived: told of every POST that is proven; unproven: of every other one."""

    def __init__(
        self, secret: bytes, clock: Clock, arrived: Callable[[Arrival], None], unproven: Callable[[], None]
    ) -> None:
        self._key = base64.b64decode(secret.removeprefix(b"whsec_"), validate=True)
        self._clock = clock
        self._arrived = arrived
        self._unproven = unproven
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            return
        status = self._take(dict(scope["headers"]), await _body(receive))
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _take(self, headers: dict[bytes, bytes], body: bytes) -> int:
        if not self._proven(headers, body):
            self._unproven()
            return 401
        event = json.loads(body)
        id = headers[b"webhook-id"].decode()
        repeat = id in self._seen
        self._seen[id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self._arrived(Arrival(webhook_id=id, event=event, repeat=repeat))
        return 204

    def _proven(self, headers: dict[bytes, bytes], body: bytes) -> bool:
        id, time = headers.get(b"webhook-id", b""), headers.get(b"webhook-timestamp", b"")
        if not id or not time.isdigit() or abs(int(time) - to_unix(self._clock.now())) > _TOLERANCE_S:
            return False
        digest = base64.b64encode(hmac.digest(self._key, id + b"." + time + b"." + body, "sha256"))
        given = headers.get(b"webhook-signature", b"").split(b" ")
        return any(hmac.compare_digest(one, b"v1," + digest) for one in given)


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
