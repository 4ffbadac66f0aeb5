"""What every store promises about states of one subject that arrive in any order, as tests over a factory.

The oracle is the rule itself: an event is superseded when one with a greater order was stored before, and the state in
force is the event with the greatest order, of equal ones the one with the highest sequence.
"""

import asyncio
import itertools
import random
from dataclasses import replace

import pytest
from retention_contract import all_before, bodies_before, deliver, sweep
from store_contract import NOW, OTHER_SOURCE, SOURCE, Stores, accept, new_delivery, new_event, new_refusal, new_request

from hookseal.clock import plus
from hookseal.errors import NotFound
from hookseal.model import SourceId
from hookseal.store.port import EventFilter, NewEvent, Store

STATES = (1 << 56, 2 << 56 | 5, (1 << 62) + 1, 2**63 - 1)


def state(number: int, order: int | None, subject: str = "s", **given: object) -> NewEvent:
    return new_event(number, subject=subject, order=order, **given)


async def told(store: Store, subject: str, source: SourceId = SOURCE) -> tuple[int, int, int]:
    """Sequence of the event in force, events, superseded ones."""
    found = await store.in_force(source, subject)
    return found.event.row.sequence, found.events, found.superseded


class OrderContract:
    @pytest.fixture
    async def store(self, stores: Stores) -> Store:
        return await stores.open()

    async def test_a_late_earlier_state_is_superseded_and_stays_so(self, store: Store, stores: Stores) -> None:
        [first] = await accept(store, state(0, 5))
        [late] = await accept(store, state(1, 3))
        [equal] = await accept(store, state(2, 5))
        [later] = await accept(store, state(3, 6))
        assert [one.superseded for one in (first, late, equal, later)] == [False, True, False, False]
        rows = [(await store.event(one.event)).row for one in (first, late, equal, later)]
        assert [row.superseded for row in rows] == [False, True, False, False]
        page = await store.events(EventFilter(subject="s"), 10, None)
        assert [one.row.superseded for one in page.rows] == [False, False, True, False]
        await stores.close(store)
        again = await stores.open()
        [late_again] = await accept(again, state(4, 5))
        assert late_again.superseded
        assert await told(again, "s") == (later.sequence, 5, 2)

    async def test_in_every_order_of_arrival_the_same_state_is_in_force(self, store: Store) -> None:
        number = itertools.count()
        for turn, states in enumerate(3 * list(itertools.permutations(STATES))):
            subject = f"s{turn}"
            events = [state(next(number), order, subject) for order in states]
            if turn < 24:  # as items of one request
                stored = list(
                    await store.accept(new_request(*(replace(one, item=at) for at, one in enumerate(events))))
                )
            elif turn < 48:  # one after the other
                stored = [(await accept(store, one))[0] for one in events]
            else:  # what waits at the same moment is written together
                stored = [one for [one] in await asyncio.gather(*(accept(store, one) for one in events))]
            by_sequence = sorted(zip(stored, states, strict=True), key=lambda pair: pair[0].sequence)
            greatest = -1
            for one, order in by_sequence:
                assert one.superseded == (order < greatest)
                greatest = max(greatest, order)
            found = await store.in_force(SOURCE, subject)
            assert found.event.row.id == next(one.event for one, order in by_sequence if order == max(STATES))
            assert found.superseded == sum(one.superseded for one in stored)

    async def test_states_at_once_end_in_the_last_one(self, store: Store) -> None:
        chance = random.Random(3)
        orders = [chance.randrange(1000) for _ in range(400)]
        requests = (accept(store, state(number, order, f"s{number % 5}")) for number, order in enumerate(orders))
        stored = [one for [one] in await asyncio.gather(*requests)]
        for subject in range(5):
            mine = sorted(
                (one.sequence, one.superseded, order)
                for one, order in list(zip(stored, orders, strict=True))[subject::5]
            )
            greatest = -1
            for _, superseded, order in mine:
                assert superseded == (order < greatest)
                greatest = max(greatest, order)
            in_force = max((order, sequence) for sequence, _, order in mine)[1]
            assert await told(store, f"s{subject}") == (in_force, 80, sum(superseded for _, superseded, _ in mine))

    async def test_subjects_and_sources_do_not_touch_one_another(self, store: Store) -> None:
        await accept(store, state(0, 9, "a"))
        [other_subject] = await accept(store, state(1, 1, "b"))
        [other_source] = await accept(store, state(2, 1, "a"), source=OTHER_SOURCE)
        [late_there] = await accept(store, state(3, 0, "a"), source=OTHER_SOURCE)
        [late_here] = await accept(store, state(4, 1, "a"))
        assert [one.superseded for one in (other_subject, other_source, late_there, late_here)] == [
            False,
            False,
            True,
            True,
        ]
        assert await told(store, "a") == (1, 2, 1)
        assert await told(store, "a", OTHER_SOURCE) == (other_source.sequence, 2, 1)

    async def test_a_duplicate_raises_nothing(self, store: Store) -> None:
        await accept(store, state(0, 1))
        [again] = await accept(store, replace(state(0, 9), id=state(50, 9).id))
        [next_state] = await accept(store, state(1, 5))
        assert (again.duplicate, again.superseded, next_state.superseded) == (True, False, False)
        assert await told(store, "s") == (next_state.sequence, 2, 0)

    async def test_what_has_no_order_is_neither_superseded_nor_before_what_has_one(self, store: Store) -> None:
        await accept(store, state(0, None))
        [newest] = await accept(store, state(1, None))
        assert await told(store, "s") == (newest.sequence, 2, 0)
        [ordered] = await accept(store, state(2, 7))
        [unordered] = await accept(store, state(3, None))
        [late] = await accept(store, state(4, 6))
        assert (ordered.superseded, unordered.superseded, late.superseded) == (False, False, True)
        assert await told(store, "s") == (ordered.sequence, 5, 1)

    async def test_an_order_without_a_subject_supersedes_nothing(self, store: Store) -> None:
        await accept(store, new_event(0, subject=None, order=9))
        [second] = await accept(store, new_event(1, subject=None, order=1))
        assert not second.superseded

    async def test_subjects_of_any_text_are_told_apart(self, store: Store) -> None:
        subjects = ["a/b", "ünï", "\ud800", "s" * 512, "a\x10b", "a\0b"]
        for number, subject in enumerate(subjects):
            await accept(store, state(2 * number, 5, subject))
        late = [await accept(store, state(2 * number + 1, 4, subject)) for number, subject in enumerate(subjects)]
        assert all(one.superseded for [one] in late)
        for number, subject in enumerate(subjects):
            assert await told(store, subject) == (number + 1, 2, 1)

    async def test_a_subject_without_events_is_not_found(self, store: Store) -> None:
        await accept(store, state(0, 1))
        with pytest.raises(NotFound):
            await store.in_force(SOURCE, "t")
        with pytest.raises(NotFound):
            await store.in_force(OTHER_SOURCE, "s")

    async def test_a_claimed_delivery_carries_whether_its_event_was_late(self, store: Store) -> None:
        await accept(store, state(0, 5))
        await accept(store, state(1, 3, deliveries=(new_delivery(),)))
        [claimed] = await store.claim_due({new_delivery().endpoint: 5}, NOW, plus(NOW, 60))
        assert claimed.event.row.superseded

    async def test_what_retention_removed_is_no_state_any_more(self, store: Store) -> None:
        await accept(store, state(0, 9, "gone", deliveries=(new_delivery(),)))
        await accept(store, state(1, 9, "kept", deliveries=(new_delivery(),)))
        later = plus(NOW, 100)
        await deliver(store)
        await accept(store, state(2, 4, "kept"), received_at=later)
        await sweep(store, bodies_before(plus(NOW, 50)))
        await sweep(store, all_before(plus(NOW, 50)))
        with pytest.raises(NotFound):
            await store.in_force(SOURCE, "gone")
        [anew] = await accept(store, state(3, 1, "gone"), received_at=later)
        [still_late] = await accept(store, state(4, 5, "kept"), received_at=later)
        assert (anew.superseded, still_late.superseded) == (False, True)

    async def test_a_held_request_never_gives_way(self, stores: Stores) -> None:
        store = await stores.open(quarantine_rows=4)
        held = new_refusal(held=True, reason="timestamp_stale")
        await store.quarantine(held)
        for _ in range(40):
            await store.quarantine(new_refusal())
        assert await store.refusal(held.id) == held
        left = (await store.refusals(None, 100, None)).rows
        assert len(left) <= 5
        assert [one.held for one in left].count(True) == 1

    async def test_a_held_request_leaves_with_retention(self, store: Store) -> None:
        old = [new_refusal(held=True), new_refusal(), new_refusal(held=True)]
        young = new_refusal(held=True, received_at=plus(NOW, 100))
        for one in (*old, young):
            await store.quarantine(one)
        gone = await sweep(store, replace(all_before(NOW), refusals=plus(NOW, 50)), limit=2)
        assert gone["refusals"] == 3
        assert [one.id for one in (await store.refusals(None, 10, None)).rows] == [young.id]
