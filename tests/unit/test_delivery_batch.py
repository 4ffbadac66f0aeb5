"""Several deliveries in one call: what goes together, what an answer means for each, and what never shares a call."""

import asyncio
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from delivery_parts import Bench, bench, endpoint, normalise, soon

from hookseal.clock import plus
from hookseal.delivery.lane import BATCH_BYTES
from hookseal.delivery.policy import POLICIES
from hookseal.destinations.port import Answered, Parcel, Rejected, Sent
from hookseal.model import DeliveryId, DeliveryState, EndpointId, Event
from hookseal.store.port import StoredEvent

PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD
GRID = POLICIES["event_grid"]


def batching(batch: int = 100, **changes: Any) -> Any:
    return endpoint(batch=batch, **{"concurrency": 1, "policy": GRID, **changes})


async def queue_up(b: Bench, number: int, *, body: bytes = b'{"n":1}') -> list[DeliveryId]:
    """One delivery is in flight and does not come back; `number` more wait behind it. Those that wait."""
    b.receiver.gate.clear()
    await b.receive(body=body)
    await b.receiver.arrived()
    return [delivery for _ in range(number) for delivery in await b.receive(body=body)]


async def together(b: Bench, batches: int = 1) -> list[list[DeliveryId]]:
    return [[parcel.delivery for parcel in await soon(b.receiver.batches.get())] for _ in range(batches)]


@pytest.mark.requirement("B21")
async def test_what_waits_when_a_slot_is_free_goes_in_one_call_in_order(tmp_path: Path) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 7)
        b.receiver.gate.set()
        assert await together(b) == [waiting]
        assert {one.state for one in await b.watch.told(8)} == {DELIVERED}
        assert [row.attempts for row in await b.rows()] == [1] * 8


async def test_a_call_carries_no_more_than_the_endpoint_takes(tmp_path: Path) -> None:
    async with bench(tmp_path, batching(3)) as b:
        waiting = await queue_up(b, 7)
        b.receiver.gate.set()
        assert await together(b, 2) == [waiting[:3], waiting[3:6]]
        assert [parcel.delivery for parcel in await b.receiver.arrived()] == waiting[6:]
        await b.watch.told(8)


async def test_a_call_carries_no_more_bytes_than_receivers_take(tmp_path: Path) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 5, body=b'"' + b"x" * (BATCH_BYTES // 2 - 10) + b'"')
        b.receiver.gate.set()
        assert await together(b, 2) == [waiting[:2], waiting[2:4]]
        await b.watch.told(6)


@pytest.mark.requirement("B21")
async def test_without_a_batch_each_goes_by_itself(tmp_path: Path) -> None:
    async with bench(tmp_path, batching(1)) as b:
        await queue_up(b, 5)
        b.receiver.gate.set()
        await b.watch.told(6)
        assert (len(b.receiver.came), b.receiver.batches.empty()) == (6, True)


@pytest.mark.requirement("B21")
async def test_a_batch_that_fails_is_tried_again_as_a_whole_and_at_one_time(tmp_path: Path) -> None:
    answers = [503, 503, 200]
    async with bench(tmp_path, batching()) as b:
        b.receiver.answer_together = lambda parcels: Answered(status=answers[parcels[0].attempt - 1])
        waiting = await queue_up(b, 4)
        b.receiver.gate.set()
        (told, *_) = await b.watch.told(5)
        assert told.state is DELIVERED
        assert {(row.state, row.last_reason) for row in await b.rows() if row.id in waiting} == {(PENDING, "http_503")}
        assert len({row.due_at for row in await b.rows() if row.id in waiting}) == 1
        await b.pass_time(lambda: b.receiver.batches.qsize() == 3, 5.0)
        assert await together(b, 3) == [waiting] * 3
        await b.watch.told(8)
        rows = {row.id: row for row in await b.rows()}
        assert {(rows[one].state, rows[one].attempts) for one in waiting} == {(DELIVERED, 3)}


@pytest.mark.requirement("B21")
@pytest.mark.parametrize("refusal", [Answered(status=400), Answered(status=413), Rejected(reason="config_error")])
async def test_of_a_batch_refused_for_good_each_goes_by_itself_and_only_the_bad_one_dies(
    tmp_path: Path, refusal: Sent
) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 4)
        bad = waiting[2]
        b.receiver.answer_together = lambda parcels: refusal
        b.receiver.answer = lambda parcel: refusal if parcel.delivery == bad else Answered(status=200)
        b.receiver.gate.set()
        await b.watch.told(5)
        assert await together(b) == [waiting]
        assert b.receiver.batches.empty()
        assert [parcel.delivery for _, parcel in b.receiver.came][1:] == waiting
        rows = {row.id: row for row in await b.rows()}
        assert {one: (rows[one].state, rows[one].attempts) for one in waiting} == {
            one: (DEAD if one == bad else DELIVERED, 1) for one in waiting
        }


