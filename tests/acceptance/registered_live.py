"""A gateway whose registrations are made over its API, and receivers of the test's own. Shared by `test_registering*.py`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web
from gateways import API_KEY, Running, running

from hookseal.clock import Clock
from hookseal.settings import ApiSettings, EgressSettings, ServerSettings, Settings, StoreSettings

LOCAL = EgressSettings(allow=("127.0.0.0/8",), allow_http=True)
SECRET = "an endpoint's secret of the tests"


def settings(folder: Path, **more: Any) -> Settings:
    """As a production gateway, but that loopback may be called, unless `egress` says otherwise."""
    made = Settings(
        server=ServerSettings(public_url="https://hooks.example.com"),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        egress=LOCAL,
    )
    return replace(made, **more)


@dataclass(frozen=True)
class Said:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def faults(self) -> list[tuple[str, str]]:
        return [(one["pointer"], one["code"]) for one in self.body["errors"]]


@dataclass
class Api:
    gateway: Running
    session: ClientSession

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Said:
        given = {"Authorization": f"Bearer {API_KEY}", **{name.replace("_", "-"): one for name, one in headers.items()}}
        named: dict[str, Any] = {"json": body} if body is not None and not isinstance(body, bytes) else {}
        if isinstance(body, bytes):
            named = {"data": body}
            given.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.gateway.url + path, headers=given, **named) as answer:
            content = await answer.read()
            return Said(answer.status, json.loads(content) if content else None, dict(answer.headers))

    async def made(self, kind: str, table: Mapping[str, Any]) -> Any:
        said = await self("POST", f"/api/v1/{kind}", table)
        assert said.status == 201, said.body
        return said.body


@asynccontextmanager
async def api(made: Settings, *, clock: Clock | None = None) -> AsyncIterator[Api]:
    async with running(made, clock=clock) as gateway, ClientSession() as session:
        yield Api(gateway, session)


@dataclass
class Post:
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]


@dataclass
class Receiver:
    """Answers by `status`, or as `answer` says; every request is kept."""

    url: str = ""
    status: int = 200
    answer: Callable[[web.Request], web.Response] | None = None
    got: asyncio.Queue[Post] = field(default_factory=asyncio.Queue)

    async def next(self) -> Post:
        async with asyncio.timeout(20):
            return await self.got.get()

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.method != "OPTIONS":
            self.got.put_nowait(Post(request.method, request.path_qs, list(request.headers.items()), body))
        return self.answer(request) if self.answer is not None else web.Response(status=self.status)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    made.url = f"http://127.0.0.1:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()
