"""What a status, a consent and a rate mean, row by row of the tables that the providers' documents imply."""

from typing import Any

import pytest
from delivery_parts import START
from hypothesis import given
from hypothesis import strategies as st
from sending_capture import TABLES

from hookseal import catalogue
from hookseal.clock import Instant, plus
from hookseal.delivery import presets
from hookseal.delivery.consent import consent_in, rate_in
from hookseal.delivery.endpoint import build
from hookseal.delivery.outcome import judge
from hookseal.delivery.pace import Pace
from hookseal.delivery.policy import POLICIES, RetryPolicy, of_provider
from hookseal.destinations.port import Answered, Failed
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Failure, Reply
from hookseal.errors import ConfigurationError
from hookseal.manage import registration
from hookseal.model import AttemptReason, DeliveryId, DeliveryState, EndpointId, EventId, ProviderId
from hookseal.settings import EndpointSettings, HandshakeSettings, RetrySettings, SigningSettings
from hookseal.store.port import Claimed, EventRow, Lease, Result, StoredEvent

ORIGIN = "eventgrid.azure.net"
STATUSES = range(200, 600)


def tried(policy: RetryPolicy, sent: Answered | Failed, attempts: int = 0) -> Result:
    row = EventRow(
        id=EventId("0199aaaa-0000-7000-8000-000000000001"),
        source="s",  # type: ignore[arg-type]
        sequence=1,
        item=0,
        type="other",
        received_at=START,
        provider_type=None,
        provider_id=None,
        subject=None,
        time=None,
        flags=(),
        conflicts=0,
    )
    claim = Claimed(
        id=DeliveryId("msg_0199aaaa000070008000000000000002"),
        endpoint=EndpointId("core"),
        lease=Lease(1),
        attempts=attempts,
        losses=0,
        first_attempt_at=START if attempts else None,
        event=StoredEvent(row=row, headers=(), body=b"{}", siblings=1),
    )
    return judge(
        policy, claim, sent, lease=Lease(1), started_at=START, ended_at=plus(START, 1), seconds=1.0, jitter=0.0
    )


def meaning(policy: RetryPolicy, sent: Answered | Failed) -> str:
    match tried(policy, sent).state:
        case DeliveryState.DELIVERED:
            return "success"
        case DeliveryState.DEAD:
            return "permanent-failure"
        case _:
            return "retry"


# --- statuses -------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B11", "B12", "B13")
@pytest.mark.parametrize("status", STATUSES)
def test_bankid_reads_every_status_as_its_table_has_it(status: int) -> None:
    table = TABLES["bankid_statuses"]
    named = [meant for meant in ("success", "permanent-failure") if status in table[meant]]
    policy = of_provider(catalogue.provider("bankid_antifraud"))
    assert meaning(policy, Answered(status=status)) == (named or ["retry"])[0]


@pytest.mark.requirement("Z09")
@pytest.mark.parametrize("policy", ["zignsec_3_retries", "zignsec_3_tries", "zignsec_20_in_48h"])
@pytest.mark.parametrize("status", STATUSES)
def test_zignsec_takes_any_2xx_and_tries_everything_else_again(policy: str, status: int) -> None:
    expected = "success" if status <= 299 else "retry"
    assert meaning(POLICIES[policy], Answered(status=status)) == expected


@pytest.mark.parametrize("status", STATUSES)
def test_idenfy_takes_any_2xx_and_tries_everything_else_again_410_too(status: int) -> None:
    expected = "success" if status <= 299 else "retry"
    assert meaning(of_provider(catalogue.provider("idenfy")), Answered(status=status)) == expected


@pytest.mark.requirement("Z09", "B13")
@pytest.mark.parametrize("provider", ["zignsec", "bankid_antifraud", "idenfy", "seal_id"])
@pytest.mark.parametrize("reason", [one for one in AttemptReason if one not in ("worker_lost", "pending_expired")])
def test_no_answer_of_whatever_kind_is_tried_again(provider: str, reason: AttemptReason) -> None:
    assert meaning(of_provider(catalogue.provider(provider)), Failed(reason=reason)) == "retry"


@pytest.mark.requirement("B15")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("wish", "least_s"), [("120", 120), ("Sat, 21 Nov 2026 08:05:01 GMT", 300), ("soon", 10)])
def test_a_wish_to_be_called_later_is_granted_and_junk_is_none(status: int, wish: str, least_s: float) -> None:
    result = tried(POLICIES["bankid"], Answered(status=status, retry_after=wish))
    assert result.due_at == plus(START, 1 + least_s)


