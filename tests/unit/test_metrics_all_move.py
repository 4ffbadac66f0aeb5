"""Every metric of the registry is moved by a test of this module; one that nothing moves fails.

The metrics are moved through the parts that feed them where that is cheap (the store feeds the seconds of its commits),
else through the observer's interface of `Metrics`.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hookseal.api.metrics import Metrics
from hookseal.clock import GivenClock, parse_rfc3339
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.sealing import Keyring
from hookseal.store.port import Counts
from hookseal.store.sqlite import SqliteStore

START = parse_rfc3339("2026-11-21T08:00:00Z")
CORE, DELIVERY = EndpointId("core"), DeliveryId("msg_" + "0" * 32)
COUNTS = Counts(pending={CORE: 2}, dead={CORE: 3}, quarantined=4)

Move = Callable[[Metrics, Path], Awaitable[None]]
MOVES: dict[str, Move] = {}


def moves(*names: str) -> Callable[[Move], Move]:
    def note(move: Move) -> Move:
        MOVES.update(dict.fromkeys(names, move))
        return move

    return note


@moves("hookseal_commit_seconds")
async def commit(metrics: Metrics, folder: Path) -> None:
    """It existed, and nothing fed it."""

    class Observer:
        committed = staticmethod(metrics.committed)

        def part_ended(self, part: str) -> None: ...

    store = SqliteStore(folder / "hookseal.db", Keyring.generate(), observer=Observer())
    await store.open()
    await store.probe()
    await store.close()


@moves("hookseal_received")
async def receive(metrics: Metrics, folder: Path) -> None:
    metrics.answered("idenfy", 200)


@moves("hookseal_refused")
async def refuse(metrics: Metrics, folder: Path) -> None:
    metrics.refused("idenfy", "signature_mismatch")


@moves("hookseal_stored_events", "hookseal_duplicate_events", "hookseal_conflicting_events")
async def store(metrics: Metrics, folder: Path) -> None:
    metrics.stored("idenfy", 1, 2, 3)


@moves("hookseal_delivery_attempts", "hookseal_delivery_attempt_seconds")
async def attempt(metrics: Metrics, folder: Path) -> None:
    metrics.attempted(CORE, DELIVERY, DeliveryState.DELIVERED, None, 0.1)


@moves("hookseal_delivery_results_fenced")
async def fence(metrics: Metrics, folder: Path) -> None:
    metrics.fenced(CORE, DELIVERY)


@moves("hookseal_delivery_results_unrecorded")
async def leave_unrecorded(metrics: Metrics, folder: Path) -> None:
    metrics.unrecorded(CORE, DELIVERY)


@moves("hookseal_faults")
async def fail(metrics: Metrics, folder: Path) -> None:
    metrics.broke(None, "claim", "StoreUnavailable")


@moves("hookseal_key_set_fetches")
async def fetch(metrics: Metrics, folder: Path) -> None:
    metrics.key_set_fetched("idenfy", True)


@moves("hookseal_in_flight_requests")
async def receive_one(metrics: Metrics, folder: Path) -> None:
    metrics.in_flight(lambda: 1)


@moves("hookseal_deliveries_ended_unattempted")
async def end_unattempted(metrics: Metrics, folder: Path) -> None:
    metrics.ended(CORE, DELIVERY, DeliveryState.DEAD, "config_error")


@moves("hookseal_delivery_isolated_attempts")
async def isolate(metrics: Metrics, folder: Path) -> None:
    metrics.isolated(CORE, DELIVERY)


@moves("hookseal_deliveries_uncalled_oldest_seconds")
async def wait_uncalled(metrics: Metrics, folder: Path) -> None:
    metrics.waiting_uncalled({CORE: 5.0})


@moves("hookseal_clock_doubted", "hookseal_clock_difference_seconds", "hookseal_retention_behind_seconds")
async def doubt_the_clock(metrics: Metrics, folder: Path) -> None:
    metrics.clock(lambda: 1.0, {"endpoint": lambda: 2.0}, lambda: 3.0)


@moves(
    "hookseal_deliveries_pending", "hookseal_deliveries_dead", "hookseal_quarantined_requests", "hookseal_store_counted"
)
async def count(metrics: Metrics, folder: Path) -> None:
    async def counts() -> Counts:
        return COUNTS

    await metrics.page(counts)


def new_metrics() -> Metrics:
    return Metrics(["idenfy"], ["core"], GivenClock(START))


def values(metrics: Metrics, name: str) -> dict[tuple[str, str], float]:
    """Every sample of one metric that is not 0. When a series was made is not a movement."""
    return {
        (sample.name, str(sorted(sample.labels.items()))): sample.value
        for metric in metrics.registry.collect()
        if metric.name == name
        for sample in metric.samples
        if sample.value and not sample.name.endswith("_created")
    }


OWN = sorted(metric.name for metric in new_metrics().registry.collect() if metric.name.startswith("hookseal_"))


@pytest.mark.parametrize("name", OWN)
async def test_each_metric_moves(name: str, tmp_path: Path) -> None:
    assert name in MOVES, "a metric without a test that moves it"
    metrics = new_metrics()
    before = values(metrics, name)
    await MOVES[name](metrics, tmp_path)
    assert values(metrics, name) != before
