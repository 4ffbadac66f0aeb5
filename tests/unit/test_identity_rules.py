"""Rules as a provider file writes them: what can be written, what is refused, and what each form of rule finds."""

import tomllib
from dataclasses import asdict, replace
from typing import Any

import msgspec
import pytest
from identity_cases import headers

from hookseal import catalogue
from hookseal.catalogue.event_rules import Dedupe, Envelope, EventRules
from hookseal.catalogue.locator import MAX_VISITED, MISSING, Locator
from hookseal.clock import Instant
from hookseal.errors import CatalogueError
from hookseal.identity import normalise
from hookseal.identity.reading import Reading
from hookseal.identity.rule_compiler import compile_rules
from hookseal.model import Event, EventId, EventType, Json, Outcome, SourceId
from hookseal.store.port import EventRow


def rules(text: str) -> EventRules:
    return EventRules.from_toml(tomllib.loads(text), "acme.toml")


def reading(text: str, tree: Json, *given: tuple[str, str]) -> Reading:
    return Reading(compile_rules(rules(text)), tree, headers(None, *given))


def test_no_tables_are_rules_that_say_nothing() -> None:
    assert asdict(rules("")) == asdict(EventRules())
    assert Reading(compile_rules(rules("")), {"a": 1}, ()).kind("a").type is EventType.OTHER


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("event = 5", "event"),
        ("[event]\nunknown = 1", "event.unknown"),
        ('[event]\nid = "id"', "event.id"),
        ('[event]\nid = "body:id"', "event.id"),
        ('[event]\nid = "header:X-Id"', "event.id"),
        ('[event]\nid = ["body:/a", 5]', "event.id"),
        ('[event]\nid = "body:/**/a"', "event.id"),
        ('[event]\nenvelope = "soap"', "event.envelope"),
        ('[event]\nenvelope = "cloudevents"', "event.dedupe"),
        ('[event]\ndedupe = "id"', "event.dedupe"),
        ('[event]\ntime = { at = "body:/t", as = "date" }', "event.time.as"),
        ('[event]\nnumbers = "body:/a/*"', "event.numbers"),
        ('[event.types]\n"a" = "no.such.type"', "event.types.a"),
        ('[event]\noutcome = "fine"', "event.outcome"),
        ('[event.outcome]\nat = "body:/a"\nvalues = { A = "fine" }', "event.outcome.values.A"),
        ('[event]\nfinal = "yes"', "event.final"),
        ("[[event.kind]]\nfinal = true", "event.kind[0].type"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ at = "body:/a" }]', "event.kind[0].when[0]"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ at = "body:/a", is = 1, in = [2] }]', "event.kind[0].when[0]"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ at = "body:/a", is = 1.5 }]', "event.kind[0].when[0].is"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ at = "body:/a", in = [] }]', "event.kind[0].when[0].in"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ at = "body:/a", filled = "yes" }]', "event.kind[0].when[0].filled"),
        ('[[event.kind]]\ntype = "other"\nwhen = [{ is = 1 }]', "event.kind[0].when[0].at"),
        ("[claims]\nverified = 1", "claims.verified"),
        ("[claims]\nfields = []", "claims.fields"),
        ("[claims.fields]\nname = 5", "claims.fields.name"),
        ('[claims.fields]\nname = { at = "body:/n", as = "title" }', "claims.fields.name.as"),
        ('[claims.fields]\nname = { at = "body:/n", was = "text" }', "claims.fields.name.was"),
        ('[claims]\nevidence = { type = "document" }', "claims.evidence"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_key(text: str, key: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        rules(text)
    assert caught.value.place == "acme.toml"
    assert caught.value.key == key


def test_every_provider_of_the_catalogue_has_rules_that_can_be_read() -> None:
    found = {entry.id: (entry.event.envelope, entry.event.dedupe) for entry in catalogue.providers()}
    assert found["zignsec"] == found["idenfy"] == (Envelope.NONE, Dedupe.BODY)
    assert found["seal_id"] == (Envelope.NONE, Dedupe.CONTENT)
    assert found["bankid_antifraud"] == (Envelope.CLOUDEVENTS, Dedupe.CLOUDEVENTS)


TREE: Json = {"a": {"b": [1, {"c": None}], "x/y": "slash", "m~n": "tilde", "": "empty"}, "*": "star", "0": "zero"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("body:", [TREE]),
        ("body:/a/b/0", [1]),
        ("body:/a/b/1/c", [None]),
        ("body:/a/x~1y", ["slash"]),
        ("body:/a/m~0n", ["tilde"]),
        ("body:/a/", ["empty"]),
        ("body:/0", ["zero"]),
        ("body:/a/b/2", []),
        ("body:/a/b/-1", []),
        ("body:/a/b/00000000", []),
        ("body:/a/b/c", []),
        ("body:/a/b/0/c", []),
        ("body:/none/b", []),
        ("body:/a/b/*", [1, {"c": None}]),
        ("body:/a/b/*/c", [None]),
        ("body:/a/b/**", [[1, {"c": None}], 1, {"c": None}, None]),
        ("header:x-id", ["7"]),
        ("header:x-none", []),
    ],
)
def test_locators_find_what_stands_there_and_nothing_else(text: str, found: list[Json]) -> None:
    locator = Locator.read(text, "acme.toml", "id")
    given = headers(None, ("x-id", "7"), ("x-id", "8"))
    assert list(locator.every(TREE, given)) == found
    first = locator.first(TREE, given)
    assert (first == found[0]) if found else (first is MISSING)


@pytest.mark.parametrize("tree", [[0] * 200_000, {str(n): [n] for n in range(100_000)}], ids=["list", "object"])
def test_a_wide_body_does_not_decide_how_long_we_search(tree: Json) -> None:
    for text in ("body:/**", "body:/*/x", "body:/*"):
        assert len(list(Locator.read(text, "", "").every(tree, ()))) <= MAX_VISITED


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("is = 1", 1, True),
        ("is = 1", True, False),
        ("is = true", True, True),
        ("is = true", 1, False),
        ("is = true", "true", False),
        ('is = "A"', "A", True),
        ('is = "A"', ["A"], False),
        ('is = "A"', {"A": 1}, False),
        ('in = ["A", 2]', 2, True),
        ('in = ["A", 2]', "2", False),
        ('like = "user.*"', "user.created", True),
        ('like = "user.*"', "USER.created", False),
        ('like = "user.*"', 5, False),
        ('like = "user.*"', "user." + "x" * 10_000, False),
        ("filled = true", "x", True),
        ("filled = true", 0, True),
        ("filled = true", False, True),
        ("filled = true", "", False),
        ("filled = true", [], False),
        ("filled = true", None, False),
        ("filled = false", {}, True),
        ("present = true", None, True),
        ("present = false", None, False),
    ],
)
def test_conditions_compare_as_json_does(condition: str, value: Json, holds: bool) -> None:
    text = f'[[event.kind]]\ntype = "account.changed"\nwhen = [{{ at = "body:/v", {condition} }}]'
    assert (reading(text, {"v": value}).kind(None).type is EventType.ACCOUNT_CHANGED) is holds


