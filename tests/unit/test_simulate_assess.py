"""An assessment: every case's answer is judged, the granted rate is kept, silence does not last for ever."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from hookseal import catalogue
from hookseal.cli.simulate_report import hint_of, report_json
from hookseal.clock import GivenClock, Instant, from_unix
from hookseal.model import ProviderId
from hookseal.schemes.verdict import SigningKeys
from hookseal.simulate.assess import Assessor, Finding
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.issuer import Issuer
from hookseal.simulate.wire import Answer, Manner, Sent

START = from_unix(1_763_712_000)
SECRET = b"a secret of the tests, long enough"
CONSENT = {"webhook-allowed-origin": "eventgrid.azure.net", "webhook-allowed-rate": "7"}


def sender_of(provider: str) -> Sender:
    entry = catalogue.provider(ProviderId(provider))
    options = {"audience": "a-recipient"} if provider == "bankid_antifraud" else {}
    keys = Issuer().keys if options else SigningKeys(secret=SECRET)
    return Sender(
        provider=entry, scheme=entry.bind(options), keys=keys, url="http://receiver.test/", random_bytes=os.urandom
    )


class Passing(GivenClock):
    """A given clock whose waits pass at once."""

    async def wait(self, event: object, timeout_s: float | None) -> bool:
        self.advance(timeout_s or 0.0)
        return False


@dataclass(slots=True)
class Rim:
    clock: GivenClock
    answer: Callable[[Sent], Answer]
    asked: list[tuple[Instant, Sent, float]] = field(default_factory=list)

    async def exchange(self, sent: Sent, timeout_s: float) -> Answer:
        self.asked.append((self.clock.now(), sent, timeout_s))
        return Answer(status=None, reason="left") if sent.manner is Manner.LEFT else self.answer(sent)


async def assessed(provider: str, answer: Callable[[Sent], Answer]) -> tuple[dict[str, Finding], Rim]:
    clock = Passing(START)
    rim = Rim(clock, answer)
    found = [one async for one in Assessor(sender_of(provider), rim, clock).findings()]
    return {one.case.id: one for one in found}, rim


def oracle(sender: Sender) -> Callable[[Sent], Answer]:
    """A correct receiver of what is proven over its headers and body."""

    def answer(sent: Sent) -> Answer:
        if sent.manner in (Manner.TRUNCATED, Manner.STALLED):
            return Answer(status=None, reason="connect_reset")
        if sent.method != "POST":
            return Answer(status=405)
        status = 200 if sender.accepts(sent, START) else sender.provider.answers.refused
        return Answer(status=status)

    return answer


@pytest.mark.parametrize("provider", ["zignsec", "seal_id", "idenfy"])
async def test_a_correct_receiver_has_no_faults(provider: str) -> None:
    found, _ = await assessed(provider, oracle(sender_of(provider)))
    assert {id: one.fault for id, one in found.items() if not one.ok} == {}


async def test_a_receiver_that_takes_everything_is_gravely_wrong() -> None:
    found, _ = await assessed("zignsec", lambda sent: Answer(status=200))
    grave = {id for id, one in found.items() if one.grave}
    assert {"signature-missing", "signature-empty", "wrong-secret", "byte-changed", "signature-null"} <= grave
    assert all(found[id].ok for id in ("example-success", "non-ascii", "duplicate"))


async def test_lax_reading_is_bad_but_lets_no_stranger_in() -> None:
    found, _ = await assessed("zignsec", lambda sent: Answer(status=200))
    lax = [found[id] for id in ("encoded-hex", "signature-twice", "signature-prefixed", "headers-of-idenfy")]
    assert [(one.ok, one.grave) for one in lax] == [(False, False)] * 4


async def test_a_500_for_a_forged_request_is_bad() -> None:
    found, _ = await assessed("idenfy", lambda sent: Answer(status=500))
    assert "anyone can make it fail" in found["signature-non-ascii"].fault
    assert not found["signature-non-ascii"].grave


@pytest.mark.parametrize(
    ("provider", "status", "ok"),
    [
        ("idenfy", 403, True),
        ("idenfy", 401, False),
        ("zignsec", 401, True),
        ("zignsec", 403, True),
        ("zignsec", 429, False),
        ("seal_id", 400, True),
        ("seal_id", 301, False),
    ],
)
async def test_a_code_is_asked_for_only_where_a_document_has_one(provider: str, status: int, ok: bool) -> None:
    found, _ = await assessed(provider, lambda sent: Answer(status=status))
    assert found["wrong-secret"].ok is ok


async def test_bankid_takes_only_its_own_success_statuses_and_is_not_told_to_come_again_for_a_bad_token() -> None:
    found, _ = await assessed("bankid_antifraud", lambda sent: Answer(status=206))
    assert "sends it again" in found["example-alarm"].fault
    found, _ = await assessed("bankid_antifraud", lambda sent: Answer(status=404))
    assert "the event is lost" in found["example-alarm"].fault
    assert not found["token-expired"].ok
    found, _ = await assessed("bankid_antifraud", lambda sent: Answer(status=401))
    assert found["token-expired"].ok
    assert "WWW-Authenticate" in found["token-missing"].fault


@pytest.mark.parametrize(("otherwise", "ok"), [(401, True), (400, False)])
async def test_a_parser_in_front_of_the_proof_shows_in_another_code(otherwise: int, ok: bool) -> None:
    def answer(sent: Sent) -> Answer:
        return Answer(status=401 if sent.body.endswith(b"}") else otherwise)

    for provider, id in (("zignsec", "bad-signature-bad-json"), ("bankid_antifraud", "bad-token-bad-json")):
        found, _ = await assessed(provider, answer)
        assert found[id].ok is ok
    found, _ = await assessed("seal_id", lambda sent: Answer(status=400))
    assert found["bad-signature-bad-json"].ok


async def test_the_right_signature_in_an_answer_is_a_grave_fault() -> None:
    def answer(sent: Sent) -> Answer:
        return Answer(status=403, body=b"expected " + b" ".join(sent.telltales[1:]))

    found, _ = await assessed("idenfy", answer)
    assert found["wrong-secret"].grave
    assert found["example-approved"].fault
    assert not found["example-approved"].grave


async def test_an_answer_may_repeat_what_was_sent_to_it() -> None:
    found, _ = await assessed(
        "idenfy", lambda sent: Answer(status=403, body=b" ".join(value for _, value in sent.headers))
    )
    assert found["signature-extended"].ok


async def test_the_granted_rate_is_kept() -> None:
    _, rim = await assessed("bankid_antifraud", lambda sent: Answer(status=200, headers=CONSENT))
    starts = [at for at, _, _ in rim.asked]
    for first, eighth in zip(starts[10:], starts[17:], strict=False):
        assert eighth - first >= 60_000_000


async def test_without_a_consent_no_rate_holds() -> None:
    _, rim = await assessed("bankid_antifraud", lambda sent: Answer(status=200))
    assert {at for at, _, _ in rim.asked} == {START}


async def test_a_receiver_that_never_answers_is_not_waited_for_each_time() -> None:
    found, rim = await assessed("bankid_antifraud", lambda sent: Answer(status=None, reason="response_timeout"))
    waits = [timeout_s for _, sent, timeout_s in rim.asked if sent.manner is not Manner.STALLED]
    assert waits[:3] == [30.0] * 3
    assert set(waits[3:]) == {5.0}
    assert "no answer" in found["example-alarm"].fault


async def test_of_several_answers_the_first_fault_counts() -> None:
    statuses = iter([200, 500])
    found, _ = await assessed(
        "zignsec", lambda sent: Answer(status=next(statuses, 200) if sent.method == "POST" else 405)
    )
    assert found["example-success-xml"].fault.startswith("It failed on a genuine event")
    assert found["example-success-xml"].got == "500"


async def test_a_receiver_that_asks_to_come_again_is_visited_again_before_it_is_judged() -> None:
    answers = iter([Answer(status=503, headers={"retry-after": "20"}), Answer(status=200)])
    clock, waits = Passing(START), list[float]()
    rim = Rim(clock, lambda sent: next(answers))
    await Assessor(sender_of("bankid_antifraud"), rim, clock).ready(waits.append)
    assert [at - START for at, _, _ in rim.asked] == [0, 20_000_000]
    assert waits == [20.0]


@pytest.mark.parametrize(
    "answer", [Answer(status=503), Answer(status=401), Answer(status=None, reason="connect_refused")]
)
async def test_a_receiver_that_does_not_ask_so_is_judged_at_once(answer: Answer) -> None:
    clock = Passing(START)
    rim = Rim(clock, lambda sent: answer)
    await Assessor(sender_of("zignsec"), rim, clock).ready(lambda wait_s: pytest.fail("it waits"))
    assert len(rim.asked) == 1


async def test_a_receiver_that_asks_for_ever_is_judged_in_the_end() -> None:
    clock, waits = Passing(START), list[float]()
    rim = Rim(clock, lambda sent: Answer(status=503, headers={"retry-after": "86400"}))
    await Assessor(sender_of("zignsec"), rim, clock).ready(waits.append)
    assert waits == [60.0] * 4


# --- the report


async def test_the_report_has_every_case_with_what_was_expected_and_why() -> None:
    sender = sender_of("idenfy")
    found, _ = await assessed("idenfy", oracle(sender))
    report = report_json("idenfy", sender.url, list(found.values()))
    assert (report["ok"], report["bad"], report["cases"], report["hint"]) == (True, 0, len(found), None)
    row = next(row for row in report["report"] if row["id"] == "answer-lost")
    assert (row["expected"], row["got"], row["result"], row["fault"]) == ("2xx", [200], "ok", None)
    assert all(row["why"] and row["sent"] and row["group"] for row in report["report"])


@pytest.mark.parametrize(
    ("status", "reason", "hint"),
    [(401, "", "this secret"), (None, "connect_refused", "check the URL"), (500, "", "begin there")],
)
async def test_where_the_plainest_event_is_not_taken_a_hint_says_where_to_look(
    status: int | None, reason: str, hint: str
) -> None:
    found, _ = await assessed("zignsec", lambda sent: Answer(status=status, reason=reason))
    assert hint in (hint_of(list(found.values())) or "")


async def test_no_hint_where_it_is_taken() -> None:
    found, _ = await assessed("zignsec", lambda sent: Answer(status=200))
    assert hint_of(list(found.values())) is None


def test_a_short_secret_is_not_looked_for_in_answers() -> None:
    sender = replace(sender_of("zignsec"), keys=SigningKeys(secret=b"short"))
    assert sender.telltales == ()
