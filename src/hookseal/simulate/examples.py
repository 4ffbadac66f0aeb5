"""What each provider sends: examples by name, and how a new one is made out of an example.

The bodies in `payloads/` are the providers' own, byte for byte, where their documents print one; the comment beside an
example says where it is ours. A body is never parsed and written again: an event becomes new by replacing ids and times
in its bytes with others of the same length, so that order of keys, nulls and characters stay as the provider has them.

Knows nothing of proofs, addresses and retries. Providers without a row here have the examples of their catalogue entry.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Final
from uuid import UUID

from hookseal.catalogue import Provider
from hookseal.clock import Instant, to_datetime
from hookseal.errors import ConfigurationError
from hookseal.ids import RandomBytes
from hookseal.model import EventType, Outcome

Type = EventType


@dataclass(frozen=True, slots=True)
class Expected:
    """One event that a receiver should make of a call.

    mark     the id inside the body that tells this event from all others ever sent; "" where the example has none.
    outcome  None where it does not matter.
    """

    mark: str
    type: str
    outcome: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to send: everything but the proof.

    example  the name of the example that it is made of.
    number   counts the calls of one example, from 1.
    headers  beside Content-Type and the proof, in the provider's spelling.
    """

    example: str
    number: int = 1
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    expected: tuple[Expected, ...] = ()


class Form(StrEnum):
    """How a place in an example is written, and so what may stand there instead."""

    UUID = "uuid"
    RFC3339 = "rfc3339"  # with any number of fraction digits, and the offset that it has
    ISO_BASIC = "iso_basic"  # 20221115T090914Z
    UNIX = "unix"  # ten digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One call of an example. file: in the provider's folder; content_type: None for what the provider always sends."""

    file: str
    expected: tuple[Expected, ...]
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Something that happens at the provider: one call, or several about one subject in their order.

    fresh  texts in the bodies that differ from event to event. Times move together, so that the latest is now.
    """

    name: str
    about: str
    drafts: tuple[Draft, ...]
    fresh: Mapping[str, Form] = field(default_factory=dict)


def examples_of(provider: Provider) -> Mapping[str, Example]:
    """By name, the provider's own printed example first. ConfigurationError when the provider has none."""
    known = EXAMPLES.get(provider.id)
    if known is None:
        known = tuple(_of_entry(provider, name) for name in provider.examples)
    if not known:
        raise ConfigurationError("command line", "PROVIDER", f"the entry of {provider.id} has no example to send")
    return {example.name: example for example in known}


def calls_of(provider: Provider, example: Example, now: Instant, random_bytes: RandomBytes) -> tuple[Call, ...]:
    """A new event after an example: the calls that the provider makes for it, in their order."""
    new = _replacements(example.fresh, now, random_bytes)
    pattern = re.compile(b"|".join(re.escape(text) for text in new)) if new else None

    def renewed(text: bytes) -> bytes:
        return pattern.sub(lambda found: new[found.group()], text) if pattern is not None else text

    return tuple(
        Call(
            example=example.name,
            number=number,
            body=renewed(_body(provider, example, draft)),
            content_type=draft.content_type or provider.sending.content_type,
            headers=_over(provider.sending.headers, draft.headers),
            expected=tuple(
                Expected(renewed(one.mark.encode()).decode(), one.type, one.outcome) for one in draft.expected
            ),
        )
        for number, draft in enumerate(example.drafts, 1)
    )


# --- the examples of the seeds

_ZIGNSEC_ID = "61d300c2-cff8-4dc1-9abc-6d59f8876d32"
_ZIGNSEC_TIME = "2018-10-22T08:26:41.8675683+02:00"
_ZIGNSEC_FRESH: Final = {_ZIGNSEC_ID: Form.UUID, _ZIGNSEC_TIME: Form.RFC3339}
_SCAN_REF = "00000000-0000-4000-8000-000000000001"
_IDENFY_FRESH: Final = {_SCAN_REF: Form.UUID, "1554726960": Form.UNIX, "1554727002": Form.UNIX}
_ALARM_ID = "a1b2c3d4-0000-4000-8000-000000000001"
_SECOND_ALARM_ID = "a1b2c3d4-0000-4000-8000-000000000002"
_ALARM_TIME = "2025-11-21T08:00:00.1234567Z"
_ALARM_FRESH: Final = {_ALARM_ID: Form.UUID, _SECOND_ALARM_ID: Form.UUID, _ALARM_TIME: Form.RFC3339}
_SEAL_ID = "4619d136-7fac-41fa-9755-49dd7648ff85"
_SEAL_CASE = "4e9aae75-1f9f-4179-abe5-449a72b4da52"
_SEAL_FRESH: Final = {_SEAL_ID: Form.UUID, _SEAL_CASE: Form.UUID, "20221115T090914Z": Form.ISO_BASIC}


