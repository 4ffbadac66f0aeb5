"""A batch of many events in one request, over sockets, on both stores: the work for it grows with its events only.

Oracles: the bodies that the endpoint received, and how often a whole body was split or decrypted (steps of `probe`).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from gateways import running
from stores import STORES, store_settings
from test_original_batches import BATCH, HANG_S, SIGNING, Sink, alarm, delivered, post, settings_of, sink

from hookseal import probe
from hookseal.model import EndpointId
from hookseal.probe import Step
from hookseal.settings import EndpointSettings, Settings, StoreSettings

EVENTS = 1500


@contextmanager
def counted() -> Iterator[Counter[Step]]:
    reached: Counter[Step] = Counter()
    leave = probe.listen(lambda step: reached.update([step]))
    try:
        yield reached
    finally:
        leave()


def events(count: int = EVENTS) -> list[dict[str, object]]:
    return [{**alarm(f"alarm-{number}"), "data": {"n": number, "text": "x" * 200}} for number in range(count)]


async def subjects(receiver: Sink, count: int) -> set[str]:
    return {json.loads(await receiver.next("/each"))["subject"] for _ in range(count)}


def one_endpoint(store: StoreSettings, receiver: Sink) -> Settings:
    made = settings_of(store, receiver)
    each = EndpointSettings(id=EndpointId("raw"), url=f"{receiver.url}/each", signing=SIGNING, concurrency=64)
    return replace(made, endpoints=(each,))


@pytest.mark.parametrize("kind", STORES)
async def test_a_large_batch_is_split_once_and_hardly_ever_decrypted(kind: str, tmp_path: Path) -> None:
    async with (
        sink() as receiver,
        store_settings(kind, tmp_path) as store,
        running(one_endpoint(store, receiver)) as started,
    ):
        with counted() as reached:
            await post(started, events(), BATCH)
            got = await subjects(receiver, EVENTS)
        assert got == {f"alarm-{number}" for number in range(EVENTS)}
        # Once when it was received, and once more at most where none of its events was in memory at a claim.
        assert reached[Step.BATCH_SPLIT] <= 2
        assert reached[Step.UNSEALED] <= 1
        await delivered(started)
        with counted() as reached:
            rows = await started.events("alarms")
        assert len(rows) == 1000, "a page ended early for bytes that its events share"
        assert {row["data"]["payload"]["data"]["text"] for row in rows} == {"x" * 200}
        assert max(reached[Step.BATCH_SPLIT], reached[Step.UNSEALED]) == 1


@pytest.mark.parametrize("kind", STORES)
async def test_a_pending_batch_is_delivered_by_the_next_process(kind: str, tmp_path: Path) -> None:
    async with sink() as receiver, store_settings(kind, tmp_path) as store:
        settings = one_endpoint(store, receiver)
        receiver.gate.clear()
        async with running(replace(settings, server=replace(settings.server, drain_s=0))) as started:
            await post(started, events(), BATCH)
        receiver.gate.set()
        receiver.arrivals["/each"] = asyncio.Queue()
        with counted() as reached:
            async with running(settings) as started:
                got: set[str] = set()
                async with asyncio.timeout(HANG_S):
                    while len(got) < EVENTS:
                        got |= await subjects(receiver, 1)
                await delivered(started)
        assert got == {f"alarm-{number}" for number in range(EVENTS)}
        assert reached[Step.UNSEALED] <= 2
        assert reached[Step.BATCH_SPLIT] <= 2


async def test_only_the_event_that_names_a_key_twice_is_flagged(tmp_path: Path) -> None:
    """The flag is read from the event's own text, not from all of the request."""
    async with (
        sink() as receiver,
        store_settings("sqlite", tmp_path) as store,
        running(settings_of(store, receiver)) as started,
    ):
        head = '{"specversion": "1.0", "type": "t", "source": "/s", "id": "%s", "data": %s}'
        body = "[{}, {}]".format(head % ("one", '{"a": 1, "a": 2}'), head % ("two", '{"a": 1.50}'))
        answer = await started.post("/in/alarms", body.encode(), [("Content-Type", BATCH)])
        assert answer.status == 202
        flags = {row["providerid"]: row["data"]["flags"] for row in await started.events("alarms")}
        assert flags == {"one": ["duplicate_keys"], "two": []}
        sent = {json.loads(text)["providerid"]: text for text in [await receiver.next("/each") for _ in range(2)]}
        # The text of an event is passed on as it was sent.
        assert b'"data":{"a":1.50}' in sent["two"]
