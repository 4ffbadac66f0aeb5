"""Leases: renewed while they are needed, fenced when they are lost, given back when we stop.

Oracles: the rows of the store, what arrived, and what the observer was told. One delivery is never under way twice in
one process, and a result under a lost lease changes nothing.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from delivery_parts import (
    SOURCE,
    TYPE,
    Bench,
    CountingStore,
    Watch,
    bench,
    endpoint,
    later,
    make_engine,
    soon,
    stored_event,
)

from hookseal.clock import plus
from hookseal.destinations.port import Answered, Parcel, Sent
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.probe import Step, listen
from hookseal.steps import Steps
from hookseal.store.port import AttemptRow, Result, StoredEvent

PENDING, DELIVERED, DEAD, CANCELLED, _ = DeliveryState
CORE = EndpointId("core")


async def beat(b: Bench, delivery: DeliveryId) -> None:
    """Ten seconds pass, and the lease of what is held ends 60 s from then."""
    b.clock.advance(10)
    await b.still()
    assert (await b.row(delivery)).due_at == later(b.clock, 60)


async def held_up(b: Bench) -> DeliveryId:
    """A delivery that is being sent and stays so."""
    b.receiver.gate.clear()
    (delivery,) = await b.receive()
    await b.receiver.arrived()
    return delivery


# --- renewing -------------------------------------------------------------------------------------------------------


async def test_a_lease_of_60_seconds_is_renewed_every_10_while_a_try_lasts(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        delivery = await held_up(b)
        assert (await b.row(delivery)).due_at == later(b.clock, 60)
        for _ in range(3):
            await beat(b, delivery)
        b.receiver.gate.set()
        assert (await b.watch.told())[0].state is DELIVERED
        assert (await b.row(delivery)).losses == 0


async def test_what_waits_for_a_slot_keeps_its_lease(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=1)) as b:
        await held_up(b)
        (waiting,) = await b.receive()
        for _ in range(3):
            await beat(b, waiting)
        b.receiver.gate.set()
        assert [one.state for one in await b.watch.told(2)] == [DELIVERED] * 2
        assert b.store.claimed == 0


async def test_a_try_past_every_deadline_is_cut_off_while_its_lease_holds(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        delivery = await held_up(b)
        for seconds in (10, 20, 30):
            await beat(b, delivery)
            assert b.receiver.inside == 1, seconds
        b.clock.advance(10)
        (told,) = await b.watch.told()
        assert (told.delivery, told.state, told.reason) == (delivery, PENDING, "response_timeout")
        assert b.receiver.inside == 0


async def test_time_that_a_large_request_is_prepared_is_no_part_of_the_call(tmp_path: Path) -> None:
    """Large requests are prepared one at a time. Before, what waited for its turn for 40 s was recorded as a timeout."""
    prepared = asyncio.Event()

    def read_ahead(_: StoredEvent) -> Steps[None]:
        while not prepared.is_set():
            yield

    async with bench(tmp_path, read_ahead=read_ahead) as b:
        deliveries = [delivery for _ in range(3) for delivery in await b.receive(body=bytes(64 * 1024))]
        for _ in range(5):
            await beat(b, deliveries[2])
        assert b.receiver.came == []
        prepared.set()
        assert sorted((one.delivery, one.state) for one in await b.watch.told(3)) == [
            (delivery, DELIVERED) for delivery in sorted(deliveries)
        ]
        for delivery in deliveries:
            [attempt] = (await b.store.delivery(delivery))[1]
            assert (attempt.started_at, attempt.duration_ms) == (b.clock.now(), 0)


async def test_a_large_request_whose_lease_ended_while_it_was_prepared_is_not_sent_here(tmp_path: Path) -> None:
    prepared = asyncio.Event()

    def read_ahead(_: StoredEvent) -> Steps[None]:
        while not prepared.is_set():
            yield

    async with bench(tmp_path, read_ahead=read_ahead) as b:
        (delivery,) = await b.receive(body=bytes(64 * 1024))
        await b.still()
        await b.store.cancel(delivery, b.clock.now())
        b.clock.advance(10)
        await b.still()
        prepared.set()
        await b.still()
        assert b.receiver.came == []


async def test_a_delivery_whose_lease_was_lost_while_it_waited_is_not_sent_here(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=1)) as b:
        first = await held_up(b)
        (waiting,) = await b.receive()
        await b.store.cancel(waiting, b.clock.now())
        await beat(b, first)
        b.receiver.gate.set()
        await b.watch.told()
        assert [parcel.delivery for _, parcel in b.receiver.came] == [first]


# --- fencing --------------------------------------------------------------------------------------------------------


async def test_a_result_under_a_lease_that_another_took_changes_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        delivery = await held_up(b)
        after = later(b.clock, 61)
        (other,) = await b.store.claim_due({CORE: 1}, after, plus(after, 60))
        assert other.id == delivery
        b.receiver.gate.set()
        assert await soon(b.watch.fences.get()) == delivery
        row, attempts = await b.store.delivery(delivery)
        assert (row.state, list(attempts)) == (PENDING, [])
        theirs = Result(
            delivery=delivery,
            lease=other.lease,
            attempt=AttemptRow(number=1, started_at=after, duration_ms=3, status=200, reason=None),
            state=DELIVERED,
            due_at=None,
        )
        assert await b.store.record(theirs)
        assert (await b.row(delivery)).attempts == 1


async def test_a_delivery_that_is_claimed_again_while_it_is_under_way_here_is_not_sent_beside_itself(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path) as b:
        delivery = await held_up(b)
        await b.store.release({delivery: await _lease_of(b, delivery)}, b.clock.now())
        b.engine.wake()
        await b.still()
        assert b.store.claimed == 1
        b.receiver.gate.set()
        (told,) = await b.watch.told()
        assert (told.delivery, told.state) == (delivery, DELIVERED)
        assert (len(b.receiver.came), b.watch.fences.empty()) == (1, True)


async def _lease_of(b: Bench, delivery: DeliveryId) -> int:
    """The engine's own: a lease is no secret within the process, and the port shows it to nobody else."""
    return b.engine._held[delivery].lease


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_stopping_lets_a_try_finish_and_gives_back_what_waits(tmp_path: Path) -> None:
    drained: list[Step] = []
    leave = listen(drained.append)
    async with bench(tmp_path, endpoint(concurrency=1)) as b:
        sending = await held_up(b)
        (waiting,) = await b.receive()
        stopping = asyncio.create_task(b.engine.stop(10.0))
        await b.still()
        assert (await b.row(waiting)).due_at == b.clock.now()
        assert not stopping.done()
        b.receiver.gate.set()
        await soon(stopping)
        assert drained[-1] is Step.DRAINED
        assert (await b.row(sending)).state is DELIVERED
        row = await b.row(waiting)
        assert (row.state, row.attempts, row.losses) == (PENDING, 0, 0)
        assert len(b.receiver.came) == 1
    leave()