def _one(
    name: str,
    about: str,
    file: str,
    mark: str,
    type: EventType,
    outcome: Outcome | None,
    fresh: Mapping[str, Form],
    *,
    content_type: str | None = None,
    headers: tuple[tuple[str, str], ...] = (),
) -> Example:
    draft = Draft(file=file, expected=(Expected(mark, type, outcome),), content_type=content_type, headers=headers)
    return Example(name=name, about=about, drafts=(draft,), fresh=fresh)


def _zignsec(
    name: str, about: str, file: str, type: EventType, outcome: Outcome, content_type: str | None = None
) -> Example:
    return _one(name, about, file, _ZIGNSEC_ID, type, outcome, _ZIGNSEC_FRESH, content_type=content_type)


def _idenfy(name: str, about: str, type: EventType, outcome: Outcome, kind: str) -> Example:
    headers = (("Idenfy-Event-Type", kind),)
    return _one(name, about, f"{name}.json", _SCAN_REF, type, outcome, _IDENFY_FRESH, headers=headers)


def _alarm(name: str, about: str, type: EventType) -> Example:
    return _one(name, about, f"{name}.json", _ALARM_ID, type, None, _ALARM_FRESH)


EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = {
    "zignsec": (
        # https://docs.zignsec.com/references/webhook/legacy/ prints it; U+2026 stands in it as raw UTF-8
        _zignsec(
            "success", "Swedish BankID completed", "success.json", Type.AUTHENTICATION_COMPLETED, Outcome.APPROVED
        ),
        # JSON or XML is chosen with the registration; no page shows the XML, so the names of its elements are ours
        _zignsec(
            "success-xml",
            "the same to a registration that asked for XML",
            "success.xml",
            Type.AUTHENTICATION_COMPLETED,
            Outcome.APPROVED,
            "application/xml; charset=utf-8",
        ),
        # as receivers in public repositories have seen it: a number for a code, no identity
        _zignsec("failure", "the user did not identify", "failure.json", Type.AUTHENTICATION_COMPLETED, Outcome.ERROR),
        # one web hook for each change of an SMS's status; the page prints its body only as a picture, so it is ours
        Example(
            name="sms",
            about="an SMS is queued, sent and delivered: three web hooks with one id",
            drafts=tuple(
                Draft(file=f"sms-{status}.json", expected=(Expected(_ZIGNSEC_ID, Type.MESSAGE_UPDATED),))
                for status in ("queued", "sent", "delivered")
            ),
            fresh=_ZIGNSEC_FRESH,
        ),
    ),
    "bankid_antifraud": (
        # the envelope is printed in BankID's "Receiving CloudEvents"; what `data` holds is told on request only
        _alarm("alarm", "an alarm", Type.ALARM_RAISED),
        _alarm("unknown-type", "a type that the documents do not have yet", Type.OTHER),
        Example(
            name="batch",
            about="two alarms in one request (Event Grid's batching, off by default)",
            drafts=(
                Draft(
                    file="batch.json",
                    content_type="application/cloudevents-batch+json; charset=utf-8",
                    expected=(Expected(_ALARM_ID, Type.ALARM_RAISED), Expected(_SECOND_ALARM_ID, Type.ALARM_RAISED)),
                ),
            ),
            fresh=_ALARM_FRESH,
        ),
        # developer.bankid.no names the two codes, which must not count as fraud; where they stand is ours
        _alarm("test-alarm", "BankID tries the subscription (IDX1_TEST)", Type.OTHER),
        _alarm("heartbeat", "a sign of life (IDX2_HEARTBEAT)", Type.OTHER),
    ),
    "seal_id": (
        # the 419 bytes of the FAQ's captured request
        _one(
            "identification",
            "a person was identified",
            "identification.json",
            _SEAL_ID,
            Type.VERIFICATION_COMPLETED,
            Outcome.APPROVED,
            _SEAL_FRESH,
        ),
        # the second kind of body that the same system sends, without a bare `status`
        _one("signing", "a document was signed", "signing.json", _SEAL_ID, Type.SIGNATURE_COMPLETED, None, _SEAL_FRESH),
    ),
    "idenfy": (
        # the signing page prints no payload; the fields are those of iDenfy's reference
        _idenfy(
            "approved", "approved", Type.VERIFICATION_COMPLETED, Outcome.APPROVED, "IDENTIFICATION_MANUAL_FINISHED"
        ),
        _idenfy("denied", "denied", Type.VERIFICATION_COMPLETED, Outcome.DECLINED, "IDENTIFICATION_MANUAL_FINISHED"),
        _idenfy(
            "suspected", "suspected", Type.VERIFICATION_COMPLETED, Outcome.REVIEW, "IDENTIFICATION_MANUAL_FINISHED"
        ),
        Example(
            name="manual-review",
            about="suspected by the machine, then approved by a person: two web hooks with one scanRef",
            drafts=(
                Draft(
                    file="auto-finished.json",
                    headers=(("Idenfy-Event-Type", "IDENTIFICATION_AUTO_FINISHED"),),
                    expected=(Expected(_SCAN_REF, Type.VERIFICATION_UPDATED, Outcome.REVIEW),),
                ),
                Draft(
                    file="manual-finished.json",
                    headers=(("Idenfy-Event-Type", "IDENTIFICATION_MANUAL_FINISHED"),),
                    expected=(Expected(_SCAN_REF, Type.VERIFICATION_COMPLETED, Outcome.APPROVED),),
                ),
            ),
            fresh=_IDENFY_FRESH,
        ),
        _idenfy(
            "expired", "nobody finished in time", Type.VERIFICATION_COMPLETED, Outcome.EXPIRED, "IDENTIFICATION_EXPIRED"
        ),
        _idenfy(
            "document-expiration",
            "an identity document runs out",
            Type.DOCUMENT_UPDATED,
            Outcome.UNKNOWN,
            "DOCUMENT_EXPIRATION",
        ),
    ),
}


