"""Endpoints from settings, and which events they take."""

from typing import Any

import pytest

from hookseal.delivery.endpoint import Endpoint, build
from hookseal.delivery.plan import Plan
from hookseal.delivery.policy import POLICIES
from hookseal.errors import ConfigurationError
from hookseal.model import EndpointId, SourceId
from hookseal.settings import EndpointSettings, RetrySettings, SigningSettings

IDENFY, BANKID = SourceId("idenfy-prod"), SourceId("bankid")
COMPLETED = "identity.verification.completed"


def settings(**changes: Any) -> EndpointSettings:
    signing = SigningSettings(scheme="standard_webhooks", secrets=(b"hush-hush-hush-hush",))
    return EndpointSettings(
        **{"id": EndpointId("core"), "url": "https://core.example/hooks", "signing": signing, **changes}
    )


def endpoint(name: str, **changes: Any) -> Endpoint:
    return Endpoint(id=EndpointId(name), **changes)


def test_an_endpoint_is_what_its_settings_say() -> None:
    built = build(settings(headers={"X-Tenant": "a"}, retry=RetrySettings(policy="bankid"), format="json"))
    assert built.policy is POLICIES["bankid"]
    assert (built.id, built.url, built.format) == ("core", "https://core.example/hooks", "json")
    assert (built.headers, built.timeout_s, built.concurrency) == ((("X-Tenant", "a"),), 15.0, 16)


def test_what_an_endpoint_shows_of_itself_holds_no_secret() -> None:
    shown = repr(build(settings(headers={"X-Api-Key": "credential"})))
    assert "hush" not in shown
    assert "credential" not in shown


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"timeout_s": 30.1}, "timeout_s"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1025}, "concurrency"),
        ({"headers": {"Host": "internal"}}, "headers"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "headers"),
        ({"headers": {"webhook-id": "mine"}}, "headers"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "headers"),
        ({"headers": {"X A": "a"}}, "headers"),
        ({"retry": RetrySettings(policy="often")}, "retry"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_by_place_and_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(settings(**changes))
    assert (refused.value.place, refused.value.key) == ("endpoint core", key)


@pytest.mark.parametrize(
    ("sources", "types", "taken"),
    [
        (("*",), ("*",), True),
        (("idenfy-*",), ("identity.*",), True),
        (("bankid", "idenfy-prod"), ("risk.*", "identity.verification.*"), True),
        (("bankid",), ("*",), False),
        (("*",), ("risk.*",), False),
        (("IDENFY-PROD",), ("*",), False),
        ((), ("*",), False),
        (("*",), (), False),
    ],
)
def test_an_endpoint_takes_what_a_glob_of_each_kind_matches(
    sources: tuple[str, ...], types: tuple[str, ...], taken: bool
) -> None:
    assert endpoint("core", sources=sources, types=types).takes(IDENFY, COMPLETED) is taken


def test_other_goes_to_those_who_ask_for_it_or_for_everything() -> None:
    plan = Plan(
        [endpoint("all"), endpoint("other", types=("other",)), endpoint("some", types=("identity.*", "risk.*"))]
    )
    assert plan.of(BANKID, ["other"]) == (("all", "other"),)


def test_each_event_of_a_request_goes_to_its_own_takers() -> None:
    plan = Plan([endpoint("all"), endpoint("risk", types=("risk.*",))])
    assert plan.of(BANKID, ["risk.alarm.raised", "other"]) == (("all", "risk"), ("all",))
    assert plan.of(BANKID, []) == ()


def test_original_is_listed_with_every_event_that_it_takes() -> None:
    plan = Plan([endpoint("raw", format="original", types=("risk.*",)), endpoint("all")])
    assert plan.of(BANKID, ["other", "risk.alarm.raised", "risk.alarm.raised"]) == (
        ("all",),
        ("raw", "all"),
        ("raw", "all"),
    )
    assert plan.of(BANKID, ["risk.alarm.raised"]) == (("raw", "all"),)


def test_free_types_without_number_do_not_fill_the_memory() -> None:
    plan = Plan([endpoint("all")])
    for number in range(10_000):
        assert plan.of(BANKID, [f"own.{number}"]) == (("all",),)
    assert len(plan._known) <= 4096
