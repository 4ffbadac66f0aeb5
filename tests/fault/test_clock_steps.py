"""The wall clock is set, forwards or back, while the gateway works.

Oracles: statuses, what arrives at the endpoints and how often, and the API. A proof that is judged too old or too young
just after a step is 503 and not 401; what is wrong whatever the time stays refused; what lasts becomes the new truth.
Nobody loses a lease, and no delivery is tried more than once before its time.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from clock_scene import HOUR, MONTH, a_claim_for_all, a_scene, delivering, recorded, settled, states, tries
from issuers import new_key
from local import NOW, SteppedClock, endpoints

from hookseal.clock import Instant, from_datetime, to_unix

pytestmark = pytest.mark.fault

TO_1970 = -to_unix(NOW)
TO_2038 = to_unix(from_datetime(datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC))) + TO_1970
"""To the second from which 32 bits no longer hold the time."""
STEPS = [TO_1970, -MONTH, -HOUR, -601.0, 3700.0, MONTH, TO_2038]
OTHER = new_key()


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_refusal_for_its_time_just_after_a_step_is_a_doubt(step_s: float, tmp_path: Path) -> None:
    async with a_scene(tmp_path, SteppedClock()) as scene:
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


async def test_a_step_before_the_first_request_is_noticed_too(tmp_path: Path) -> None:
    async with a_scene(tmp_path, SteppedClock()) as scene:
        scene.clock.step(HOUR)
        assert await scene.stamped(NOW) == 503


async def test_a_clock_that_is_set_right_again_refuses_nothing(tmp_path: Path) -> None:
    async with a_scene(tmp_path, SteppedClock()) as scene:
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
    async with a_scene(tmp_path, SteppedClock()) as scene:
        assert await scene.stamped(NOW) == 200
        scene.clock.step(4.0)
        assert await scene.stamped(Instant(NOW - 400_000_000)) == 401
        scene.clock.step(-4.0)
        assert await scene.stamped(Instant(NOW - 400_000_000)) == 401


# --- delivering ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [TO_1970, -MONTH, -HOUR, HOUR, MONTH, TO_2038])
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


@pytest.mark.parametrize("step_s", [HOUR, MONTH, TO_2038])
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


async def test_a_clock_that_is_set_often_makes_no_delivery_look_like_poison(tmp_path: Path) -> None:
    """Each step ends all leases by the clock's word. They are not what a process leaves that dies with a delivery."""
    clock = SteppedClock()
    async with endpoints() as there, delivering(tmp_path, there, clock) as scene:
        there.held = {"core"}
        there.status = lambda name: 500 if name == "core" else 200
        for _ in range(40):  # more than are sent at once: others wait in line for it
            assert await scene.bankid(NOW) == 202
        await there.until(lambda: there.inside["core"] == 16)
        for number in range(8):
            clock.step(HOUR)
            if number % 2:  # some end, and the next in line are looked at before anything is claimed
                ended = there.answered["core"]
                there.open_gate_once()
                await recorded(scene, ended + 1)
            clock.advance(1)
            await a_claim_for_all(scene, there)
        there.status = lambda name: 200
        there.held = set()
        there.gate.set()
        for _ in range(3):
            clock.advance(HOUR)
            await a_claim_for_all(scene, there)
        await settled(scene, "core")
        assert await states(scene, "core") == ["delivered"] * 40
