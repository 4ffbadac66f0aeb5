"""The wall clock is set, forwards or back, while the gateway works.

Oracles: statuses, what arrives at the endpoints and how often, and the API. A proof that is judged too old or too young
just after a step is 503 and not 401; what is wrong whatever the time stays refused; what lasts becomes the new truth.
Nobody loses a lease, and no delivery is tried more than once before its time.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from issuers import Issuer, alarm, issuer, key_set, new_key, public, token
from local import BOUND_S, NOW, SINK_SECRET, Endpoints, Running, SteppedClock, endpoints, running
from standardwebhooks import Webhook

from hookseal.clock import Instant, to_datetime

pytestmark = pytest.mark.fault

HOUR, MONTH = 3600.0, 30 * 86_400.0
STEPS = [-MONTH, -HOUR, -601.0, 3700.0, MONTH]
KEY, OTHER = new_key(), new_key()


@dataclass(slots=True)
class Scene:
    gateway: Running
    issuer: Issuer
    clock: SteppedClock
    numbers: int = 0

    async def bankid(self, at: Instant, *, key: object = KEY) -> int:
        self.numbers += 1
        body, headers = alarm(self.numbers, token(key, "k1", at))
        return (await self.gateway.post("/in/bankid", body, headers)).status

    async def stamped(self, at: Instant, *, secret: str = SINK_SECRET) -> int:
        self.numbers += 1
        id, body = f"msg-{self.numbers}", json.dumps({"type": "t", "n": self.numbers})
        headers = {
            "Content-Type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(at // 1_000_000),
            "webhook-signature": Webhook(secret).sign(id, to_datetime(at), body),
        }
        return (await self.gateway.post("/in/stamped", body.encode(), headers)).status


@asynccontextmanager
async def a_scene(folder: Path) -> AsyncIterator[Scene]:
    clock = SteppedClock()
    async with issuer() as keys:
        keys.body = key_set(public(KEY, "k1"))
        stamped = f'[[source]]\nid = "stamped"\nprovider = "standard_webhooks"\nsecrets = ["{SINK_SECRET}"]\n'
        async with running(folder, keys.settings() + stamped, clock) as gateway:
            yield Scene(gateway, keys, clock)


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_refusal_for_its_time_just_after_a_step_is_a_doubt(step_s: float, tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.bankid(NOW) == 202
        assert await scene.stamped(NOW) == 200
        scene.clock.step(step_s)
        assert await scene.bankid(NOW) == 503
        assert await scene.stamped(NOW) == 503
        assert (await scene.gateway.api("GET", "/quarantine"))["data"] == []
        assert await scene.bankid(NOW, key=OTHER) == 401, "a wrong signature is wrong at any time"
        assert await scene.bankid(scene.clock.now()) == 202, "what is proven by our clock is proven"
        scene.clock.advance(59)
        assert await scene.bankid(NOW) == 503
        scene.clock.advance(2)
        assert await scene.bankid(NOW) == 401, "a step that lasts is the new truth"
        assert await scene.stamped(NOW) == 401


async def test_a_clock_that_is_set_right_again_refuses_nothing(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.bankid(NOW) == 202
        for _ in range(6):
            scene.clock.step(HOUR + 100)
            assert await scene.bankid(NOW) == 503
            scene.clock.step(-HOUR - 100)
            assert await scene.bankid(NOW) == 202
        scene.clock.advance(61)
        assert await scene.bankid(NOW) == 202
        assert set(scene.gateway.statuses) == {202, 503}


async def test_a_clock_that_wavers_by_less_than_a_step_refuses_at_once(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.stamped(NOW) == 200
        scene.clock.step(4.0)
        assert await scene.stamped(Instant(NOW - 400_000_000)) == 401
        scene.clock.step(-4.0)
        assert await scene.stamped(Instant(NOW - 400_000_000)) == 401


# --- delivering ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def delivering(folder: Path, there: Endpoints, clock: SteppedClock) -> AsyncIterator[Scene]:
    async with issuer() as keys:
        keys.body = key_set(public(KEY, "k1"))
        async with running(folder, keys.settings() + there.settings("core", "mark"), clock) as gateway:
            yield Scene(gateway, keys, clock)


async def a_claim_for_all(scene: Scene, there: Endpoints) -> None:
    """Wait until the engine has claimed once for every endpoint: a replay to one makes it look at all."""
    [event, *_] = (await scene.gateway.api("GET", "/events"))["data"]
    before = there.got["mark"].total()
    await scene.gateway.api("POST", "/replays", {"endpoint": "mark", "events": [event["id"]]})
    await there.until(lambda: there.got["mark"].total() > before)


async def states(scene: Scene, endpoint: str) -> list[str]:
    rows = await scene.gateway.all(f"/deliveries?endpoint={endpoint}")
    return [row["state"] for row in rows]


async def settled(scene: Scene, endpoint: str) -> None:
    async with asyncio.timeout(BOUND_S):
        while "pending" in await states(scene, endpoint):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("step_s", [-MONTH, -HOUR, HOUR, MONTH])
async def test_a_delivery_under_way_keeps_its_lease_over_a_step(step_s: float, tmp_path: Path) -> None:
    clock = SteppedClock()
    async with endpoints() as there, delivering(tmp_path, there, clock) as scene:
        there.held = {"core"}
        for _ in range(5):
            assert await scene.bankid(NOW) == 202
        await there.until(lambda: there.inside["core"] == 5)
        clock.step(step_s)
        for _ in range(3):  # beyond 40 s of its own clock a try is cut off
            clock.advance(10)
            await a_claim_for_all(scene, there)
        assert there.got["core"].total() == 5, "sent again while under way"
        there.gate.set()
        await settled(scene, "core")
        assert await states(scene, "core") == ["delivered"] * 5
        assert await tries(scene) == 5
        assert set(there.got["core"].values()) == {1}


@pytest.mark.parametrize("step_s", [HOUR, MONTH])
async def test_a_step_forwards_brings_at_most_one_early_try(step_s: float, tmp_path: Path) -> None:
    clock = SteppedClock()
    async with endpoints() as there, delivering(tmp_path, there, clock) as scene:
        there.status = lambda name: 500 if name == "core" else 200
        for _ in range(10):
            assert await scene.bankid(NOW) == 202
        await there.until(lambda: there.got["core"].total() == 10)
        await recorded(scene, 10)
        clock.step(step_s)
        for _ in range(10):
            clock.advance(5)
            await a_claim_for_all(scene, there)
        assert set(there.got["core"].values()) <= {1, 2}, "a burst of tries"
        there.status = lambda name: 200
        await recorded(scene, there.got["core"].total())
        clock.advance(100 * HOUR)
        await a_claim_for_all(scene, there)
        await settled(scene, "core")
        assert set(await states(scene, "core")) == {"delivered"}


async def tries(scene: Scene) -> int:
    """How many tries of `core` are recorded."""
    rows = await scene.gateway.all("/deliveries?endpoint=core")
    return sum([len((await scene.gateway.api("GET", f"/deliveries/{row['id']}"))["attempts"]) for row in rows])


async def recorded(scene: Scene, count: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while await tries(scene) < count:
            await asyncio.sleep(0.01)
