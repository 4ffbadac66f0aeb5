"""A gateway in this process, over real sockets, on a clock that the test holds; and endpoints that obey the test.

Nothing here sleeps: a test waits for what arrives. `BOUND_S` is how long it may wait before it counts as hanging.
"""

import asyncio
import base64
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from hookseal.clock import Clock, GivenClock, Instant, plus
from hookseal.manage.configuration import load
from hookseal.web.app import Gateway
from hookseal.web.server import serving

API_KEY = "a management key of the tests"
SINK_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
BOUND_S = 20.0
NOW = Instant(1_763_700_000_000_000)

GATEWAY = f"""
[server]
listen = "127.0.0.1:0"
[api]
keys = ["{API_KEY}"]
[egress]
allow = ["127.0.0.0/8"]
allow_http = true
"""


class SteppedClock(GivenClock):
    """Its wall time can be set while its monotonic time goes on as before."""

    def __init__(self, now: Instant = NOW) -> None:
        super().__init__(now)
        self._set_by_s = 0.0

    def now(self) -> Instant:
        return plus(super().now(), self._set_by_s)

    def step(self, seconds: float) -> None:
        self._set_by_s += seconds


@dataclass(slots=True)
class Running:
    """url: where it receives. Every answer of the receiving side is in `statuses`."""

    gateway: Gateway
    url: str
    session: ClientSession
    statuses: Counter[int]

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> web.Response:
        """The answer; that every 503 and 429 says when to come again is looked at here."""
        async with self.session.post(self.url + path, data=body, headers=headers) as answer:
            self.statuses[answer.status] += 1
            assert answer.status not in (429, 503) or int(answer.headers["Retry-After"]) > 0
            return web.Response(status=answer.status, body=await answer.read())

    async def api(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with self.session.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def all(self, path: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.api("GET", f"{path}{'&' if '?' in path else '?'}limit=1000{cursor}")
            rows += page["data"]
            if page["next"] is None:
                return rows
            cursor = f"&cursor={page['next']}"


@asynccontextmanager
async def running(folder: Path, text: str, clock: Clock | None = None) -> AsyncIterator[Running]:
    config = folder / "hookseal.toml"
    config.write_text(GATEWAY + text)
    gateway = Gateway(load(config), clock=clock)
    async with gateway, serving(gateway, "127.0.0.1:0") as address, ClientSession() as session:
        yield Running(gateway, address.url, session, Counter())


class Endpoints:
    """The user's services: `/e/NAME` for every name.

    held      names whose answers wait for `gate`.
    status    what a name answers, 200 unless said otherwise; asked when the answer leaves.
    got       how often each subject came to each name; inside: how many are being answered, and at most were.
    widths    at each arrival: how many were answered before, and how many are being answered with it.
    """

    def __init__(self) -> None:
        self.url = ""
        self.held: set[str] = set()
        self.gate = asyncio.Event()
        self.status: Callable[[str], int] = lambda name: 200
        self.got: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.inside: Counter[str] = Counter()
        self.most_inside: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.widths: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._changed = asyncio.Condition()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(BOUND_S), self._changed:
            await self._changed.wait_for(true)

    def open_gate_once(self) -> None:
        """Let go who waits at the gate; who comes from now on waits at the next one."""
        gate, self.gate = self.gate, asyncio.Event()
        gate.set()

    async def answer(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        event = json.loads(await request.read())
        self.inside[name] += 1
        self.most_inside[name] = max(self.most_inside[name], self.inside[name])
        self.widths[name].append((self.answered[name], self.inside[name]))
        async with self._changed:
            self.got[name][event["subject"]] += 1
            self._changed.notify_all()
        try:
            if name in self.held:
                await self.gate.wait()
            return web.Response(status=self.status(name))
        finally:
            self.inside[name] -= 1
            self.answered[name] += 1

    def settings(self, *names: str, more: str = "") -> str:
        return "".join(
            f'[[endpoint]]\nid = "{name}"\nurl = "{self.url}/e/{name}"\n'
            f'signing = {{ scheme = "standard_webhooks", secret = "{SINK_SECRET}" }}\n{more}\n'
            for name in names
        )


@asynccontextmanager
async def endpoints() -> AsyncIterator[Endpoints]:
    made = Endpoints()
    app = web.Application()
    app.router.add_post("/e/{name}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        made.gate.set()
        await runner.cleanup()