async def test_a_try_that_outlasts_the_grace_is_cut_off_and_not_counted(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        delivery = await held_up(b)
        stopping = asyncio.create_task(b.engine.stop(10.0))
        await b.pass_time(stopping.done, 1.0)
        row = await b.row(delivery)
        assert (row.state, row.attempts, row.losses) == (PENDING, 0, 0)
        assert row.due_at is not None
        assert row.due_at <= b.clock.now()
        assert b.watch.attempts.empty()
        assert b.receiver.inside == 0


async def test_a_stopped_engine_leases_nothing_that_is_born(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        await b.engine.stop(0.0)
        (planned,) = b.plan()
        assert (planned.lease, planned.due_at) == (None, b.clock.now())


# --- after a crash --------------------------------------------------------------------------------------------------


async def test_what_a_dead_process_held_is_delivered_by_the_next(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        dead = make_engine(b.store, b.clock, Watch(), [endpoint()], b.receivers)
        dead._running = True  # it leases what is born, and then never lives to send it
        for lane in dead._lanes.values():
            lane.more = False
        b.engine, live = dead, b.engine
        new = b.request()
        await b.store.accept(new)
        b.engine = live
        assert await b.store.void_leases(b.clock.now()) == 1
        await b.engine.start()
        (told,) = await b.watch.told()
        row = await b.row(told.delivery)
        assert (row.state, row.attempts, row.losses) == (DELIVERED, 1, 1)


async def test_suspects_are_sent_one_at_a_time_and_all_arrive(tmp_path: Path) -> None:
    inside: list[int] = []
    async with bench(tmp_path, start=False) as b:

        def answer(parcel: Parcel) -> Sent:
            inside.append(b.receiver.inside)
            return Answered(status=200)

        b.receiver.answer = answer
        for _ in range(8):
            await b.receive()
        for _ in range(2):
            assert len(await b.store.claim_due({CORE: 10}, b.clock.now(), later(b.clock, 60))) == 8
            await b.store.void_leases(b.clock.now())
        await b.engine.start()
        told = await b.watch.told(8)
        assert {one.state for one in told} == {DELIVERED}
        assert inside == [1] * 8
        assert b.receiver.most_inside == 1


async def test_a_recorded_try_clears_a_delivery_of_an_earlier_loss(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        b.receiver.answer = lambda parcel: Answered(status=500)
        (delivery,) = await b.receive()
        for _ in range(2):
            await b.store.claim_due({CORE: 10}, b.clock.now(), later(b.clock, 60))
            await b.store.void_leases(b.clock.now())
        await b.engine.start()
        assert len(await b.run_dry(delivery)) == 10
        assert (await b.row(delivery)).last_reason == "http_500"


async def test_a_delivery_that_was_claimed_before_it_was_handed_over_is_sent_once(tmp_path: Path) -> None:
    """The process stands still between the commit and the hand-over for longer than the lease lasts."""
    async with bench(tmp_path) as b:
        new = b.request()
        [event], [stored] = new.events, await b.store.accept(new)
        b.receiver.gate.clear()
        await b.pass_time(lambda: b.receiver.inside == 1, 10)
        b.engine.stored(stored_event(new, event, stored.sequence), event.deliveries)
        await b.still()
        b.receiver.gate.set()
        await b.watch.told()
        await b.still()
        assert [parcel.delivery for _, parcel in b.receiver.came] == [event.deliveries[0].id]
        # No place stays taken. The queue is careful after a loss, so that it has 16 places.
        planned = b.engine.plan(SOURCE, [TYPE] * 17)
        assert [one.lease is not None for (one,) in planned] == [True] * 16 + [False]


class CrossingStore(CountingStore):
    """A renewal arrives after a release that began later, and is answered before it: as over two connections."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.renewing, self.renewed = asyncio.Event(), asyncio.Event()
        self.released = asyncio.Event()

    async def renew(self, *arguments: Any) -> Sequence[DeliveryId]:
        self.renewing.set()
        await self.released.wait()
        kept = await super().renew(*arguments)
        self.renewed.set()
        return kept

    async def release(self, *arguments: Any) -> None:
        await super().release(*arguments)
        self.released.set()
        await self.renewed.wait()
        await asyncio.sleep(0)


async def test_a_renewal_that_crosses_a_release_ends_well(tmp_path: Path) -> None:
    async with bench(tmp_path, endpoint(concurrency=1), store_type=CrossingStore) as b:
        first = await held_up(b)
        (waiting,) = await b.receive()
        b.clock.advance(10)
        await soon(b.store.renewing.wait())
        await b.engine.reconfigure([], {})
        await b.still()
        assert b.watch.broken.empty()
        row = await b.row(waiting)
        assert (row.due_at, row.losses) == (b.clock.now(), 0)
        b.receiver.gate.set()
        assert [one.delivery for one in await b.watch.told()] == [first]
