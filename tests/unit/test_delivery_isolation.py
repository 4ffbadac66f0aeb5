"""Crash suspects: deliveries that were leased when their process ended, more than once.

A crash is played by ending all leases, as the next start of an embedded store does. Oracles: the rows of the store, what
arrived and when, and the leases that a crash would have ended.
"""

from pathlib import Path

from delivery_parts import SOURCE, Bench, bench, endpoint, later, soon

from hookseal.clock import seconds_between
from hookseal.delivery.isolation import ISOLATED_LOSSES_MAX
from hookseal.delivery.policy import POLICIES
from hookseal.delivery.schedule import wait_after_loss
from hookseal.destinations.port import Answered
from hookseal.model import DeliveryId, DeliveryState, EndpointId

PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD
CORE, OTHER = EndpointId("core"), EndpointId("other")
STANDARD_WAITS_S = [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, 86400]


async def crash(b: Bench) -> int:
    return await b.store.void_leases(b.clock.now())


async def lose_twice(b: Bench, count: int = 1) -> list[DeliveryId]:
    """Deliveries of `core` that two processes had leased when they ended."""
    deliveries = [delivery for _ in range(count) for delivery in await b.receive()]
    for _ in range(2):
        assert len(await b.store.claim_due({CORE: count, OTHER: count}, b.clock.now(), later(b.clock, 60))) >= count
        await crash(b)
    return deliveries


async def lose_isolated(b: Bench, suspect: DeliveryId, times: int) -> None:
    """Lose it in isolated attempts that it waits for as `standard` waits."""
    for wait_s in STANDARD_WAITS_S[:times]:
        lost_at = later(b.clock, wait_s)
        assert await b.store.claim_suspect(suspect, b.clock.now(), later(b.clock, 60), lost_at) is not None
        assert await crash(b) == 1
        assert (await b.row(suspect)).due_at == lost_at
        b.clock.advance(wait_s)