@pytest.mark.parametrize(
    ("condition", "holds"), [("present = false", True), ("filled = false", True), ('is = ""', False)]
)
def test_what_is_not_there_is_absent_and_equals_nothing(condition: str, holds: bool) -> None:
    text = f'[[event.kind]]\ntype = "account.changed"\nwhen = [{{ at = "body:/v", {condition} }}]'
    assert (reading(text, {}).kind(None).type is EventType.ACCOUNT_CHANGED) is holds


KINDS = """
[event]
type = ["header:x-type", "body:/type"]
outcome = { at = "body:/result", values = { ok = "approved" }, else = "review" }
final = true
[event.types]
"user.created" = "account.changed"
[[event.kind]]
type = "session.changed"
when = [{ at = "body:/a", is = 1 }, { at = "body:/b", is = 2 }]
outcome = "cancelled"
[[event.kind]]
type = "message.status.updated"
when = [{ at = "body:/a", is = 1 }]
"""


@pytest.mark.parametrize(
    ("tree", "type", "outcome", "final"),
    [
        ({"a": 1, "b": 2}, "session.changed", Outcome.CANCELLED, True),
        ({"a": 1, "result": "ok"}, "message.status.updated", Outcome.APPROVED, True),
        ({"type": "user.created", "result": "bad"}, "account.changed", Outcome.REVIEW, True),
        ({"type": "user.deleted", "result": "ok"}, "other", Outcome.UNKNOWN, False),
        ([], "other", Outcome.UNKNOWN, False),
        ("user.created", "other", Outcome.UNKNOWN, False),
    ],
)
def test_the_first_kind_that_fits_counts_then_the_types_then_other(
    tree: Json, type: str, outcome: Outcome, final: bool
) -> None:
    found = reading(KINDS, tree)
    kind = found.kind(found.type)
    assert (kind.type, found.outcome(kind), found.is_final(kind)) == (type, outcome, final)


