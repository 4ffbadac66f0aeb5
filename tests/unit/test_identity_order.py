"""Which of two states is the later one, as the entries say it, and which order rules can be written."""

import json
from typing import Any

import pytest

from hookseal import catalogue
from hookseal.catalogue.event_rules import EventRules
from hookseal.errors import CatalogueError
from hookseal.identity.extract import Item, items
from hookseal.message import Request
from hookseal.model import ProviderId
from hookseal.schemes.verdict import Proven

FINAL = 1 << 62


def item(provider: str, body: Any) -> Item:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = items(catalogue.provider(ProviderId(provider)), Request(method="POST", headers=(), body=raw), Proven())
    assert isinstance(found, tuple)
    return found[0]


def order(provider: str, **body: Any) -> int | None:
    return item(provider, {"id": "x", **body}).order


@pytest.mark.requirement("Z08")
def test_states_of_a_message_rise_to_delivered_in_every_spelling() -> None:
    for name in ("status", "Status", "deliveryStatus", "DeliveryStatus"):
        for spelt in (str.lower, str.title, str.upper):
            states = [order("zignsec", **{name: spelt(one)}) for one in ("queued", "sent", "failed", "delivered")]
            assert states == sorted(set(states), key=lambda one: one or -1)
            assert [one is not None and one >= FINAL for one in states] == [False, False, True, True]


def test_an_unknown_state_an_eid_result_and_a_body_of_nothing_have_no_order() -> None:
    assert order("zignsec", status="on its way") is None
    assert order("zignsec", identity={"FirstName": "A"}, errors=[]) is None
    assert item("zignsec", {"status": "sent"}).order is None  # no subject
    assert item("zignsec", b"not json").order is None
    assert item("idenfy", {"scanRef": "s", "monitoringId": "m", "alertStatus": "ALERT"}).order is None


def test_a_final_verdict_stands_over_a_later_automatic_one_and_time_decides_between_equals() -> None:
    def verdict(final: bool, **times: int) -> int:
        found = item("idenfy", {"scanRef": "s", "final": final, "status": {"overall": "APPROVED"}, **times}).order
        assert found is not None
        return found

    assert verdict(True) == FINAL
    assert verdict(True, finishTime=1) > verdict(True, startTime=0) > verdict(False, finishTime=2_000_000_000)
    assert verdict(False, finishTime=2) == 2_000_000


def test_the_rank_of_a_step_counts_before_its_time_and_a_basket_has_the_same_steps() -> None:
    def step(status: str, second: int, of: str = "ubiIdCaseId", key: str = "status") -> int:
        found = item("seal_id", {of: "c", key: status, "createdTime": f"20260101T0000{second:02d}Z"}).order
        assert found is not None
        return found

    names = ["SCHEDULED", "OUTSTANDING", "VERIFICATION_PENDING", "VERIFICATION_CONFIRMED"]
    names += ["IDENTIFICATION_SUCCESSFUL", "SIGNED", "DOWNLOADED"]
    rising = [step(name, 59 - at) for at, name in enumerate(names)]
    assert rising == sorted(rising)
    assert len(set(rising)) == 7
    assert step("SIGNED", 1) < step("SIGNED", 2)
    assert step("SIGNED", 1) == step("SIGNED", 1, "documentBasketId", "documentBasketStatus")


@pytest.mark.parametrize("provider", ["bankid_antifraud", "standard_webhooks"])
def test_where_nothing_is_said_nothing_is_ordered(provider: str) -> None:
    assert catalogue.provider(ProviderId(provider)).event.order is None


@pytest.mark.parametrize("time", [-(10**14), 10**14, 10**30, "x", None, True])
def test_times_that_nobody_meant_stay_within_their_bits(time: Any) -> None:
    found = item("idenfy", {"scanRef": "s", "final": False, "status": {"overall": "X"}, "finishTime": time}).order
    assert found is not None
    assert 0 <= found < 1 << 56


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"state": "body:/s"}, "event.order.ranks"),
        ({"ranks": [["a"]]}, "event.order.ranks"),
        ({"state": "body:/s", "ranks": [["a"], ["a"]]}, "event.order.ranks[1]"),
        ({"state": "body:/s", "ranks": [[1]]}, "event.order.ranks[0]"),
        ({"state": "body:/s", "ranks": ["a"]}, "event.order.ranks[0]"),
        ({"state": "body:/s", "ranks": [[str(rank)] for rank in range(64)]}, "event.order.ranks"),
        ({"time": {"at": "body:/t", "as": "upper"}}, "event.order.time.as"),
        ({"later": "body:/t"}, "event.order.later"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(table: dict[str, Any], key: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        EventRules.from_toml({"event": {"order": table}}, "acme.toml")
    assert f" {key} " in f" {refused.value} ".replace(":", " ")