async def test_a_suspect_is_dead_after_ten_isolated_losses_and_no_attempt_is_invented(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        (poison,) = await lose_twice(b)
        await lose_isolated(b, poison, ISOLATED_LOSSES_MAX)
        neighbours = {delivery for _ in range(20) for delivery in await b.receive()}
        await b.engine.start()
        told = await b.watch.told(20)
        assert {one.delivery for one in told if one.state is DELIVERED} == neighbours
        ended = await soon(b.watch.endings.get())
        assert (ended.delivery, ended.state, ended.reason) == (poison, DEAD, "worker_lost")
        row, attempts = await b.store.delivery(poison)
        assert (row.state, row.last_reason, row.attempts, attempts) == (DEAD, "worker_lost", 0, [])
        assert row.losses == 2 + ISOLATED_LOSSES_MAX
        assert poison not in {parcel.delivery for _, parcel in b.receiver.came}


async def test_a_suspect_lost_nine_times_in_isolation_is_attempted_once_more(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        (suspect,) = await lose_twice(b)
        await lose_isolated(b, suspect, ISOLATED_LOSSES_MAX - 1)
        await b.engine.start()
        (told,) = await b.watch.told()
        assert (told.delivery, told.state) == (suspect, DELIVERED)


async def test_losses_outside_of_isolation_never_make_a_delivery_dead(tmp_path: Path) -> None:
    """Before, the third loss did, whatever else was in flight."""
    async with bench(tmp_path, start=False) as b:
        (delivery,) = await lose_twice(b)
        for _ in range(50):
            assert await b.store.claim_suspect(delivery, b.clock.now(), later(b.clock, 60), later(b.clock, 0))
            row = await b.row(delivery)
            assert row.due_at is not None
            # Released before it was sent: as when the engine stops.
            lease = await _lease_of(b, delivery)
            await b.store.release({delivery: lease}, b.clock.now())
            assert await crash(b) == 0
        await b.engine.start()
        assert (await b.watch.told())[0].state is DELIVERED


async def _lease_of(b: Bench, delivery: DeliveryId) -> int:
    [(lease,)] = await b.store._looking.read(
        lambda connection: connection.execute("SELECT lease FROM deliveries WHERE lease IS NOT NULL").fetchall()
    )
    return int(lease)


async def test_a_suspect_waits_for_calls_under_way_and_is_alone_in_the_process(tmp_path: Path) -> None:
    """A crash during the attempt ends one lease: what was queued is released, and what arrives is not leased."""
    ends = [endpoint(types=("a",)), endpoint("other", types=("a", "b"))]
    async with bench(tmp_path, *ends, start=False) as b:
        core, other = b.receivers[CORE], b.receivers[OTHER]
        first, _ = await b.receive(["a"])
        for _ in range(2):
            assert len(await b.store.claim_due({CORE: 1}, b.clock.now(), later(b.clock, 60))) == 1
            await crash(b)
        await lose_isolated(b, first, 1)
        b.clock.advance(-1)
        other.gate.clear()
        core.gate.clear()
        await b.engine.start()
        await other.arrived()
        b.clock.advance(1)
        await b.still()
        assert b.engine.plan(SOURCE, ["b"])[0][0].lease is None, "leased though a suspect waits for its attempt"
        assert core.inside == 0, "the suspect did not wait for the other endpoint's call"
        other.gate.set()
        (suspect,) = await core.arrived()
        assert suspect.delivery == first
        new = await b.receive(["b"])
        b.engine.wake()
        await b.still()
        assert (core.inside, other.inside) == (1, 0)
        assert {(await b.row(one)).state for one in new} == {PENDING}
        assert await b.store.void_leases(b.clock.now()) == 1
        assert (await b.row(suspect.delivery)).losses == 4
        core.gate.set()


async def test_deliveries_that_waited_for_an_isolated_attempt_are_sent_after_it(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        (suspect,) = await lose_twice(b)
        b.receiver.gate.clear()
        await b.engine.start()
        assert [one.delivery for one in await b.receiver.arrived()] == [suspect]
        neighbours = {delivery for _ in range(30) for delivery in await b.receive()}
        b.receiver.gate.set()
        told = await b.watch.told(31)
        assert {one.delivery for one in told} == neighbours | {suspect}
        assert {one.state for one in told} == {DELIVERED}


async def test_a_recorded_failure_ends_the_suspicion(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        (suspect,) = await lose_twice(b)
        await lose_isolated(b, suspect, 5)
        b.receiver.answer = lambda parcel: Answered(status=500)
        await b.engine.start()
        await b.watch.told()
        assert await b.store.next_suspect_at([CORE]) is None
        row = await b.row(suspect)
        assert (row.state, row.attempts, row.losses) == (PENDING, 1, 7)


async def test_suspects_of_an_endpoint_that_hangs_take_a_fifth_of_the_time(tmp_path: Path) -> None:
    async with bench(tmp_path, start=False) as b:
        first, second = await lose_twice(b, 2)
        b.receiver.gate.clear()
        await b.engine.start()
        await b.receiver.arrived()
        b.clock.advance(8)
        b.receiver.gate.set()
        await b.watch.told()
        ended_at = b.clock.now()
        await b.pass_time(lambda: len(b.receiver.came) == 2, 1.0)
        assert {parcel.delivery for _, parcel in b.receiver.came} == {first, second}
        assert seconds_between(ended_at, b.receiver.came[1][0]) == 32


async def test_after_a_crash_no_more_is_leased_than_can_be_sent(tmp_path: Path) -> None:
    """So that few are leased when the next crash comes, if one of them is the cause."""
    async with bench(tmp_path, endpoint(concurrency=4), start=False) as b:
        for _ in range(100):
            await b.receive()
        assert len(await b.store.claim_due({CORE: 100}, b.clock.now(), later(b.clock, 60))) == 100
        await crash(b)
        b.receiver.gate.clear()
        await b.engine.start()
        await b.receiver.arrived()
        await b.still()
        assert await crash(b) <= 4
        b.receiver.gate.set()


def test_a_suspect_waits_as_its_policy_waits_after_a_failure() -> None:
    standard = [wait_after_loss(POLICIES["standard"], losses) for losses in range(1, 11)]
    assert standard == STANDARD_WAITS_S
    assert [wait_after_loss(POLICIES["zignsec_3_tries"], losses) for losses in range(1, 5)] == [60, 600, 600, 600]
    # Offsets from the first attempt: the gaps between them.
    assert [wait_after_loss(POLICIES["zignsec_20_in_48h"], losses) for losses in range(1, 4)] == [60, 88, 127]
