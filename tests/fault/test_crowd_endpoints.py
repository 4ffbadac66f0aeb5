"""Endpoints that hang among many that do not, and one that comes back to thousands of deliveries due at once.

Oracles: what arrives where, and how many at once. The others get everything while those that hang still hold; the one
that comes back is met by one try, then two, four, eight, never more than its concurrency, and gets each delivery once.
Nothing is measured: the hanging ones wait at a gate that the test opens when the others are done.
"""

import asyncio
from pathlib import Path

import pytest
from issuers import alarm, issuer, key_set, new_key, public, token
from local import BOUND_S, NOW, Running, SteppedClock, endpoints, running
from tiers import tier

pytestmark = pytest.mark.fault

KEY = new_key()
CONCURRENCY = 16
HERD = tier(ci=1_500, full=20_000)
ENDPOINTS = [(50, 1, 30), (200, 20, 10)]
"""How many there are, how many of them hang, how many events."""


async def send(gateway: Running, first: int, count: int) -> None:
    bearer = token(KEY, "k1", NOW, exp=10**10)
    numbers = iter(range(first, first + count))

    async def one_connection() -> None:
        for number in numbers:
            assert (await gateway.post("/in/bankid", *alarm(number, bearer))).status == 202

    await asyncio.gather(*(one_connection() for _ in range(16)))


@pytest.mark.parametrize(("count", "hanging", "events"), ENDPOINTS)
async def test_endpoints_that_hang_hold_up_nobody_else(count: int, hanging: int, events: int, tmp_path: Path) -> None:
    names = [f"e{number}" for number in range(count)]
    async with issuer() as keys, endpoints() as there:
        keys.body = key_set(public(KEY, "k1"))
        there.held = set(names[:hanging])
        patient = "timeout_s = 30"
        async with running(tmp_path, keys.settings() + there.settings(*names, more=patient), SteppedClock()) as gateway:
            await send(gateway, 0, events)
            await there.until(lambda: all(len(there.got[name]) == events for name in names[hanging:]))
            assert all(there.inside[name] == min(events, CONCURRENCY) for name in there.held)
            there.gate.set()
            await there.until(lambda: all(len(there.got[name]) == events for name in names))
            await none_pending(gateway)
            assert all(there.most_inside[name] <= CONCURRENCY for name in names)
            assert all(set(there.got[name].values()) == {1} for name in names)


async def test_an_endpoint_that_comes_back_is_met_slowly_and_the_others_go_on(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with issuer() as keys, endpoints() as there:
        keys.body = key_set(public(KEY, "k1"))
        there.status = lambda name: 503 if name == "herd" else 200
        retry = "retry = { delays_s = [3600, 3600] }"
        text = keys.settings() + there.settings("herd", more=retry) + there.settings("other")
        async with running(tmp_path, text, clock) as gateway:
            await send(gateway, 0, HERD)
            await there.until(lambda: len(there.got["herd"]) == HERD)
            await there.until(lambda: len(there.got["other"]) == HERD)
            await recorded(gateway)
            there.status = lambda name: 200
            there.held = {"herd"}
            answered = there.answered["herd"]
            clock.advance(2 * 3600)
            await there.until(lambda: there.inside["herd"] == 1)
            await send(gateway, HERD, 100)
            await there.until(lambda: len(there.got["other"]) == HERD + 100)
            assert there.inside["herd"] == 1, "more than one at an endpoint of which nobody knows that it lives"
            for width in (2, 8, CONCURRENCY):  # after 1 success, after 2 more, after 8 more
                there.open_gate_once()
                await there.until(lambda width=width: there.inside["herd"] == width)
            there.held = set()
            there.gate.set()
            await there.until(lambda: len(there.got["herd"]) == HERD + 100)
            await none_pending(gateway)
            begun = [one for one in there.widths["herd"] if one[0] >= answered]
            assert len(begun) == HERD + 100
            assert [one for one in begun if one[1] > min(2 ** min(one[0] - answered, 4), CONCURRENCY)] == []
            assert sorted(there.got["herd"].values()) == [1] * 100 + [2] * HERD
            assert set(there.got["other"].values()) == {1}


async def recorded(gateway: Running) -> None:
    """Wait until each failed try is written down: none is leased that was tried."""
    async with asyncio.timeout(BOUND_S):
        while any(row["attempt_count"] == 0 for row in await gateway.all("/deliveries?state=pending")):
            await asyncio.sleep(0.05)


async def none_pending(gateway: Running) -> None:
    async with asyncio.timeout(BOUND_S):
        while (await gateway.api("GET", "/deliveries?state=pending&limit=1"))["data"]:
            await asyncio.sleep(0.02)