async def test_an_event_that_cannot_be_read_harms_none_that_wait_with_it(tmp_path: Path) -> None:
    def reads(stored: StoredEvent) -> Event:
        if stored.body == b"unreadable":
            raise ValueError
        return normalise(stored)

    async with bench(tmp_path, batching(), normalise=reads) as b:
        waiting = await queue_up(b, 3)
        (bad,) = await b.receive(body=b"unreadable")
        b.receiver.gate.set()
        told = await b.watch.told(5)
        assert {one.delivery for one in told if one.state is DELIVERED} >= set(waiting)
        assert [(one.delivery, one.state, one.reason) for one in told if one.state is not DELIVERED] == [
            (bad, PENDING, "config_error")
        ]


async def test_suspects_share_no_call(tmp_path: Path) -> None:
    async with bench(tmp_path, batching(), start=False) as b:
        suspects = [delivery for _ in range(3) for delivery in await b.receive()]
        for _ in range(2):
            now = b.clock.now()
            assert len(await b.store.claim_due({EndpointId("core"): 10}, now, plus(now, 60))) == 3
            await b.store.void_leases(b.clock.now())
        await b.engine.start()
        assert {one.delivery for one in await b.watch.told(3)} == set(suspects)
        assert b.receiver.batches.empty()


async def test_a_lease_that_was_lost_takes_its_own_result_along_and_no_other(tmp_path: Path) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 3)
        inside = asyncio.Event()

        def answer(parcels: Sequence[Parcel]) -> Sent:
            inside.set()
            return Answered(status=200)

        b.receiver.answer_together = answer
        await b.store.cancel(waiting[1], b.clock.now())
        b.receiver.gate.set()
        await soon(inside.wait())
        assert await soon(b.watch.fences.get()) == waiting[1]
        told = await b.watch.told(3)
        assert {one.delivery for one in told} >= {waiting[0], waiting[2]}
        assert {row.id: row.state for row in await b.rows()}[waiting[1]] is DeliveryState.CANCELLED


async def test_what_was_lost_while_its_batch_was_under_way_does_not_block_those_that_go_on_alone(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, batching()) as b:
        b.receiver.answer_together = lambda parcels: Answered(status=400)
        waiting = await queue_up(b, 3)
        b.receiver.gate.set()
        b.receiver.gate.clear()
        await b.watch.told()
        assert await together(b) == [waiting]
        await b.store.cancel(waiting[0], b.clock.now())
        b.clock.advance(10)
        await b.still()
        b.receiver.gate.set()
        assert {one.delivery for one in await b.watch.told(2)} == set(waiting[1:])
        assert waiting[0] not in {parcel.delivery for _, parcel in b.receiver.came}


async def test_stopping_gives_back_all_that_a_call_carries(tmp_path: Path) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 3)
        b.receiver.gate.set()
        b.receiver.gate.clear()
        await b.watch.told()
        assert await together(b) == [waiting]
        await b.engine.stop(0.0)
        rows = {row.id: row for row in await b.rows()}
        assert {(rows[one].state, rows[one].attempts, rows[one].due_at) for one in waiting} == {
            (PENDING, 0, b.clock.now())
        }


async def test_a_call_past_every_deadline_is_cut_off_and_counts_for_all_that_it_carries(tmp_path: Path) -> None:
    async with bench(tmp_path, batching()) as b:
        waiting = await queue_up(b, 3)
        b.receiver.gate.set()
        b.receiver.gate.clear()
        await b.watch.told()
        assert await together(b) == [waiting]
        for _ in range(4):
            b.clock.advance(10)
            await b.still()
        told = await b.watch.told(3)
        assert {(one.delivery, one.state, one.reason) for one in told} == {
            (one, PENDING, "response_timeout") for one in waiting
        }


@pytest.mark.requirement("B09")
async def test_a_rate_counts_calls_and_not_events(tmp_path: Path) -> None:
    async with bench(tmp_path, batching(3, concurrency=8, rate_per_min=2), start=False) as b:
        all_of_them = [delivery for _ in range(12) for delivery in await b.receive()]
        await b.engine.start()
        for minute in range(2):
            calls = await together(b, 2)
            assert sorted(chain(*calls)) == sorted(all_of_them[minute * 6 : minute * 6 + 6])
            await b.watch.told(6)
            await b.still()
            assert b.receiver.batches.empty()
            b.clock.advance(60)
