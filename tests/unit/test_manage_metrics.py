"""The metrics page: figures add up, and no label is for a stranger to choose."""

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from hookseal.api.metrics import Metrics
from hookseal.clock import GivenClock, from_unix
from hookseal.delivery.observer import Observer as DeliveryObserver
from hookseal.errors import StoreUnavailable
from hookseal.model import DeliveryId, DeliveryState, EndpointId
from hookseal.receive.service import Observer as ReceiveObserver
from hookseal.store.port import Counts

STRANGE = "191212121212"
DELIVERY = DeliveryId("msg_" + "0" * 32)


def made() -> tuple[Metrics, GivenClock]:
    clock = GivenClock(from_unix(1_760_000_000))
    return Metrics(["idenfy"], ["core"], clock), clock


async def counted() -> Counts:
    return Counts(pending={EndpointId("core"): 3, EndpointId("gone"): 4}, dead={EndpointId("old"): 2}, quarantined=5)


async def samples(metrics: Metrics, count: object = counted) -> dict[tuple[str, ...], float]:
    """(name, label values in the order of their names) → value"""
    page = (await metrics.page(count)).decode()  # type: ignore[arg-type]
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_the_metrics_serve_as_observers_of_receiving_and_of_delivering() -> None:
    metrics, _ = made()
    receiving: ReceiveObserver = metrics
    delivering: DeliveryObserver = metrics
    receiving.answered("idenfy", 200)
    receiving.answered("idenfy", 403)
    receiving.refused("idenfy", "signature_mismatch")
    receiving.stored("idenfy", 2, 1, 1)
    delivering.attempted(EndpointId("core"), DELIVERY, DeliveryState.DELIVERED, None, 0.02)
    delivering.attempted(EndpointId("core"), DELIVERY, DeliveryState.PENDING, "http_503", 0.02)
    delivering.attempted(EndpointId("core"), DELIVERY, DeliveryState.PENDING, "http_500", 0.02)
    delivering.attempted(EndpointId("core"), DELIVERY, DeliveryState.PENDING, "handler_error", 0.02)
    delivering.ended(EndpointId("core"), DELIVERY, DeliveryState.DEAD, "worker_lost")
    delivering.isolated(EndpointId("core"), DELIVERY)
    delivering.fenced(EndpointId("core"), DELIVERY)
    delivering.unrecorded(EndpointId("core"), DELIVERY)
    delivering.broke(None, "claiming", "RuntimeError")
    metrics.committed(0.004)
    metrics.in_flight(lambda: 7)
    metrics.key_set_fetched("idenfy", False)
    told = await samples(metrics)
    assert told["hookseal_received_total", "idenfy", "200"] == 1
    assert told["hookseal_received_total", "idenfy", "403"] == 1
    assert told["hookseal_refused_total", "signature_mismatch", "idenfy"] == 1
    assert told["hookseal_stored_events_total", "idenfy"] == 2
    assert told["hookseal_duplicate_events_total", "idenfy"] == 1
    assert told["hookseal_conflicting_events_total", "idenfy"] == 1
    assert told["hookseal_delivery_attempts_total", "core", "delivered", "none"] == 1
    assert told["hookseal_delivery_attempts_total", "core", "pending", "http_5xx"] == 2
    assert told["hookseal_delivery_attempts_total", "core", "pending", "handler_error"] == 1
    assert told["hookseal_delivery_attempt_seconds_count", "core"] == 4
    assert told["hookseal_deliveries_ended_unattempted_total", "core", "worker_lost"] == 1
    assert told["hookseal_delivery_isolated_attempts_total", "core"] == 1
    assert told["hookseal_delivery_results_fenced_total", "core"] == 1
    assert told["hookseal_delivery_results_unrecorded_total", "core"] == 1
    assert told["hookseal_faults_total", "claiming"] == 1
    assert told["hookseal_commit_seconds_count",] == 1
    assert told["hookseal_in_flight_requests",] == 7
    assert told["hookseal_key_set_fetches_total", "failed", "idenfy"] == 1


async def test_the_stores_figures_are_told_by_endpoint_and_former_endpoints_together() -> None:
    metrics, _ = made()
    told = await samples(metrics)
    assert told["hookseal_deliveries_pending", "core"] == 3
    assert told["hookseal_deliveries_pending", "unknown"] == 4
    assert told["hookseal_deliveries_dead", "core"] == 0
    assert told["hookseal_deliveries_dead", "unknown"] == 2
    assert told["hookseal_quarantined_requests",] == 5
    assert told["hookseal_store_counted",] == 1


async def test_nothing_that_a_stranger_chooses_becomes_a_label() -> None:
    metrics, _ = made()
    metrics.answered(STRANGE, 191212)
    metrics.refused(STRANGE, STRANGE)
    metrics.stored(STRANGE, 1, 1, 1)
    metrics.attempted(EndpointId(STRANGE), DELIVERY, DeliveryState.DEAD, STRANGE, 1.0)
    metrics.attempted(EndpointId("core"), DELIVERY, DeliveryState.DEAD, f"http_{STRANGE}", 1.0)
    metrics.broke(EndpointId(STRANGE), STRANGE, STRANGE)
    metrics.key_set_fetched(STRANGE, True)
    page = (await metrics.page(counted)).decode()
    assert "191212" not in page
    assert DELIVERY not in page


async def test_parts_that_break_are_bounded() -> None:
    metrics, _ = made()
    for number in range(500):
        metrics.broke(None, "part" + "abcdefghij"[number % 10] * (number // 10 % 20 + 1), "ValueError")
    told = await samples(metrics)
    assert len([key for key in told if key[0] == "hookseal_faults_total"]) <= 33


async def test_the_store_is_asked_once_in_five_seconds_whoever_asks() -> None:
    metrics, clock = made()
    asked = 0

    async def count() -> Counts:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return await counted()

    await asyncio.gather(*(metrics.page(count) for _ in range(20)))
    assert asked == 1
    clock.advance(4.9)
    await metrics.page(count)
    assert asked == 1
    clock.advance(0.2)
    await metrics.page(count)
    assert asked == 2


async def test_a_store_that_cannot_count_leaves_the_page_standing() -> None:
    metrics, clock = made()
    await metrics.page(counted)
    clock.advance(6)

    async def broken() -> Counts:
        raise StoreUnavailable

    told = await samples(metrics, broken)
    assert told["hookseal_store_counted",] == 0
    assert told["hookseal_deliveries_pending", "core"] == 3


async def test_two_sets_of_metrics_do_not_meet() -> None:
    first, _ = made()
    second, _ = made()
    first.answered("idenfy", 200)
    assert ("hookseal_received_total", "idenfy", "200") not in await samples(second)
