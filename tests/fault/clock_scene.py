"""A gateway on a clock that the test sets, an issuer whose tokens it trusts, and endpoints that obey the test."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from issuers import Issuer, alarm, issuer, key_set, new_key, public, token
from local import BOUND_S, SINK_SECRET, Endpoints, Running, SteppedClock, running
from standardwebhooks import Webhook

from hookseal.clock import Instant, to_datetime

HOUR, MONTH = 3600.0, 30 * 86_400.0
KEY = new_key()


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
async def a_scene(folder: Path, clock: SteppedClock) -> AsyncIterator[Scene]:
    async with issuer() as keys:
        keys.body = key_set(public(KEY, "k1"))
        stamped = f'[[source]]\nid = "stamped"\nprovider = "standard_webhooks"\nsecrets = ["{SINK_SECRET}"]\n'
        async with running(folder, keys.settings() + stamped, clock) as gateway:
            yield Scene(gateway, keys, clock)


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


async def tries(scene: Scene) -> int:
    """How many tries of `core` are recorded."""
    rows = await scene.gateway.all("/deliveries?endpoint=core")
    return sum([len((await scene.gateway.api("GET", f"/deliveries/{row['id']}"))["attempts"]) for row in rows])


async def recorded(scene: Scene, count: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while await tries(scene) < count:
            await asyncio.sleep(0.01)
