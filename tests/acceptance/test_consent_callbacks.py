"""The callback URL of a handshake: anyone may call it, and only a live token does anything.

Oracles: status codes over real sockets, the API's answers, and how often the store is read.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from registered_live import SECRET, Api, Receiver, api, receiver, settings
from stores import STORES, store_settings

JUNK = "junk-that-nobody-has-made-"


async def call(of: Api, token: str) -> int:
    async with of.session.get(f"{of.gateway.url}/handshake/{token}") as answer:
        return answer.status


@asynccontextmanager
async def asked(target: Receiver, of: Api) -> AsyncIterator[list[str]]:
    """An endpoint that was asked for its consent and has not answered yet; the tokens that it was sent."""
    tokens: list[str] = []

    def later(request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            tokens.append(request.headers["WebHook-Request-Callback"].rpartition("/")[2])
        return web.Response(status=200, headers={"Allow": "POST"})

    target.answer = later
    handshake = {"kind": "cloudevents", "callback": True}
    table = {"id": "e", "url": target.url, "handshake": handshake}
    await of.made("endpoints", {**table, "signing": {"scheme": "standard_webhooks", "secret": SECRET}})
    async with asyncio.timeout(20):
        while not tokens:
            await asyncio.sleep(0.01)
    yield tokens


@pytest.mark.parametrize("kind", STORES)
async def test_junk_is_refused_without_decrypting_the_consents(tmp_path: Path, kind: str) -> None:
    async with (
        receiver() as target,
        store_settings(kind, tmp_path) as store,
        api(settings(tmp_path, store=store)) as of,
        asked(target, of) as tokens,
    ):
        assert await call(of, JUNK) == 404  # what was written before has been read now
        opened = of.gateway.gateway.store
        read, reads = opened.kept, []

        async def counted(shelf: str) -> Mapping[str, Any]:
            reads.append(shelf)
            return await read(shelf)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(opened, "kept", counted)
            statuses = await asyncio.gather(*(call(of, f"{JUNK}{number}") for number in range(100)))
        assert set(statuses) == {404}
        assert reads == []
        assert await call(of, tokens[-1]) == 200
        assert await call(of, tokens[-1]) == 404


async def test_a_token_of_one_node_counts_on_the_other_once(tmp_path: Path) -> None:
    async with receiver() as target, store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, api(made) as there, asked(target, here) as tokens:
            # A node that learned of the endpoint before the first one had asked asks too; the later token stands.
            async with asyncio.timeout(20):
                while 200 not in (statuses := {token: await call(there, token) for token in list(tokens)}.values()):
                    assert set(statuses) == {404}
                    await asyncio.sleep(0.01)
            assert {await call(here, token) for token in tokens} == {404}
            for of in (here, there):
                async with asyncio.timeout(20):
                    while (await of("GET", "/api/v1/endpoints/e")).body["consent"] != "active":
                        await asyncio.sleep(0.01)


async def test_no_token_is_refused_while_the_store_cannot_be_asked(tmp_path: Path) -> None:
    async with (
        receiver() as target,
        store_settings("postgresql", tmp_path) as store,
        api(settings(tmp_path, store=store)) as of,
        asked(target, of) as tokens,
    ):
        there = await asyncpg.connect(store.url)
        try:
            await there.execute("ALTER SCHEMA hookseal RENAME TO gone")
            assert await call(of, JUNK) == 503
            assert await call(of, tokens[-1]) == 503
            await there.execute("ALTER SCHEMA gone RENAME TO hookseal")
        finally:
            await there.close()
        assert await call(of, JUNK) == 404
        assert await call(of, tokens[-1]) == 200
