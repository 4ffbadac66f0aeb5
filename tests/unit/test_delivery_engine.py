"""The engine over a real store: what is sent, when again, and what is written down."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from delivery_parts import TYPE, CountingStore, bench, endpoint, later, soon

from hookseal.delivery.policy import POLICIES, parse
from hookseal.destinations.port import Answered, Failed, Parcel, Rejected, Sent
from hookseal.errors import StoreUnavailable
from hookseal.model import DeliveryState, EndpointId
from hookseal.settings import RetrySettings
from hookseal.store.port import AttemptRow, Claimed, Replay, Result

PENDING, DELIVERED, DEAD, CANCELLED, _ = DeliveryState


def always(sent: Sent) -> Any:
    return lambda parcel: sent


# --- born leased, and claimed ---------------------------------------------------------------------------------------


async def test_a_born_leased_delivery_is_sent_without_being_read_back(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        (delivery,) = await b.receive()
        (told,) = await b.watch.told()
        assert (told.delivery, told.state, told.reason) == (delivery, DELIVERED, None)
        row, attempts = await b.store.delivery(delivery)
        assert (row.state, row.attempts, row.losses, row.last_status) == (DELIVERED, 1, 0, 200)
        assert [(one.number, one.status, one.reason) for one in attempts] == [(1, 200, None)]
        assert b.store.claimed == 0


async def test_a_parcel_carries_the_event_and_the_bytes_it_was_made_of(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        (delivery,) = await b.receive(body=b"{ }")
        (parcel,) = await b.receiver.arrived()
        assert (parcel.delivery, parcel.attempt, parcel.stored.body) == (delivery, 1, b"{ }")
        assert (parcel.event.id, parcel.event.sequence) == (parcel.stored.row.id, 1)


async def test_what_was_planned_before_the_start_is_claimed_after_it(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        (delivery,) = await b.receive()
        assert (await b.row(delivery)).due_at == b.clock.now()
        await b.engine.start()
        (told,) = await b.watch.told()
        assert (told.delivery, told.state) == (delivery, DELIVERED)
        assert b.store.claimed == 1


async def test_the_bound_of_a_lane_holds_for_reservations_and_they_can_be_given_back(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        planned = [b.plan()[0] for _ in range(600)]
        leased = [one for one in planned if one.lease is not None]
        assert len(leased) == 512 + 16
        assert all(one.due_at == b.clock.now() for one in planned if one.lease is None)
        b.engine.abandoned(planned)
        b.engine.wake()
        await b.receive()
        await b.watch.told()


async def test_work_beyond_the_bound_waits_in_the_store_and_is_claimed(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=4)) as b:
        b.receiver.gate.clear()
        await asyncio.gather(*(b.receive() for _ in range(540)))
        assert sum(row.due_at == b.clock.now() for row in await b.rows()) > 0
        b.receiver.gate.set()
        told = await b.watch.told(540)
        assert {one.state for one in told} == {DELIVERED}
        assert len({one.delivery for one in told}) == 540
        assert b.receiver.most_inside == 4
        assert b.store.claimed > 0


async def test_a_delivery_made_by_another_node_is_found_without_a_word(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        (first,) = await b.receive()
        await b.watch.told()
        event = (await b.row(first)).event
        await b.still()
        assert await b.store.replay(Replay(endpoint=EndpointId("core"), events=(event,)), b.clock.now()) == 1
        b.clock.advance(5.0)
        (told,) = await b.watch.told()
        assert (told.delivery != first, told.state) == (True, DELIVERED)


async def test_a_replay_is_a_new_delivery_of_the_same_event(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        (first,) = await b.receive()
        await b.watch.told()
        event = (await b.row(first)).event
        await b.store.replay(Replay(endpoint=EndpointId("core"), events=(event,)), b.clock.now())
        b.engine.wake()
        await b.watch.told()
        (_, one), (_, two) = b.receiver.came
        assert one.event.id == two.event.id
        assert (one.delivery == first, two.delivery != first, two.attempt) == (True, True, 1)


# --- what an answer means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "state", "status", "reason"),
    [
        (Answered(status=204), DELIVERED, 204, None),
        (Answered(status=500), PENDING, 500, "http_500"),
        (Answered(status=404), PENDING, 404, "http_404"),
        (Answered(status=410), DEAD, 410, "http_410"),
        (Failed(reason="connect_refused"), PENDING, None, "connect_refused"),
        (Rejected(reason="config_error"), DEAD, None, "config_error"),
    ],
)
async def test_each_outcome_is_recorded_as_what_it_is(
    tmp_path: Path, sent: Sent, state: DeliveryState, status: int | None, reason: str | None
) -> None:
    async with bench(tmp_path) as b:
        b.receiver.answer = always(sent)
        (delivery,) = await b.receive()
        (told,) = await b.watch.told()
        assert (told.state, told.reason) == (state, reason)
        row, attempts = await b.store.delivery(delivery)
        assert (row.state, row.last_status, row.last_reason) == (state, status, reason)
        assert attempts == [AttemptRow(number=1, started_at=b.clock.now(), duration_ms=0, status=status, reason=reason)]
        assert row.due_at == (later(b.clock, 5) if state is PENDING else None)


async def test_bankid_counts_205_as_failed_and_404_as_final(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES["bankid"]), jitter=0.0) as b:
        b.receiver.answer = always(Answered(status=205))
        await b.receive()
        assert (await b.watch.told())[0].state is PENDING
        b.receiver.answer = always(Answered(status=404))
        await b.receive()
        assert (await b.watch.told())[0].state is DEAD


async def test_an_endpoints_own_tables_decide(tmp_path: Path) -> None:
    own = parse(RetrySettings(delays_s=(7.0,), success=("418",), permanent=("2xx",)))
    async with bench(tmp_path, endpoint(policy=own)) as b:
        b.receiver.answer = always(Answered(status=418))
        await b.receive()
        assert (await b.watch.told())[0].state is DELIVERED
        b.receiver.answer = always(Answered(status=200))
        await b.receive()
        assert (await b.watch.told())[0].state is DEAD
        b.receiver.answer = always(Answered(status=500))
        (delivery,) = await b.receive()
        assert await b.run_dry(delivery) == pytest.approx([0, 7], abs=1)
        assert (await b.row(delivery)).state is DEAD


# --- schedules ------------------------------------------------------------------------------------------------------


async def test_48_hours_of_failure_are_20_tries_and_then_a_dead_letter(tmp_path: Path) -> None:
    policy = POLICIES["zignsec_20_in_48h"]
    async with bench(tmp_path, endpoint(policy=policy), jitter=1.0) as b:
        b.receiver.answer = always(Answered(status=500))
        (delivery,) = await b.receive()
        assert await b.run_dry(delivery) == [0, *policy.waits_s]
        row, attempts = await b.store.delivery(delivery)
        assert (row.state, row.attempts, row.last_reason) == (DEAD, 20, "http_500")
        assert [one.number for one in attempts] == list(range(1, 21))
        assert {parcel.delivery for _, parcel in b.receiver.came} == {delivery}


async def test_success_at_the_20th_try_is_success(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES["zignsec_20_in_48h"])) as b:
        b.receiver.answer = lambda parcel: Answered(status=200 if parcel.attempt == 20 else 503)
        (delivery,) = await b.receive()
        assert len(await b.run_dry(delivery)) == 20
        assert (await b.row(delivery)).state is DELIVERED


async def test_a_day_of_failure_is_11_tries_at_event_grids_times(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES["event_grid"]), jitter=0.0) as b:
        b.receiver.answer = always(Failed(reason="response_timeout"))
        (delivery,) = await b.receive()
        assert await b.run_dry(delivery) == [0, 10, 40, 100, 400, 1000, 2800, 6400, 17200, 38800, 82000]
        assert (await b.row(delivery)).state is DEAD


@pytest.mark.parametrize(("name", "tries"), [("zignsec_3_retries", 4), ("zignsec_3_tries", 3), ("standard", 10)])
async def test_each_policy_ends_after_its_tries(tmp_path: Path, name: str, tries: int) -> None:
    async with bench(tmp_path, endpoint(policy=POLICIES[name])) as b:
        b.receiver.answer = always(Answered(status=500))
        (delivery,) = await b.receive()
        assert len(await b.run_dry(delivery)) == tries


@pytest.mark.parametrize(
    ("wish", "due_s"),
    [("120", 120), ("2", 5), ("soon", 5), ("Sat, 21 Nov 2026 08:02:00 GMT", 120), ("9" * 400, 86_400)],
)
async def test_retry_after_is_granted_where_it_is_longer(tmp_path: Path, wish: str, due_s: float) -> None:
    async with bench(tmp_path) as b:
        b.receiver.answer = always(Answered(status=503, retry_after=wish))
        (delivery,) = await b.receive()
        await b.watch.told()
        assert (await b.row(delivery)).due_at == later(b.clock, due_s)


# --- one delivery's trouble -----------------------------------------------------------------------------------------


async def test_a_destination_that_raises_is_one_failed_try(tmp_path: Path) -> None:
    def raises(parcel: Parcel) -> Sent:
        raise RecursionError("of the destination's own")

    async with bench(tmp_path) as b:
        b.receiver.answer = raises
        await b.receive()
        assert (await b.watch.told())[0].reason == "config_error"
        assert await soon(b.watch.broken.get()) == ("send", "RecursionError")
        b.receiver.answer = always(Answered(status=200))
        await b.receive()
        assert (await b.watch.told())[0].state is DELIVERED


async def test_an_event_that_cannot_be_normalised_fails_alone(tmp_path: Path) -> None:
    def cannot(stored: Any) -> Any:
        raise MemoryError

    async with bench(tmp_path, normalise=cannot) as b:
        (delivery,) = await b.receive()
        (told,) = await b.watch.told()
        assert (told.delivery, told.state, told.reason) == (delivery, PENDING, "config_error")
        assert b.receiver.came == []


async def test_a_cancelled_deliverys_result_is_refused_and_counted(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.receiver.gate.clear()
        (delivery,) = await b.receive()
        await b.receiver.arrived()
        assert await b.store.cancel(delivery, b.clock.now())
        b.receiver.gate.set()
        assert await soon(b.watch.fences.get()) == delivery
        row, attempts = await b.store.delivery(delivery)
        assert (row.state, list(attempts)) == (CANCELLED, [])


# --- lanes ----------------------------------------------------------------------------------------------------------


async def test_no_more_tries_are_under_way_than_an_endpoint_allows(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=3)) as b:
        b.receiver.gate.clear()
        for _ in range(12):
            await b.receive()
        await b.receiver.arrived(3)
        await b.still()
        assert b.receiver.arrivals.empty()
        assert b.receiver.inside == 3
        b.receiver.gate.set()
        await b.watch.told(12)
        assert b.receiver.most_inside == 3


async def test_a_hanging_endpoint_does_not_hold_up_nineteen_others(tmp_path: Path) -> None:
    names = [f"e{number}" for number in range(20)]
    async with bench(tmp_path, *(endpoint(name, concurrency=2) for name in names)) as b:
        dead = b.receivers[EndpointId("e0")]
        dead.gate.clear()
        for _ in range(30):
            await b.receive()
        told = await b.watch.told(19 * 30)
        assert {one.endpoint for one in told} == set(names[1:])
        assert {one.state for one in told} == {DELIVERED}
        assert (dead.inside, len(dead.came)) == (2, 2)


async def test_a_full_lane_leaves_room_for_claims_of_the_others(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("dead", concurrency=1), endpoint("well"), start=False) as b:
        b.receivers[EndpointId("dead")].gate.clear()
        for _ in range(700):
            b.engine.abandoned(b.plan())
        await asyncio.gather(*(b.receive() for _ in range(600)))
        await b.engine.start()
        told = await b.watch.told(600)
        assert {one.endpoint for one in told} == {"well"}


# --- several events in one request ----------------------------------------------------------------------------------


async def test_an_endpoint_of_original_gets_a_request_once_with_the_first_event_it_takes(tmp_path: Path) -> None:
    given = (endpoint("each"), endpoint("once", format="original", types=("risk.*", "other")))
    async with bench(tmp_path, *given) as b:
        for _ in range(2):
            await b.receive([TYPE, "other", "risk.alarm.raised"])
        told = await b.watch.told(8)
        assert [one.endpoint for one in told].count(EndpointId("each")) == 6
        once = [parcel.event.type for _, parcel in b.receivers[EndpointId("once")].came]
        assert once == ["other", "other"]


# --- the store fails ------------------------------------------------------------------------------------------------


class FailingStore(CountingStore):
    """Fails the first `failures` calls of record and claim, as a store does whose disk is full."""

    failures = 3
    failed = 0

    def _fail(self) -> None:
        if self.failed < self.failures:
            self.failed += 1
            raise StoreUnavailable("the disk is full")

    async def record(self, result: Result) -> bool:
        self._fail()
        return await super().record(result)


class ClaimlessStore(FailingStore):
    async def record(self, result: Result) -> bool:
        return await CountingStore.record(self, result)

    async def claim_due(self, *arguments: Any) -> Sequence[Claimed]:
        self._fail()
        return await super().claim_due(*arguments)


async def test_a_result_is_written_again_until_the_store_takes_it(tmp_path: Path) -> None:
    async with bench(tmp_path, store_type=FailingStore) as b:
        (delivery,) = await b.receive()
        await b.pass_time(lambda: not b.watch.attempts.empty(), 0.05)
        row = await b.row(delivery)
        assert (row.state, row.attempts, b.store.failed) == (DELIVERED, 1, 3)
        assert len(b.receiver.came) == 1


async def test_a_result_that_nobody_takes_is_given_up_and_the_delivery_is_tried_again(tmp_path: Path) -> None:
    async with bench(tmp_path, store_type=FailingStore) as b:
        b.store.failures = 20
        (delivery,) = await b.receive()
        await b.pass_time(lambda: not b.watch.unwritten.empty(), 1.0)
        assert b.watch.unwritten.get_nowait() == delivery
        await b.pass_time(lambda: not b.watch.attempts.empty(), 5.0)
        row = await b.row(delivery)
        assert (row.state, row.attempts, row.losses) == (DELIVERED, 1, 1)
        assert len(b.receiver.came) == 2


async def test_the_loop_outlives_a_store_that_cannot_be_claimed_from(tmp_path: Path) -> None:
    async with bench(tmp_path, store_type=ClaimlessStore, start=False) as b:
        await b.receive()
        await b.engine.start()
        await b.pass_time(lambda: not b.watch.attempts.empty(), 1.0)
        assert b.watch.attempts.get_nowait().state is DELIVERED
        assert b.watch.broken.get_nowait() == ("claim", "StoreUnavailable")


# --- other endpoints while it runs ----------------------------------------------------------------------------------


async def test_an_endpoint_added_while_running_gets_what_is_planned_from_then_on(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("a")) as b:
        receivers = b.receivers | {EndpointId("b"): type(b.receiver)()}
        await b.engine.reconfigure([endpoint("a"), endpoint("b")], receivers)
        await b.receive()
        assert {one.endpoint for one in await b.watch.told(2)} == {"a", "b"}


async def test_what_waits_for_an_endpoint_that_is_gone_stays_pending_and_unleased(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint("a", concurrency=1)) as b:
        b.receiver.gate.clear()
        await b.receive()
        await b.receiver.arrived()
        (waiting,) = await b.receive()
        await b.engine.reconfigure([], {})
        row = await b.row(waiting)
        assert (row.state, row.due_at, row.losses) == (PENDING, b.clock.now(), 0)
        b.receiver.gate.set()
        assert (await b.watch.told())[0].state is DELIVERED


# --- randomness -----------------------------------------------------------------------------------------------------


async def test_ids_and_leases_do_not_follow_from_the_source_of_jitter(tmp_path: Path) -> None:
    """Before, who saw some ids could compute the next ones, and the leases."""
    drawn = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        async with bench(tmp_path / folder, random=Random(1)) as b:
            drawn.append([(one.id, one.lease) for _ in range(3) for one in b.plan()])
    assert {id for id, _ in drawn[0]}.isdisjoint(id for id, _ in drawn[1])
    assert {lease for _, lease in drawn[0]}.isdisjoint(lease for _, lease in drawn[1])


async def test_ids_and_leases_come_from_the_randomness_that_is_handed_in(tmp_path: Path) -> None:
    def ones(count: int) -> bytes:
        return b"\xff" * count

    async with bench(tmp_path, random_bytes=ones) as b:
        [planned] = b.plan()
        assert planned.id.endswith("b" + "f" * 15)
        assert planned.lease == 2**63 - 1


async def test_large_bodies_of_some_endpoints_hold_up_no_other_endpoint(tmp_path: Path) -> None:
    """One claim brings 16 MiB of requests: here the first requests of four endpoints."""
    ends = [endpoint(f"e{number}", types=(f"t{number}",)) for number in range(5)]
    async with bench(tmp_path, *ends, start=False) as b:
        for _ in range(6):
            for number in range(5):
                await b.receive([f"t{number}"], bytes(5 * 1024 * 1024))
        await b.engine.start()
        order = [told.endpoint for told in await b.watch.told(30)]
        last = EndpointId("e4")
        assert order.index(last) < 12, "the last endpoint waited until the others had nothing left"
        assert order[:20].count(last) >= 3
