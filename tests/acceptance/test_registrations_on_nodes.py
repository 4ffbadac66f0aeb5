"""A registration that changes on one node, and requests that reach another node at once.

Two gateways share one PostgreSQL. Oracles: the status codes that senders get, over real sockets.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from gateways import Answer
from registered_live import Api, api, settings
from stores import store_settings

from hookseal.clock import GivenClock, SystemClock

SECRET, NEWER = "the first secret of the tests", "the second secret of the tests"
ROUNDS = 12


def signed(number: int, secret: str) -> tuple[bytes, list[tuple[str, str]]]:
    body = json.dumps({"scanRef": f"s-{number}"}).encode()
    digest = hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    return body, [("Content-Type", "application/json"), ("Idenfy-Signature", digest)]


async def send(to: Api, source: str, number: int, secret: str) -> Answer:
    body, headers = signed(number, secret)
    return await to.gateway.post(f"/in/{source}", body, headers)


@asynccontextmanager
async def two_nodes(folder: Path, **server: Any) -> AsyncIterator[tuple[Api, Api, str]]:
    async with store_settings("postgresql", folder) as store:
        made = settings(folder, store=store)
        made = replace(made, server=replace(made.server, **server))
        async with api(made) as here, api(made) as there:
            yield here, there, store.url


async def test_a_source_made_on_one_node_receives_on_the_other_at_once(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (here, there, _):
        for number in range(ROUNDS):
            await here.made("sources", {"id": f"idf-{number}", "provider": "idenfy", "secrets": [SECRET]})
            answers = await asyncio.gather(*(send(there, f"idf-{number}", n, SECRET) for n in range(8)))
            assert [one.status for one in answers] == [200] * 8
        unknown = await asyncio.gather(*(send(there, f"nobody-{n}", n, SECRET) for n in range(8)))
        assert [one.status for one in unknown] == [404] * 8


async def test_a_secret_rotated_on_one_node_is_accepted_on_the_other_at_once(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (here, there, _):
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
        assert (await send(there, "idf", 0, SECRET)).status == 200
        for number in range(ROUNDS):
            newest = f"{NEWER} {number}"
            rotated = await here("POST", "/api/v1/sources/idf/rotate", {"secret": newest, "overlap_s": 0})
            assert rotated.status == 200, rotated.body
            answers = await asyncio.gather(*(send(there, "idf", n, newest) for n in range(8)))
            assert [one.status for one in answers] == [200] * 8
        forged = await asyncio.gather(*(send(there, "idf", n, "a guess") for n in range(8)))
        assert [one.status for one in forged] == [403] * 8


async def test_a_larger_body_allowed_on_one_node_is_taken_by_the_other_at_once(tmp_path: Path) -> None:
    body = json.dumps({"scanRef": "s", "note": "x" * 4096}).encode()
    digest = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
    headers = [("Content-Type", "application/json"), ("Idenfy-Signature", digest)]
    async with two_nodes(tmp_path) as (here, there, _):
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET], "max_body_bytes": 1024})
        assert (await there.gateway.post("/in/idf", body, headers)).status == 413
        assert (await here("PATCH", "/api/v1/sources/idf", {"max_body_bytes": 8192})).status == 200
        assert (await there.gateway.post("/in/idf", body, headers)).status == 200


async def test_a_deleted_source_ends_on_the_other_node(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (here, there, _):
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
        assert (await send(there, "idf", 0, SECRET)).status == 200
        assert (await here("DELETE", "/api/v1/sources/idf")).status == 204
        async with asyncio.timeout(20):
            while (await send(there, "idf", 1, SECRET)).status == 200:
                await asyncio.sleep(0.01)
        assert (await send(there, "idf", 2, SECRET)).status == 404


async def run_sql(url: str, sql: str, *values: object) -> Sequence[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, *values))
    finally:
        await connection.close()


async def known(of: Api, path: str) -> None:
    async with asyncio.timeout(20):
        while (await of("GET", path)).status == 404:
            await asyncio.sleep(0.01)


async def test_a_node_listens_again_after_its_connection_was_cut(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (here, there, url):
        database = url.rpartition("/")[2].partition("?")[0]
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = $1"
        async with asyncio.timeout(20):
            while len(await run_sql(url, cut, database)) < 2:
                await asyncio.sleep(0.01)
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
        await known(there, "/api/v1/sources/idf")


async def stop_notifications(url: str) -> None:
    [(source,)] = await run_sql(url, "SELECT pg_get_functiondef('hookseal.raise_kv_version'::regproc)")
    assert "PERFORM pg_notify('hookseal_kv', changed);" in source
    await run_sql(url, source.replace("PERFORM pg_notify('hookseal_kv', changed);", ""))


async def test_a_release_uses_the_secret_that_another_node_has_just_got(tmp_path: Path) -> None:
    """It was judged with the secrets that the node knew, and stayed refused. The node's clock stands still."""
    async with store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, api(made, clock=GivenClock(SystemClock().now())) as there:
            await stop_notifications(store.url)
            await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
            assert (await send(there, "idf", 0, NEWER)).status == 403
            async with asyncio.timeout(20):
                while not (rows := (await there("GET", "/api/v1/quarantine")).body["data"]):
                    await asyncio.sleep(0.01)
            assert (await here("PATCH", "/api/v1/sources/idf", {"secrets": [NEWER]})).status == 200
            released = await there("POST", f"/api/v1/quarantine/{rows[0]['id']}/release")
            assert released.status == 200, released.body


async def test_changes_reach_a_node_whose_notifications_do_not(tmp_path: Path) -> None:
    """As behind a pooler that does not pass notifications on. The node's clock stands still until it is advanced."""
    async with store_settings("postgresql", tmp_path) as store:
        made, clock = settings(tmp_path, store=store), GivenClock(SystemClock().now())
        async with api(made) as here, api(made, clock=clock) as there:
            await stop_notifications(store.url)
            await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
            clock.advance(2)
            await known(there, "/api/v1/sources/idf")


async def test_nobody_is_refused_while_the_registrations_cannot_be_looked_at(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (here, there, url):
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
        assert (await send(there, "idf", 0, SECRET)).status == 200
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("ALTER SCHEMA hookseal RENAME TO gone")
            for source, secret in (("idf", "a guess"), ("nobody", SECRET)):
                answer = await send(there, source, 1, secret)
                assert (answer.status, "retry-after" in answer.headers) == (503, True)
            await connection.execute("ALTER SCHEMA gone RENAME TO hookseal")
        finally:
            await connection.close()
        assert (await send(there, "idf", 1, "a guess")).status == 403


async def test_a_flood_of_forged_requests_is_no_flood_of_store_reads(tmp_path: Path) -> None:
    """Looks are held until all requests have arrived. Nearly all requests then share the next one.

    The timeout is long, so that on a slow machine the first requests still wait when the last one arrives.
    """
    async with two_nodes(tmp_path, answer_timeout_s=120) as (here, there, _):
        await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [SECRET]})
        assert (await send(there, "idf", 0, SECRET)).status == 200
        store, looks, arrived = there.gateway.gateway.store, 0, asyncio.Event()
        read_versions = store.kv_versions

        async def counted() -> object:
            nonlocal looks
            looks += 1
            await arrived.wait()
            return await read_versions()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "kv_versions", counted)
            sent = asyncio.gather(*(send(there, "idf", n, "a guess") for n in range(100)))
            async with asyncio.timeout(60):
                while there.gateway.gateway.receiving.in_flight < 100:
                    await asyncio.sleep(0.01)
            arrived.set()
            assert {one.status for one in await sent} == {403}
        assert looks <= 20, "requests that wait at the same time share a look"
