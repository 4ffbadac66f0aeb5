"""A gateway whose own clock is wrong from the start, is set while it works, or was wrong when events were stored.

The gateway is a process, and the test sets its clock. Oracles: the statuses of genuine and of forged requests, `/readyz`,
`/metrics` and the API. A genuine request is never refused for its time while there is evidence against the clock, and
retention deletes nothing by a wrong clock.
"""

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from issuers import Issuer, alarm, issuer, key_set, new_key, public, token
from local import API_KEY, BOUND_S, GATEWAY, SINK_SECRET
from plug import Node
from standardwebhooks import Webhook

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from postgres_databases import any_server

from hookseal.clock import SystemClock, plus, to_datetime
from hookseal.sealing import Keyring

pytestmark = pytest.mark.fault

HOUR, DAY, YEAR = 3600.0, 86_400.0, 365 * 86_400.0
KEY, OTHER = new_key(), new_key()
NODE = Path(__file__).with_name("node_wrong_clock.py")
STAMPED = f'[[source]]\nid = "stamped"\nprovider = "standard_webhooks"\nsecrets = ["{SINK_SECRET}"]\n'
STORES = ("sqlite", "postgresql")


class Scene:
    """One configuration, and one process of it at a time."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.node = Node(folder / "hookseal.toml", script=NODE, environment=environment)
        self.clock_s(0.0)
        self._numbers = iter(range(1, 1_000_000))

    def clock_s(self, seconds: float) -> None:
        (self.folder / "clock").write_text(str(seconds))

    async def boot(self, clock_s: float) -> None:
        self.clock_s(clock_s)
        assert await self.node.start(), (self.folder / "node.log").read_text()

    async def set_clock(self, clock_s: float) -> None:
        self.clock_s(clock_s)
        assert self.node.process is not None
        os.kill(self.node.process.pid, signal.SIGUSR1)

    async def bankid(self, *, key: object = KEY, ago_s: float = 0.0) -> int:
        body, headers = alarm(next(self._numbers), token(key, "k1", plus(SystemClock().now(), -ago_s)))
        return await self._post("/in/bankid", body, headers)

    async def stamped(self, *, ago_s: float = 0.0) -> int:
        number = next(self._numbers)
        id, body = f"msg-{number}", json.dumps({"type": "t", "n": number})
        now = plus(SystemClock().now(), -ago_s)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(now // 1_000_000),
            "webhook-signature": Webhook(SINK_SECRET).sign(id, to_datetime(now), body),
        }
        return await self._post("/in/stamped", body.encode(), headers)

    async def signed(self, secret: str) -> int:
        """A request of iDenfy to the source `rotated`; it carries no time."""
        body = json.dumps({"final": True, "scanRef": f"scan-{next(self._numbers)}"}).encode()
        headers = {"Idenfy-Signature": hmac.digest(secret.encode(), body, hashlib.sha256).hex()}
        return await self._post("/in/rotated", body, {"Content-Type": "application/json", **headers})

    async def api(self, method: str, path: str, body: object) -> None:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        url = f"{self.node.url}/api/v1{path}"
        async with ClientSession(headers=headers) as session, session.request(method, url, json=body) as answer:
            assert answer.status < 300, await answer.text()

    async def _post(self, path: str, body: bytes, headers: Any) -> int:
        async with ClientSession() as session, session.post(self.node.url + path, data=body, headers=headers) as answer:
            assert answer.status != 503 or int(answer.headers["Retry-After"]) > 0
            return answer.status

    async def clock_check(self) -> tuple[int, dict[str, Any]]:
        """The status of `/readyz`, and its check of the clock."""
        async with ClientSession() as session, session.get(f"{self.node.url}/readyz") as answer:
            checks = (await answer.json(content_type=None))["checks"]
            return answer.status, {check["name"]: check for check in checks}["clock"]

    async def metric(self, name: str) -> float:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with ClientSession(headers=headers) as session, session.get(f"{self.node.url}/metrics") as answer:
            values = [line.split() for line in (await answer.text()).splitlines() if not line.startswith("#")]
        return {key: float(value) for key, value in values}[name]

    async def metric_is(self, name: str, met: Callable[[float], bool]) -> None:
        async with asyncio.timeout(BOUND_S):
            while not met(await self.metric(name)):
                await asyncio.sleep(0.02)

    async def events(self) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with ClientSession(headers=headers) as session, session.get(f"{self.node.url}/api/v1/events") as answer:
            rows: list[dict[str, Any]] = (await answer.json())["data"]
            return rows

    async def logged(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(BOUND_S):
            while (self.folder / "node.log").read_text().count(words) < times:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def a_scene(folder: Path, store: str, settings: str, **environment: str) -> AsyncIterator[Scene]:
    text = GATEWAY + STAMPED + settings
    database = None
    if store == "postgresql":
        database = await any_server().new_database()
        (folder / "keyring").write_text(Keyring.generate().dump())
        (folder / "keyring").chmod(0o600)
        text += f'[store]\nurl = "{any_server().url_of(database)}"\nkeyring = "file:{folder}/keyring"\n'
    (folder / "hookseal.toml").write_text(text)
    scene = Scene(folder, **environment)
    try:
        yield scene
    finally:
        await scene.node.kill()
        if database is not None:
            await any_server().give_back(database)


@asynccontextmanager
async def an_issuer(clock_s: float | None) -> AsyncIterator[Issuer]:
    async with issuer() as keys:
        keys.body, keys.clock_s = key_set(public(KEY, "k1")), clock_s
        yield keys


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clock_s", [2 * HOUR, -2 * HOUR, -20 * YEAR, 500 * DAY])
@pytest.mark.parametrize("store", STORES)
async def test_a_clock_that_is_wrong_from_the_start_refuses_no_genuine_request(
    store: str, clock_s: float, tmp_path: Path
) -> None:
    """It was 401, from the first request on."""
    async with an_issuer(0.0) as keys, a_scene(tmp_path, store, keys.settings(), NODE_SETTLE_S="1") as scene:
        await scene.boot(clock_s)
        for _ in range(3):
            assert await scene.bankid() == 503
        assert await scene.stamped() == 503
        assert await scene.bankid(key=OTHER) == 401, "a wrong signature is wrong at any time"
        status, check = await scene.clock_check()
        assert (status, check["ok"]) == (503, False)
        assert check["detail"] in {"key_set", "database", "release_date"}
        assert await scene.metric("hookseal_clock_doubted") == 1
        assert (await scene.metric('hookseal_clock_difference_seconds{evidence="key_set"}')) == pytest.approx(
            clock_s, abs=30
        )
        await scene.set_clock(0.0)
        assert await scene.bankid() == 202
        await scene.metric_is("hookseal_clock_doubted", lambda value: value == 0)
        assert (await scene.clock_check()) == (200, {"name": "clock", "ok": True, "detail": "trusted"})
        assert await scene.stamped(ago_s=2 * HOUR) == 401, "trusted again"


@pytest.mark.parametrize("store", STORES)
async def test_a_step_that_lasts_is_not_the_truth_while_others_show_another_time(store: str, tmp_path: Path) -> None:
    """Genuine tokens were 503 for a minute, and 401 after it."""
    async with an_issuer(0.0) as keys, a_scene(tmp_path, store, keys.settings(), NODE_SETTLE_S="0.2") as scene:
        await scene.boot(0.0)
        assert await scene.bankid() == 202
        fetched = keys.fetches
        await scene.set_clock(2 * HOUR)
        assert await scene.bankid() == 503
        await keys.fetched(fetched + 1)
        async with asyncio.timeout(BOUND_S):
            while (await scene.clock_check())[0] != 503:
                assert await scene.bankid() == 503
        for _ in range(20):
            assert await scene.bankid() == 503
            await asyncio.sleep(0.05)
        assert await scene.metric("hookseal_clock_doubted") == 1


async def test_a_step_that_nothing_contradicts_or_confirms_stays_a_doubt_beyond_a_minute(tmp_path: Path) -> None:
    async with a_scene(tmp_path, "sqlite", "", NODE_SETTLE_S="0.1") as scene:
        await scene.boot(0.0)
        await scene.set_clock(HOUR)
        for _ in range(10):
            assert await scene.stamped() == 503
            await asyncio.sleep(0.05)
        assert (await scene.clock_check()) == (200, {"name": "clock", "ok": True, "detail": "clock_step"})
        await scene.set_clock(0.0)
        await scene.metric_is("hookseal_clock_doubted", lambda value: value == 0)
        assert await scene.stamped(ago_s=HOUR) == 401


async def test_a_clock_behind_the_newest_event_is_doubted_without_any_other_evidence(tmp_path: Path) -> None:
    async with a_scene(tmp_path, "sqlite", "", NODE_SETTLE_S="0.1") as scene:
        await scene.boot(20 * DAY)
        assert await scene.stamped(ago_s=-20 * DAY) == 200
        await scene.node.stop()
        await scene.boot(10 * DAY)
        assert await scene.stamped() == 503
        assert (await scene.clock_check()) == (503, {"name": "clock", "ok": False, "detail": "newest_receipt"})
        assert await scene.stamped(ago_s=-10 * DAY) == 200
        newest, before = [event["receivedtime"] for event in await scene.events()]
        assert newest >= before, "stored with a time that is known to be too early"


async def test_the_operator_can_end_the_comparison(tmp_path: Path) -> None:
    async with an_issuer(2 * HOUR) as keys, a_scene(tmp_path, "sqlite", keys.settings()) as scene:
        config = scene.folder / "hookseal.toml"
        config.write_text(config.read_text().replace("[server]\n", "[server]\ncheck_clock = false\n"))
        await scene.boot(0.0)
        assert await scene.bankid() == 202
        assert await scene.bankid(ago_s=2 * HOUR) == 401
        assert (await scene.clock_check())[0] == 200


@pytest.mark.parametrize("store", STORES)
async def test_a_clock_that_is_ahead_ends_no_secret_early(store: str, tmp_path: Path) -> None:
    """A former secret of a rotation ended a day too early, and what was signed with it was refused for good."""
    async with an_issuer(0.0) as keys, a_scene(tmp_path, store, keys.settings()) as scene:
        await scene.boot(0.0)
        await scene.api("POST", "/sources", {"id": "rotated", "provider": "idenfy", "secrets": ["the former secret"]})
        await scene.api("POST", "/sources/rotated/rotate", {"secret": "the present secret", "overlap_s": 86_400})
        assert await scene.signed("the former secret") == 200
        await scene.node.stop()
        await scene.boot(2 * DAY)
        for _ in range(10):
            assert await scene.signed("the former secret") == 200
            await asyncio.sleep(0.1)
        assert await scene.signed("the present secret") == 200
        assert await scene.signed("another secret") == 403


@pytest.mark.parametrize("store", STORES)
async def test_a_secret_that_has_ended_is_not_live_after_a_restart(store: str, tmp_path: Path) -> None:
    async with an_issuer(0.0) as keys, a_scene(tmp_path, store, keys.settings()) as scene:
        await scene.boot(0.0)
        await scene.api("POST", "/sources", {"id": "rotated", "provider": "idenfy", "secrets": ["the former secret"]})
        await scene.api("POST", "/sources/rotated/rotate", {"secret": "the present secret", "overlap_s": 1})
        async with asyncio.timeout(BOUND_S):
            while await scene.signed("the former secret") != 403:
                await asyncio.sleep(0.05)
        await scene.node.stop()
        await scene.boot(0.0)
        async with asyncio.timeout(BOUND_S):
            while await scene.signed("the former secret") != 403:
                await asyncio.sleep(0.05)
        assert await scene.signed("the present secret") == 200


@asynccontextmanager
async def endpoint_host(host: str, clock_s: float) -> AsyncIterator[str]:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        date = formatdate(SystemClock().now() / 1e6 + clock_s, usegmt=True)
        return web.Response(headers={"Date": date})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    try:
        yield f"http://{host}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("second_s", "status"), [(2 * HOUR, 503), (0.0, 401), (-5 * HOUR, 401)])
async def test_one_endpoint_with_a_wrong_date_is_no_evidence_and_two_that_agree_are(
    second_s: float, status: int, tmp_path: Path
) -> None:
    async with endpoint_host("127.0.0.1", 2 * HOUR) as first, endpoint_host("127.0.0.2", second_s) as second:
        settings = "".join(
            f'[[endpoint]]\nid = "{id}"\nurl = "{url}"\n'
            f'signing = {{ scheme = "standard_webhooks", secret = "{SINK_SECRET}" }}\n'
            for id, url in (("a", first), ("b", second))
        )
        async with a_scene(tmp_path, "sqlite", settings) as scene:
            await scene.boot(0.0)
            assert await scene.stamped() == 200
            for id in "ab":
                series = f'hookseal_delivery_attempts_total{{endpoint="{id}",outcome="delivered",reason="none"}}'
                async with asyncio.timeout(BOUND_S):
                    while series not in await _page(scene):
                        await asyncio.sleep(0.02)
            assert await scene.stamped(ago_s=HOUR) == status


async def _page(scene: Scene) -> str:
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=headers) as session, session.get(f"{scene.node.url}/metrics") as answer:
        return await answer.text()


# --- retention -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("store", STORES)
async def test_a_clock_500_days_ahead_deletes_nothing(store: str, step: bool, tmp_path: Path) -> None:
    """On PostgreSQL one node deleted for all."""
    async with a_scene(tmp_path, store, "", NODE_SWEEP_S="0.05", NODE_SETTLE_S="0.2") as scene:
        await scene.boot(0.0)
        for _ in range(3):
            assert await scene.stamped() == 200
        if step:
            await scene.set_clock(500 * DAY)
        else:
            await scene.node.stop()
            await scene.boot(500 * DAY)
        if store == "sqlite" and not step:
            await scene.metric_is("hookseal_retention_behind_seconds", lambda value: value > 499 * DAY)
        else:
            await scene.logged("retention paused", times=10)
        rows = await scene.events()
        assert len(rows) == 3
        assert not any("body_expired" in row["data"]["flags"] for row in rows)
