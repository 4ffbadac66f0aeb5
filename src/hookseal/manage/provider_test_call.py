"""The test call that a provider offers to whoever has registered with it: one signed POST to a URL, told as it went.

ZignSec, S1 of the seed documents: `POST /v2/webhook/test`. It decides who may ask (who holds the secret of an endpoint
that acts as the provider) and what is sent; the HTTP side is `api.provider_test_call`. What the body of a test holds is
published nowhere, so it is ours, and says that it is a test.
"""

import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

import msgspec

from hookseal.clock import Clock, rfc3339
from hookseal.delivery import presets
from hookseal.destinations.signing import keys_of, signer
from hookseal.egress.port import Egress, Failure
from hookseal.errors import ConfigurationError
from hookseal.ids import uuid7
from hookseal.message import Request, headers_of
from hookseal.settings import EndpointSettings, SigningSettings

_SILENT = "The target gave no answer."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """elapsed_ms by a clock that never jumps. status: the target's, None without an answer. error: a reason code."""

    elapsed_ms: int
    status: int | None = None
    error: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """The endpoint whose secret somebody has shown, and that secret."""

    signing: SigningSettings
    provider: str


class ProviderTestCall:
    """provider: whose test call it is. endpoints: those that there are at the moment."""

    def __init__(
        self, provider: str, endpoints: Callable[[], Iterable[EndpointSettings]], egress: Egress, clock: Clock
    ) -> None:
        self._provider = provider
        self._endpoints = endpoints
        self._egress = egress
        self._clock = clock

    def holder(self, key: bytes) -> Holder | None:
        """Whose key this is; None for nobody's. In constant time over all secrets, whatever matched before."""
        found: Holder | None = None
        digest = sha256(key).digest()
        for row in self._endpoints():
            if row.acting_as != self._provider:
                continue
            try:
                signing = presets.settled(row).signing
            except ConfigurationError:
                continue
            for secret in signing.secrets:
                if hmac.compare_digest(digest, sha256(secret).digest()) and found is None:
                    found = Holder(replace(signing, secrets=(secret,)), self._provider)
        return found

    async def call(self, holder: Holder, url: str) -> Outcome:
        """One POST, no redirect followed, nothing tried again. What cannot be called is told, and not connected to."""
        preset = presets.of(holder.provider)
        now = self._clock.now()
        body = msgspec.json.encode({"id": str(uuid7(now)), "test": True, "timestamp": rfc3339(now)})
        lines = [*preset.headers, ("Content-Type", preset.content_type)]
        scheme = signer(holder.signing)
        if scheme is not None:
            request = Request(headers=headers_of(lines), body=body, url=url)
            lines += scheme.sign(request, keys_of(holder.signing.secrets, str(now)), now)
        begun = self._clock.monotonic()
        came = await self._egress.call("POST", url, headers=lines, body=body, timeout_s=preset.timeout_s)
        elapsed_ms = max(round((self._clock.monotonic() - begun) * 1000), 0)
        if isinstance(came, Failure):
            nothing = "The target answered with a redirect, which is not followed." if came.status else _SILENT
            return Outcome(
                elapsed_ms=elapsed_ms, status=came.status, error=came.reason.value, message=came.detail or nothing
            )
        if 200 <= came.status <= 299:
            return Outcome(elapsed_ms=elapsed_ms, status=came.status)
        return Outcome(
            elapsed_ms=elapsed_ms,
            status=came.status,
            error=f"http_{came.status}",
            message="The target answered with a status that is no success.",
        )