# --- making new ones


def _replacements(fresh: Mapping[str, Form], now: Instant, random_bytes: RandomBytes) -> dict[bytes, bytes]:
    times = {text: _read(text, form) for text, form in fresh.items() if form is not Form.UUID}
    later = to_datetime(now) - max(times.values()) if times else timedelta(0)
    new: dict[bytes, bytes] = {}
    for text, form in fresh.items():
        if form is Form.UUID:
            written = str(UUID(bytes=random_bytes(16), version=4))
        else:
            written = _write(times[text] + later, text, form)
        new[text.encode()] = written.encode()
    return new


def _read(text: str, form: Form) -> datetime:
    if form is Form.UNIX:
        return datetime.fromtimestamp(int(text), UTC)
    return datetime.fromisoformat(text)


def _write(moment: datetime, like: str, form: Form) -> str:
    """In the form of `like`, as long as it is."""
    if form is Form.UNIX:
        return f"{int(moment.timestamp()):010d}"
    if form is Form.ISO_BASIC:
        return moment.strftime("%Y%m%dT%H%M%SZ")
    digits = re.search(r"\.([0-9]+)", like)
    assert digits is not None
    local = moment.astimezone(datetime.fromisoformat(like).tzinfo)
    fraction = f"{local.microsecond:06d}".ljust(len(digits[1]), "0")
    offset = like[digits.end() :]
    return f"{local:%Y-%m-%dT%H:%M:%S}.{fraction}{offset}"


def _body(provider: Provider, example: Example, draft: Draft) -> bytes:
    if provider.id not in EXAMPLES:
        return provider.examples[example.name].body
    return (files("hookseal.simulate") / "payloads" / provider.id / draft.file).read_bytes()


def _of_entry(provider: Provider, name: str) -> Example:
    entry = provider.examples[name]
    draft = Draft(file="", expected=(), content_type=entry.content_type, headers=entry.headers)
    return Example(name=name, about=f"as the entry of {provider.id} has it", drafts=(draft,))


def _over(usual: tuple[tuple[str, str], ...], own: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The provider's usual headers, with those of the example in place of the same names."""
    named = {name.lower() for name, _ in own}
    return (*((name, value) for name, value in usual if name.lower() not in named), *own)