# --- consent --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B05", "B07", "B08")
@pytest.mark.parametrize("row", TABLES["handshake_sender"], ids=lambda row: row["id"])
def test_an_answer_is_a_consent_exactly_where_the_table_says_so(row: dict[str, Any]) -> None:
    given = {"webhook-allowed-origin": row["allowed_origin"], "webhook-allowed-rate": row["allowed_rate"]}
    headers = {name: value for name, value in given.items() if value is not None}
    consent = consent_in(Reply(status=row["response_status"], headers=headers), ORIGIN)
    assert consent.granted is row["handshake_ok"], row["note"]


@pytest.mark.requirement("B08")
def test_a_refused_redirect_and_silence_are_no_consent() -> None:
    for reason in (AttemptReason.REDIRECT_REFUSED, AttemptReason.RESPONSE_TIMEOUT):
        consent = consent_in(Failure(reason=reason), ORIGIN)
        assert (consent.granted, consent.reason, consent.silent) == (False, reason, False)


@pytest.mark.requirement("B07")
@given(st.text(max_size=12))
def test_a_rate_is_a_star_or_ascii_digits_that_begin_above_zero(text: str) -> None:
    digits = text.isascii() and text.isdigit() and text[0] != "0"
    try:
        rate = rate_in(text)
    except ValueError:
        assert text != "*"
        assert not digits
    else:
        assert (rate is None) if text == "*" else (digits and rate == int(text))


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("B09")
@given(st.integers(1, 5), st.lists(st.floats(0, 90), max_size=40))
def test_no_minute_has_more_starts_than_the_rate_allows(rate: int, pauses: list[float]) -> None:
    pace, now, starts = Pace(rate), START, list[Instant]()
    for pause in pauses:
        now = max(plus(now, pause), pace.free_at(plus(now, pause)))
        pace.note(now)
        starts.append(now)
    assert all(later - earlier >= 60_000_000 for earlier, later in zip(starts, starts[rate:], strict=False))


def test_a_pace_without_a_rate_never_waits() -> None:
    pace = Pace(None)
    for _ in range(1000):
        assert pace.free_at(START) == START
        pace.note(START)


# --- presets --------------------------------------------------------------------------------------------------------


def row(provider: str, given: str = "", **changes: Any) -> EndpointSettings:
    return EndpointSettings(
        id=EndpointId("core"),
        url="https://core.example/hooks",
        acting_as=ProviderId(provider),
        given=frozenset(given.split()),
        **changes,
    )


SECRET = SigningSettings(scheme="", secrets=(b"a secret of the tests",))
AUDIENCE = SigningSettings(scheme="", options={"audience": "one"})

IN_FORCE = {
    "zignsec": (SECRET, ("json", "zignsec", "zignsec_3_retries", 15.0, "none")),
    "bankid_antifraud": (AUDIENCE, ("cloudevents", "bankid_antifraud", "bankid", 30.0, "cloudevents")),
    "seal_id": (SECRET, ("json", "seal_id", "standard", 15.0, "none")),
    "idenfy": (SECRET, ("json", "idenfy", "standard", 10.0, "none")),
}


@pytest.mark.requirement("Z12")
@pytest.mark.parametrize("provider", IN_FORCE)
def test_as_presets_what_the_provider_does(provider: str) -> None:
    signing, expected = IN_FORCE[provider]
    made = build(row(provider, "signing", signing=signing))
    got = (made.format, made.signing.scheme, made.policy.name, made.timeout_s, made.handshake.kind)
    assert got == expected
    assert made.acting_as == provider


def test_a_key_that_is_written_overrides_and_leaves_the_rest() -> None:
    made = build(
        row(
            "bankid_antifraud",
            "signing format timeout_s handshake retry retry.policy",
            signing=SigningSettings(scheme="none"),
            format="json",
            timeout_s=15.0,
            handshake=HandshakeSettings(),
            retry=RetrySettings(policy="standard"),
        )
    )
    assert (made.format, made.signing.scheme, made.timeout_s, made.needs_consent) == ("json", "none", 15.0, False)
    assert made.policy is POLICIES["standard"]


@pytest.mark.requirement("Z12")
def test_the_policy_of_each_zignsec_page_can_be_chosen() -> None:
    for policy in ("zignsec_3_retries", "zignsec_3_tries", "zignsec_20_in_48h"):
        made = build(row("zignsec", "signing retry retry.policy", signing=SECRET, retry=RetrySettings(policy=policy)))
        assert made.policy is POLICIES[policy]


