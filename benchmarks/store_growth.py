"""Does storing stay as quick when much is stored? No HTTP: 64 requests at a time, each round awaited.

    python benchmarks/store_growth.py [--stored 1000000] [--rounds 400] [--folder DIR]

Prints JSON: for an empty store and one with `--stored` events, measured in turns on the same machine, events/s and the
time of a round (one to three commits) at p50 and p99; then how long claiming 500 due deliveries takes, and the bytes on disk.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from hookseal.clock import Instant, plus
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.model import DeliveryState, EndpointId, SourceId
from hookseal.sealing import Keyring
from hookseal.store.port import AttemptRow, Lease, NewDelivery, NewEvent, NewRequest, Result
from hookseal.store.sqlite import SqliteStore

AT_ONCE = 64
TURNS = 4
SOURCE = SourceId("idenfy-prod")
CORE = EndpointId("core")
HEADERS = ((b"content-type", b"application/json"), (b"idenfy-signature", b"9f86d081884c7d659a2feaa0c55ad015" * 2))


class Feed:
    """Requests as a provider sends them: 1.2 kB of JSON, half of it different each time. Time goes on by itself."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self.now = Instant(1_760_000_000_000_000)

    def request(self, lease: Lease | None) -> NewRequest:
        self.now = Instant(self.now + 20)
        subject = f"scan-{self._random.getrandbits(64):016x}"
        noise = "".join(f"{self._random.getrandbits(64):016x}" for _ in range(24))
        fields = {f"field{number}": "a value that repeats" for number in range(20)}
        body = json.dumps({"scanRef": subject, "noise": noise, **fields}).encode()
        digest = hashlib.sha256(body).digest()
        until = None if lease is None else plus(self.now, 60)
        delivery = NewDelivery(
            id=new_delivery_id(self.now), endpoint=CORE, due_at=self.now, lease=lease, lease_until=until
        )
        event = NewEvent(
            id=new_event_id(self.now),
            item=0,
            type="identity.verification.completed",
            dedupe_key=hashlib.sha256(SOURCE.encode() + digest).digest(),
            content=digest,
            subject=subject,
            order=1 << 62 | self.now,
            deliveries=(delivery,),
        )
        return NewRequest(source=SOURCE, received_at=self.now, headers=HEADERS, body=body, events=(event,))


async def fill(store: SqliteStore, feed: Feed, events: int) -> None:
    """Store and deliver, as a life before would have."""
    for _ in range(0, events, 512):
        requests = [feed.request(Lease(index + 1)) for index in range(512)]
        await asyncio.gather(*(store.accept(request) for request in requests))
        await asyncio.gather(*(store.record(_delivered(request)) for request in requests))


def _delivered(request: NewRequest) -> Result:
    delivery = request.events[0].deliveries[0]
    tried = AttemptRow(number=1, started_at=request.received_at, duration_ms=5, status=200, reason=None)
    assert delivery.lease is not None
    return Result(delivery=delivery.id, lease=delivery.lease, attempt=tried, state=DeliveryState.DELIVERED, due_at=None)


async def measure(store: SqliteStore, feed: Feed, rounds: int) -> list[float]:
    """Seconds of each round."""
    times = []
    for _ in range(rounds):
        requests = [feed.request(None) for _ in range(AT_ONCE)]
        began = time.perf_counter()
        await asyncio.gather(*(store.accept(request) for request in requests))
        times.append(time.perf_counter() - began)
    return times


async def claim(store: SqliteStore, feed: Feed) -> float:
    began = time.perf_counter()
    claimed = await store.claim_due({CORE: 500}, feed.now, plus(feed.now, 60))
    assert len(claimed) == 500
    return time.perf_counter() - began


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--stored", type=int, default=1_000_000)
    arguments.add_argument("--rounds", type=int, default=400)
    arguments.add_argument("--folder", type=Path, default=None)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        stores = {"empty": SqliteStore(Path(folder) / "empty.db", Keyring.generate())}
        stores["grown"] = SqliteStore(Path(folder) / "grown.db", Keyring.generate())
        for store in stores.values():
            await store.open()
        feed = Feed()
        began = time.perf_counter()
        await fill(stores["grown"], feed, given.stored)
        filling = time.perf_counter() - began
        per_event = os.path.getsize(Path(folder) / "grown.db") / max(given.stored, 1)
        times: dict[str, list[float]] = {name: [] for name in stores}
        for _ in range(TURNS):
            for name, store in stores.items():
                times[name] += await measure(store, feed, given.rounds // TURNS)
        claims = {name: [await claim(store, feed) for _ in range(5)] for name, store in stores.items()}
        for store in stores.values():
            await store.close()
        began = time.perf_counter()
        await stores["grown"].open()
        opening = time.perf_counter() - began
        await stores["grown"].close()
        report = {name: _figures(times[name], claims[name]) for name in stores}
        grown = {"stored": given.stored, "fill_and_deliver_per_s": round(given.stored / filling)}
        print(
            json.dumps(
                {**report, **grown, "bytes_per_event": round(per_event), "open_ms": round(opening * 1000)}, indent=2
            )
        )


def _figures(times: list[float], claims: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {
        "events_per_s": round(AT_ONCE * len(times) / sum(times)),
        "commit_p50_ms": round(cuts[49] * 1000, 2),
        "commit_p99_ms": round(cuts[98] * 1000, 2),
        "claim_500_ms": round(statistics.median(claims) * 1000, 2),
    }


if __name__ == "__main__":
    asyncio.run(main())