def test_the_first_usable_place_counts() -> None:
    found = reading(KINDS, {"type": "from body"}, ("x-type", "from header"))
    assert found.type == "from header"
    assert replace(found, headers=headers(None, ("x-type", ""))).type == "from body"


CLAIMS = """
[event]
[[event.kind]]
type = "identity.verification.completed"
outcome = { at = "body:/outcome", values = { yes = "approved" } }
[claims]
verified = true
when = [{ at = "body:/checked", is = true }]
trust_framework = "body:/framework"
time = { at = "body:/t", as = "unix" }
[claims.fields]
given_name = "body:/first"
fixed = "text"
address = { country = "body:/country", kind = "home" }
nationalities = { at = "body:/country", as = "countries" }
level = { at = "body:/level", values = { A = "high" }, else = "low" }
[[claims.evidence]]
type = "document"
check_details = [{ check_method = "vri" }]
document_details = { type = { at = "body:/kind", else = "other" }, document_number = "body:/number" }
"""


def normalised(text: str, tree: Json) -> Event:
    provider = replace(catalogue.provider("zignsec"), event=rules(text))
    row = EventRow(
        id=EventId("e"), source=SourceId("s"), sequence=1, item=0, type="other", received_at=Instant(0), provider_type=None,
        provider_id=None, subject=None, time=None, flags=(), conflicts=0,
    )  # fmt: skip
    return normalise.event(provider, row, (), msgspec.json.encode(tree))


def claims(**tree: Any) -> tuple[Json, Json]:
    found = normalised(CLAIMS, tree)
    return found.claims, found.verified_claims


def test_claims_are_verified_only_when_approved_and_every_condition_holds() -> None:
    expected = {"given_name": "Å", "fixed": "text", "level": "low"}
    assert claims(first="Å", outcome="yes", checked=True) == (
        None,
        {"verification": {"trust_framework": "urn:hookseal:provider:zignsec"}, "claims": expected},
    )
    assert claims(first="Å", outcome="yes", checked=False) == (expected, None)
    assert claims(first="Å", outcome="no", checked=True) == (expected, None)


def test_fixed_text_alone_is_no_claim() -> None:
    assert claims(outcome="yes", checked=True) == (None, None)


def test_tables_without_a_field_that_was_found_are_left_out() -> None:
    _, verified = claims(country="se", number="7", framework="eidas", t=0, level="A", outcome="yes", checked=True)
    assert verified == {
        "verification": {
            "trust_framework": "eidas",
            "time": "1970-01-01T00:00:00.000000Z",
            "evidence": [
                {
                    "type": "document",
                    "check_details": [{"check_method": "vri"}],
                    "document_details": {"type": "other", "document_number": "7"},
                }
            ],
        },
        "claims": {
            "fixed": "text",
            "address": {"country": "se", "kind": "home"},
            "nationalities": ["SE"],
            "level": "high",
        },
    }