def test_own_delays_leave_the_provider_its_statuses() -> None:
    own = RetrySettings(delays_s=(1.0, 2.0))
    bankid = build(row("bankid_antifraud", "signing retry", signing=AUDIENCE, retry=own)).policy
    assert (bankid.waits_s, bankid.success) == ((1.0, 2.0), frozenset(range(200, 205)))
    assert bankid.permanent == frozenset({400, 401, 403, 404, 413})
    assert build(row("idenfy", "retry", retry=own)).policy.permanent == frozenset()


def test_a_handshake_table_without_an_origin_keeps_the_providers() -> None:
    made = build(
        row(
            "bankid_antifraud",
            "signing handshake",
            signing=AUDIENCE,
            handshake=HandshakeSettings(kind="cloudevents", request_rate=120),
        )
    )
    assert (made.handshake.origin, made.handshake.request_rate) == (ORIGIN, 120)


@pytest.mark.requirement("I02", "Z22")
@pytest.mark.parametrize("provider", ["idenfy", "zignsec"])
def test_without_a_key_nothing_is_signed_where_the_provider_sends_so_too(provider: str) -> None:
    assert build(row(provider)).signing == SigningSettings(scheme="none")


@pytest.mark.parametrize(
    ("provider", "key"), [("seal_id", "signing"), ("bankid_antifraud", "signing"), ("nobody", "as")]
)
def test_what_cannot_be_presets_is_refused_by_key(provider: str, key: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        build(row(provider))
    assert refused.value.key == key


def test_a_row_that_acts_as_nobody_is_left_as_it_is() -> None:
    plain = EndpointSettings(id=EndpointId("core"), url="https://a.example", signing=SigningSettings(scheme="none"))
    assert presets.settled(plain) is plain


# --- registrations --------------------------------------------------------------------------------------------------

GOOD = "https://h.example/a?b=1"


@pytest.mark.requirement("Z01", "B01")
@pytest.mark.parametrize(
    "url",
    [
        *("http://h.example/", "ftp://h", "//h", "https://", "", "h.example", "https://u:p@h.example/"),
        *(
            "https://10.0.0.1/",
            "https://127.0.0.1/",
            "https://[::1]/",
            "https://169.254.169.254/",
            "https://h.example/#a",
        ),
        "https://h.example/" + "a" * 5000,
    ],
)
def test_urls_that_may_not_be_registered_are_refused(url: str) -> None:
    assert registration.url_problem(url, EgressPolicy())
    faults = [*registration.judge(EndpointSettings(id=EndpointId("a"), url=url, signing=SECRET), EgressPolicy())]
    assert faults[0][0] == "url"


@pytest.mark.requirement("Z01", "B01")
def test_a_good_url_is_kept_as_it_was_written() -> None:
    plain = EndpointSettings(id=EndpointId("a"), url=GOOD, signing=SigningSettings(scheme="none"))
    assert [*registration.judge(plain, EgressPolicy())] == []
    assert build(plain).url == GOOD
    assert registration.url_problem("http://h.example/", EgressPolicy(allow_http=True)) is None


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (row("zignsec", "signing", signing=AUDIENCE), "signing.audience"),
        (row("zignsec"), None),
        (row("seal_id"), "signing"),
        (row("bankid_antifraud", "signing", signing=SECRET), "signing.secret"),
        (row("nobody"), "as"),
        (row("idenfy", "format", format="yaml"), "format"),
        (row("idenfy", "handshake", handshake=HandshakeSettings(kind="cloudevents")), "handshake.origin"),
        (
            row(
                "idenfy",
                "handshake",
                handshake=HandshakeSettings(kind="cloudevents", origin="a.example", callback=True),
            ),
            "handshake.callback",
        ),
    ],
)
def test_a_registration_that_cannot_be_names_the_key(given: EndpointSettings, key: str | None) -> None:
    faults = [*registration.judge(given, EgressPolicy())]
    assert [name for name, _ in faults][:1] == ([key] if key else [])


@pytest.mark.requirement("B14")
def test_the_waits_are_those_of_the_table() -> None:
    assert list(POLICIES["bankid"].waits_s) == TABLES["retry_policies"]["bankid"]["gaps_s"]
    assert len(TABLES["handshake_sender"]) == 21
