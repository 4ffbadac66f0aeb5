"""Answers `/healthz` and `/readyz` before the management API has started, in the same form as it does afterwards.

A process that waits for its database is alive: an orchestrator must not restart it. It is not ready.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final
from uuid import uuid4

import msgspec

from hookseal.api.health import Check, HealthChecks, told
from hookseal.api.problem import ProblemCode, answer, problem
from hookseal.web.receiving import Receive, Scope, Send

HEALTH_PATHS: Final[Mapping[bytes, Callable[[HealthChecks], Awaitable[Sequence[Check]]]]] = {
    b"/healthz": HealthChecks.live,
    b"/readyz": HealthChecks.ready,
}


async def respond_with_checks(checks: Sequence[Check], scope: Scope, receive: Receive, send: Send) -> None:
    """200 when all checks are ok, else 503 with the checks in a problem document."""
    if not all(check.ok for check in checks):
        unavailable = problem(ProblemCode.UNAVAILABLE, extra={"checks": told(checks)})
        await answer(unavailable, str(uuid4()))(scope, receive, send)
        return
    body = msgspec.json.encode({"status": "ok", "checks": told(checks)})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": body})
