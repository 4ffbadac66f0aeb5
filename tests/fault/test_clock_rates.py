"""The wall clock runs ten times too fast, or swings to and fro, while the gateway works.

Oracles: statuses, what arrives at the endpoints and how often, and the API. What is proven by the true time is never
refused for its time: it is accepted or, while our clock says otherwise, 503. A try under
way is not made again.
"""

import math
from pathlib import Path

import pytest
from clock_scene import HOUR, a_claim_for_all, a_scene, delivering, recorded, settled, states, tries
from local import NOW, SteppedClock, endpoints

from hookseal.clock import Instant, plus

pytestmark = pytest.mark.fault

LOOK_S = 0.25


class FastClock(SteppedClock):
    """Its wall time runs `rate` times as fast as its monotonic time."""

    rate = 10.0

    def advance(self, seconds: float) -> None:
        self.step((self.rate - 1) * seconds)
        super().advance(seconds)

    @property
    def true(self) -> Instant:
        return plus(NOW, self.monotonic())


class SwingingClock(SteppedClock):
    """Its wall time is up to `by_s` before or behind the true one, to and fro in `period_s`."""

    by_s, period_s = 10.0, 20.0

    def now(self) -> Instant:
        return plus(super().now(), self.by_s * math.sin(self.monotonic() * 2 * math.pi / self.period_s))

    @property
    def true(self) -> Instant:
        return super().now()


@pytest.mark.parametrize(("rate", "look_s", "seconds"), [(10.0, 0.25, 60), (0.1, 1.0, 400)])
async def test_a_clock_at_the_wrong_rate_refuses_nothing_for_its_time(
    rate: float, look_s: float, seconds: float, tmp_path: Path
) -> None:
    clock = FastClock()
    clock.rate = rate
    async with a_scene(tmp_path, clock) as scene:
        for look in range(round(seconds / look_s)):
            clock.advance(look_s)
            assert await scene.stamped(clock.true) in (200, 503)
            if look % 10 == 0:
                assert await scene.bankid(clock.true) in (202, 503)
        assert set(scene.gateway.statuses) == {200, 202, 503}, "it was never that far off"
        assert (await scene.gateway.api("GET", "/quarantine"))["data"] == []
        clock.rate = 1.0
        clock.advance(61)
        assert await scene.stamped(clock.true) == 401, "what lasts is the new truth"


async def test_a_clock_that_swings_refuses_nothing_for_its_time(tmp_path: Path) -> None:
    clock = SwingingClock()
    async with a_scene(tmp_path, clock) as scene:
        for _ in range(round(60 / LOOK_S)):
            clock.advance(LOOK_S)
            assert await scene.stamped(plus(clock.true, -294)) in (200, 503), "it was still young enough"
            assert await scene.stamped(plus(clock.true, 294)) in (200, 503), "it was not too far ahead"
        assert set(scene.gateway.statuses) == {200, 503}
        assert (await scene.gateway.api("GET", "/quarantine"))["data"] == []


@pytest.mark.parametrize("odd", [FastClock, SwingingClock])
async def test_a_delivery_is_sent_once_a_try_while_the_clock_is_odd(odd: type[SteppedClock], tmp_path: Path) -> None:
    clock = odd()
    async with endpoints() as there, delivering(tmp_path, there, clock) as scene:
        there.held = {"core"}
        there.status = lambda name: 500 if name == "core" else 200
        for _ in range(5):
            assert await scene.bankid(clock.now()) == 202
        await there.until(lambda: there.inside["core"] == 5)
        for _ in range(30):  # beyond 40 s of its own clock a try is cut off
            clock.advance(1)
            await a_claim_for_all(scene, there)
        assert there.got["core"].total() == 5, "sent again while under way"
        there.held = set()
        there.gate.set()
        await recorded(scene, 5)
        there.status = lambda name: 200
        clock.advance(HOUR)
        await a_claim_for_all(scene, there)
        await settled(scene, "core")
        assert await states(scene, "core") == ["delivered"] * 5
        assert await tries(scene) == 10
        assert set(there.got["core"].values()) == {2}
