"""The six named policies, and what an endpoint may make of them."""

from typing import Any

import pytest

from hookseal.delivery.policy import POLICIES, parse, statuses
from hookseal.errors import ConfigurationError
from hookseal.settings import RetrySettings

ALL_2XX = frozenset(range(200, 300))
EVENT_GRID_WAITS = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200)


def named(name: str) -> Any:
    return parse(RetrySettings(policy=name))


def test_standard_is_the_default_and_waits_75_hours_in_ten_tries() -> None:
    policy = parse(RetrySettings())
    assert policy is named("standard")
    assert policy.waits_s == (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    assert sum(policy.waits_s) == 75 * 3600 + 35 * 60 + 5
    assert (policy.tries, policy.jitter, policy.success, policy.permanent) == (10, (-0.2, 0.2), ALL_2XX, {410})


@pytest.mark.parametrize(
    ("name", "tries"), [("zignsec_3_retries", 4), ("zignsec_3_tries", 3), ("zignsec_20_in_48h", 20)]
)
def test_zignsec_takes_any_2xx_and_gives_up_for_no_status(name: str, tries: int) -> None:
    policy = named(name)
    assert policy.tries == tries
    assert policy.success == ALL_2XX
    assert policy.permanent == frozenset()


def test_zignsec_20_has_its_last_try_at_171000_seconds_from_the_first() -> None:
    policy = named("zignsec_20_in_48h")
    assert policy.from_first
    assert (policy.waits_s[0], policy.waits_s[-1], policy.window_s) == (60, 171_000, 172_800)
    assert list(policy.waits_s) == sorted(set(policy.waits_s))


@pytest.mark.parametrize(
    ("name", "success", "permanent"),
    [
        ("event_grid", ALL_2XX, {400, 401, 403, 413}),
        ("bankid", frozenset({200, 201, 202, 203, 204}), {400, 401, 403, 404, 413}),
    ],
)
def test_event_grid_and_bankid_share_gaps_and_differ_in_statuses(
    name: str, success: frozenset[int], permanent: set[int]
) -> None:
    policy = named(name)
    assert policy.waits_s == EVENT_GRID_WAITS
    assert (policy.tries, policy.jitter, policy.window_s) == (11, (0.0, 0.1), 86_400)
    assert (policy.success, policy.permanent) == (success, permanent)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["2xx"], ALL_2XX),
        (["200-204"], {200, 201, 202, 203, 204}),
        (["410"], {410}),
        (["5xx", "429", "400-400"], {*range(500, 600), 429, 400}),
        ([], set()),
    ],
)
def test_status_patterns(patterns: list[str], expected: set[int]) -> None:
    assert statuses(patterns) == expected


@pytest.mark.parametrize(
    "text", ["", "2XX", "20x", "99", "600", "6xx", "204-200", "200-", "-204", "200 ", "２００", "2xx\n"]
)
def test_other_text_is_no_status_pattern(text: str) -> None:
    with pytest.raises(ValueError):
        statuses([text])


def test_own_delays_replace_those_of_the_named_policy_and_its_window() -> None:
    policy = parse(RetrySettings(policy="zignsec_20_in_48h", delays_s=(1.0, 2.0)))
    assert (policy.name, policy.waits_s, policy.tries, policy.window_s, policy.from_first) == (
        "own",
        (1.0, 2.0),
        3,
        None,
        False,
    )
    assert policy.jitter == (-0.2, 0.2)


def test_no_delays_is_one_try() -> None:
    assert parse(RetrySettings(delays_s=())).tries == 1


def test_own_tables_keep_the_schedule_of_the_named_policy() -> None:
    policy = parse(RetrySettings(policy="bankid", success=("2xx",), permanent=("404",)))
    assert (policy.waits_s, policy.window_s, policy.jitter) == (EVENT_GRID_WAITS, 86_400, (0.0, 0.1))
    assert (policy.success, policy.permanent) == (ALL_2XX, {404})


def test_a_status_that_the_endpoint_names_counts_before_the_named_policy() -> None:
    assert parse(RetrySettings(success=("200", "410"))).permanent == frozenset()
    assert 204 not in parse(RetrySettings(permanent=("204",))).success


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (RetrySettings(policy="often"), "retry"),
        (RetrySettings(delays_s=(-1.0,)), "retry.delays_s"),
        (RetrySettings(delays_s=(float("nan"),)), "retry.delays_s"),
        (RetrySettings(delays_s=(float("inf"),)), "retry.delays_s"),
        (RetrySettings(delays_s=(2_592_001.0,)), "retry.delays_s"),
        (RetrySettings(delays_s=(1.0,) * 101), "retry.delays_s"),
        (RetrySettings(success=()), "retry.success"),
        (RetrySettings(success=("2yy",)), "retry.success"),
        (RetrySettings(permanent=("1000",)), "retry.permanent"),
        (RetrySettings(success=("2xx",), permanent=("204",)), "retry.permanent"),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_place_and_key(settings: RetrySettings, key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse(settings, "endpoint core")
    assert (refused.value.place, refused.value.key) == ("endpoint core", key)


def test_policies_are_found_by_their_names() -> None:
    assert list(POLICIES) == [
        "standard",
        "zignsec_3_retries",
        "zignsec_3_tries",
        "zignsec_20_in_48h",
        "event_grid",
        "bankid",
    ]
