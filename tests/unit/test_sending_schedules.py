"""Whole lives of deliveries as the providers send them: two days pass in an instant, by a clock that stands still.

The store and the engine are real; the other side answers what a test says.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest
from delivery_parts import SOURCE, START, TYPE, Bench, bench, endpoint, soon
from sending_capture import TABLES

from hookseal import catalogue
from hookseal.clock import seconds_between
from hookseal.delivery.policy import POLICIES, of_provider
from hookseal.destinations.port import Answered, Failed, Parcel, Sent
from hookseal.model import AttemptReason, DeliveryState
from hookseal.settings import HandshakeSettings

BANKID = of_provider(catalogue.provider("bankid_antifraud"))
CONSENT = HandshakeSettings(kind="cloudevents", origin="eventgrid.azure.net")

pytestmark = pytest.mark.requirement("X04")


async def offsets(bench: Bench, answers: Any) -> tuple[list[float], DeliveryState, list[Parcel]]:
    """One delivery, from its birth to its end: when each try was made, and how it ended."""
    bench.receiver.answer = answers
    (delivery,) = await bench.receive()
    made = await soon_all(bench, delivery)
    row = await bench.row(delivery)
    return made, row.state, [parcel for _, parcel in bench.receiver.came]


async def soon_all(bench: Bench, delivery: Any) -> list[float]:
    return await soon(bench.run_dry(delivery))


def always(status: int, retry_after: str | None = None) -> Any:
    return lambda parcel: Answered(status=status, retry_after=retry_after)


def good_at(number: int) -> Any:
    return lambda parcel: Answered(status=200 if parcel.attempt == number else 500)


# --- ZignSec --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("Z10")
@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("wish", [None, "86400", "999999999"])
async def test_twenty_tries_within_48_hours_whatever_jitter_and_wishes(
    tmp_path: Path, jitter: float, wish: str | None
) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES["zignsec_20_in_48h"]), jitter=jitter) as made:
        at, state, _ = await offsets(made, always(500, wish))
        assert len(at) == 20
        assert at == sorted(set(at))
        assert at[-1] <= 172_800
        if wish is None:
            assert at[-1] <= 171_000
        assert state is DeliveryState.DEAD


@pytest.mark.requirement("Z10")
async def test_the_twentieth_try_may_still_deliver(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES["zignsec_20_in_48h"]), jitter=1.0) as made:
        at, state, _ = await offsets(made, good_at(20))
        assert [round(one) for one in at] == TABLES["retry_policies"]["zignsec_20_in_48h"]["example_offsets_s"]
        assert state is DeliveryState.DELIVERED


@pytest.mark.requirement("Z11", "Z12")
@pytest.mark.parametrize(("policy", "tries"), [("zignsec_3_retries", 4), ("zignsec_3_tries", 3)])
async def test_three_retries_are_four_tries_and_three_tries_are_three(tmp_path: Path, policy: str, tries: int) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES[policy])) as made:
        at, state, _ = await offsets(made, always(500))
        assert (len(at), state) == (tries, DeliveryState.DEAD)


@pytest.mark.requirement("Z11")
async def test_the_fourth_try_may_still_deliver(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=of_provider(catalogue.provider("zignsec")))) as made:
        at, state, _ = await offsets(made, good_at(4))
        assert (len(at), state) == (4, DeliveryState.DELIVERED)


# --- BankID ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B13", "B14")
async def test_eleven_tries_in_a_day_with_gaps_that_never_shrink(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=BANKID), jitter=0.0) as made:
        at, state, _ = await offsets(made, always(503))
        assert at == TABLES["retry_policies"]["event_grid"]["offsets_s"]
        assert state is DeliveryState.DEAD


@pytest.mark.requirement("B14")
async def test_jitter_lengthens_a_gap_by_a_tenth_at_most(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=BANKID), jitter=1.0) as made:
        at, _, _ = await offsets(made, lambda parcel: Failed(reason=AttemptReason.RESPONSE_TIMEOUT))
        gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
        planned = TABLES["retry_policies"]["bankid"]["gaps_s"]
        assert all(gap == pytest.approx(1.1 * plan) for gap, plan in zip(gaps, planned[:-1], strict=False))
        assert gaps == sorted(gaps)
        assert at[-1] <= 86_400


@pytest.mark.requirement("B12")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_a_final_no_ends_it_at_once_and_the_dead_letter_says_why(tmp_path: Path, status: int) -> None:
    async with bench(tmp_path, endpoint(policy=BANKID)) as made:
        made.receiver.answer = always(status)
        (delivery,) = await made.receive()
        await made.watch.told()
        row, attempts = await made.store.delivery(delivery)
        assert (row.state, row.attempts, row.last_status, row.last_reason) == (
            DeliveryState.DEAD,
            1,
            status,
            f"http_{status}",
        )
        assert [one.status for one in attempts] == [status]
        assert len(made.receiver.came) == 1


@pytest.mark.requirement("B12", "B14")
async def test_the_dead_letter_of_a_spent_schedule_keeps_the_last_answer_and_the_count(tmp_path: Path) -> None:
    def answer(parcel: Parcel) -> Sent:
        return Failed(reason=AttemptReason.CONNECT_REFUSED) if parcel.attempt == 11 else Answered(status=500)

    async with bench(tmp_path, endpoint(policy=BANKID), jitter=0.0) as made:
        made.receiver.answer = answer
        (delivery,) = await made.receive()
        await soon_all(made, delivery)
        row, attempts = await made.store.delivery(delivery)
        assert (row.attempts, row.last_status, row.last_reason) == (11, None, "connect_refused")
        assert [one.status for one in attempts] == [500] * 10 + [None]


# --- rates ----------------------------------------------------------------------------------------------------------


def started(bench: Bench, name: str | None = None) -> list[float]:
    receivers = [one for id, one in bench.receivers.items() if name in (None, id)]
    return [seconds_between(START, at) for receiver in receivers for at, _ in receiver.came]


@pytest.mark.requirement("B09")
async def test_three_events_at_a_rate_of_two_go_at_once_and_a_minute_later(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(rate_per_min=2)) as made:
        for _ in range(3):
            await made.receive()
        await made.receiver.arrived(2)
        await made.still()
        made.clock.advance(59.9)
        await made.still()
        assert started(made) == [0.0, 0.0]
        await made.pass_time(lambda: len(started(made)) == 3, 0.1)
        assert started(made)[2] == pytest.approx(60.0, abs=0.2)


@pytest.mark.requirement("B09")
async def test_retries_count_towards_the_rate(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(rate_per_min=2, policy=BANKID), jitter=0.0) as made:
        made.receiver.answer = lambda parcel: Answered(status=500 if parcel.attempt < 3 else 200)
        await made.receive()
        await made.pass_time(lambda: len(started(made)) == 3, 5.0)
        assert started(made)[:2] == [0.0, 10.0]
        assert started(made)[2] >= 60.0


@pytest.mark.requirement("B09")
async def test_no_rate_is_no_delay(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=50)) as made:
        for _ in range(50):
            await made.receive()
        await made.receiver.arrived(50)
        assert started(made) == [0.0] * 50


async def test_a_backlog_is_let_go_at_the_rate_and_leased_a_minutes_worth_at_most(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(rate_per_min=3)) as made:
        for _ in range(10):
            await made.receive()

        most = 0
        while len(started(made)) < 10:
            await made.still()
            most = max(most, len(made.engine._held))
            made.clock.advance(5.0)
        at = started(made)
        assert most <= 3
        assert all(later - earlier >= 60.0 for earlier, later in zip(at, at[3:], strict=False))
        assert at[-1] < 200.0


@pytest.mark.requirement("B09")
async def test_a_slow_lane_holds_up_no_other(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("slow", rate_per_min=1), endpoint("quick", concurrency=20)) as made:
        for _ in range(20):
            await made.receive()
        await made.receivers["quick"].arrived(20)  # type: ignore[index]
        await made.still()
        assert started(made, "quick") == [0.0] * 20
        assert started(made, "slow") == [0.0]


async def test_what_waits_for_its_turn_is_given_back_when_we_stop(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(rate_per_min=2)) as made:
        for _ in range(4):
            await made.receive()
        await made.receiver.arrived(2)
        await made.watch.told(2)
        await made.engine.stop(0.0)
        assert [row.state for row in await made.rows()].count(DeliveryState.PENDING) == 2
        due = [row.due_at for row in await made.rows() if row.due_at is not None]
        assert all(one <= made.clock.now() for one in due), "no lease outlives the engine"


# --- consent --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B08")
async def test_nothing_is_posted_before_the_consent_and_everything_after_it(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("asked", handshake=CONSENT), start=False) as made:
        await made.engine.start()
        for _ in range(3):
            assert [one.lease for one in made.plan()] == [None]
            await made.receive()
        for _ in range(20):
            await made.still()
            made.clock.advance(3600.0)
        assert made.receiver.came == []
        made.engine.admit(next(iter(made.receivers)), None)
        await made.receiver.arrived(3)


@pytest.mark.requirement("B08", "B09")
async def test_the_granted_rate_bounds_the_lane_and_the_smaller_of_two_counts(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("asked", handshake=CONSENT, rate_per_min=5), start=False) as made:
        await made.engine.start()
        made.engine.admit(next(iter(made.receivers)), 2)
        for _ in range(6):
            await made.receive()
        await made.receiver.arrived(2)
        await made.still()
        assert started(made) == [0.0, 0.0]


@pytest.mark.requirement("B08")
async def test_a_consent_that_is_withdrawn_shuts_the_lane(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("asked", handshake=CONSENT, concurrency=1), start=False) as made:
        await made.engine.start()
        id = next(iter(made.receivers))
        made.engine.admit(id, None)
        made.receiver.gate.clear()
        for _ in range(3):
            await made.receive()
        await made.receiver.arrived(1)
        await made.engine.close(id)
        made.receiver.gate.set()
        await made.watch.told(1)
        for _ in range(5):
            await made.still()
            made.clock.advance(60.0)
        assert len(made.receiver.came) == 1
        assert [one.lease for one in made.engine.plan(SOURCE, [TYPE])[0]] == [None]


async def test_a_consent_is_for_one_url(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("asked", url="https://a.example", handshake=CONSENT), start=False) as made:
        await made.engine.start()
        id = next(iter(made.receivers))
        made.engine.admit(id, None)
        await made.engine.reconfigure([endpoint("asked", url="https://b.example", handshake=CONSENT)], made.receivers)
        await made.receive()
        await made.still()
        assert made.receiver.came == []
