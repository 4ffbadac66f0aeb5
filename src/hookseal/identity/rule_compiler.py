"""A provider's rules as functions that read just what they need. Compiled once for each set of rules.

The rules are trees of small values (`catalogue.event_rules`). To walk them for each event costs several times the work of
reading the event. Here each rule becomes a closure over its own places, forms and tables. A closure takes the event's tree
and the request's headers. It is total: the tree may be any JSON value. What a rule does not find is absent.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hookseal.catalogue.event_rules import (
    OTHER,
    ClaimRules,
    Condition,
    EventRules,
    Field,
    Kind,
    Operator,
    OrderRules,
    OutcomeTable,
    Places,
    Template,
)
from hookseal.catalogue.locator import MISSING, Locator
from hookseal.clock import Instant
from hookseal.identity import values
from hookseal.message import Headers
from hookseal.model import EventType, Json, Outcome

MAX_REASONS = 50
_MAX_MATCHED = 4096
_MAX_COMPILED = 1024
"""Sets of rules that are kept: those of the catalog, and the revisions that stored events were made by."""

Get = Callable[[Json, Headers], Json]
"""Return the first value at a place, or MISSING."""
GetAll = Callable[[Json, Headers], Iterable[Json]]
Attribute = Callable[[Json, Headers], str | None]
Time = Callable[[Json, Headers], Instant | None]
Test = Callable[[Json, Headers], bool]
Fill = Callable[[Json, Headers], tuple[Json, bool]]
"""Return what a template became, and whether any of its fields was found."""


@dataclass(frozen=True, slots=True)
class CompiledKind:
    type: EventType
    holds: Test
    outcome: Callable[[Json, Headers], Outcome]
    is_final: Test
    reasons: Callable[[Json, Headers], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class CompiledOrder:
    """ranks: empty where states are not ranked."""

    holds: Test
    state: Attribute
    ranks: Mapping[str, int]
    time: Time


@dataclass(frozen=True, slots=True)
class CompiledClaims:
    """is_verified: whether the provider says that it verified the fields of an approved event."""

    fields: Fill
    is_verified: Test
    framework: Callable[[Json, Headers], Json]
    time: Time
    evidence: tuple[Fill, ...]


@dataclass(frozen=True, slots=True)
class CompiledRules:
    id: Attribute
    type: Attribute
    subject: Attribute
    time: Time
    kinds: tuple[CompiledKind, ...]
    types: Mapping[str, CompiledKind]
    order: CompiledOrder | None
    claims: CompiledClaims | None


# By identity: rules are values that are made once, when a file or a revision is loaded.
@lru_cache(maxsize=_MAX_COMPILED)
def compile_rules(rules: EventRules) -> CompiledRules:
    return CompiledRules(
        id=_attribute(rules.id),
        type=_attribute(rules.type),
        subject=_attribute(rules.subject),
        time=_time(rules.time),
        kinds=tuple(map(_kind, rules.kinds)),
        types={theirs: _kind(kind) for theirs, kind in rules.types.items()},
        order=None if rules.order is None else _order(rules.order),
        claims=None if rules.claims is None else _claims(rules.claims),
    )


def _kind(kind: Kind) -> CompiledKind:
    return CompiledKind(
        type=kind.type,
        holds=_all(kind.when),
        outcome=_outcome(kind.outcome),
        is_final=_constant(kind.final) if isinstance(kind.final, bool) else _condition(kind.final),
        reasons=_reasons(kind.reasons),
    )


def _order(rules: OrderRules) -> CompiledOrder:
    return CompiledOrder(
        holds=_all(rules.when), state=_attribute(rules.state), ranks=rules.ranks, time=_time(rules.time)
    )


def _claims(rules: ClaimRules) -> CompiledClaims:
    framework = rules.trust_framework
    return CompiledClaims(
        fields=_template(rules.fields),
        is_verified=_all(rules.when) if rules.verified else _constant(False),
        framework=_named(framework) if isinstance(framework, Field) else lambda tree, headers: framework,
        time=_time(rules.time),
        evidence=tuple(map(_template, rules.evidence)),
    )


def _named(rule: Field) -> Callable[[Json, Headers], Json]:
    fill = _template(rule)
    return lambda tree, headers: fill(tree, headers)[0]


# --- places


def _get(place: Locator) -> Get:
    """Return a function that finds what `place.first` finds."""
    if place.header is not None or place.spread or not 1 <= len(place.path) <= 3:
        return place.first
    slow = place.first
    first, second, third = (*place.path, "", "")[:3]

    # Of dictionaries only, a missing key raises KeyError; anything else on the way is a TypeError and takes the slow way.
    def get_1(tree: Json, headers: Headers) -> Json:
        try:
            return tree[first]
        except KeyError:
            return MISSING
        except (TypeError, IndexError):
            return slow(tree, headers)

    def get_2(tree: Json, headers: Headers) -> Json:
        try:
            return tree[first][second]
        except KeyError:
            return MISSING
        except (TypeError, IndexError):
            return slow(tree, headers)

    def get_3(tree: Json, headers: Headers) -> Json:
        try:
            return tree[first][second][third]
        except KeyError:
            return MISSING
        except (TypeError, IndexError):
            return slow(tree, headers)

    return (get_1, get_2, get_3)[len(place.path) - 1]


def _get_all(places: Places) -> GetAll:
    """Return a function that finds all values at some places, in the order of the places and of the body."""
    if not any(place.spread for place in places):
        gets = tuple(map(_get, places))
        if len(gets) == 1:
            get = gets[0]

            def get_only(tree: Json, headers: Headers) -> Iterable[Json]:
                value = get(tree, headers)
                return () if value is MISSING else (value,)

            return get_only
        return lambda tree, headers: [value for get in gets if (value := get(tree, headers)) is not MISSING]
    every = tuple(place.every for place in places)

    def get_every(tree: Json, headers: Headers) -> Iterable[Json]:
        for one in every:
            yield from one(tree, headers)

    return get_every


# --- what stands there


def _attribute(places: Places) -> Attribute:
    gets = tuple(map(_get, places))
    read = values.attribute

    def attribute(tree: Json, headers: Headers) -> str | None:
        for get in gets:
            value = get(tree, headers)
            if value is not MISSING and (text := read(value)) is not None:
                return text
        return None

    return attribute


def _time(rule: Field | None) -> Time:
    if rule is None:
        return lambda tree, headers: None
    gets, form = tuple(map(_get, rule.at)), rule.form

    def time(tree: Json, headers: Headers) -> Instant | None:
        for get in gets:
            value = get(tree, headers)
            if value is not MISSING and (instant := values.instant(value, form)) is not None:
                return instant
        return None

    return time


def _outcome(rule: Outcome | OutcomeTable) -> Callable[[Json, Headers], Outcome]:
    if not isinstance(rule, OutcomeTable):
        return lambda tree, headers: rule
    attribute, known, otherwise = _attribute(rule.at), rule.values, rule.otherwise

    def outcome(tree: Json, headers: Headers) -> Outcome:
        text = attribute(tree, headers)
        return otherwise if text is None else known.get(text, otherwise)

    return outcome


def _reasons(places: Places) -> Callable[[Json, Headers], tuple[str, ...]]:
    """Each once, in the order of the places; bounded like every list that a sender can make long."""
    if not places:
        return lambda tree, headers: ()
    every = tuple(place.every for place in places)

    def reasons(tree: Json, headers: Headers) -> tuple[str, ...]:
        texts: dict[str, None] = {}
        for one in every:
            for value in one(tree, headers):
                text = values.attribute(" ".join(value.split()) if isinstance(value, str) else value)
                if text is not None:
                    texts[text] = None
                if len(texts) >= MAX_REASONS:
                    return tuple(texts)
        return tuple(texts)

    return reasons


# --- conditions


def _constant(result: bool) -> Test:
    return lambda tree, headers: result


def _all(conditions: tuple[Condition, ...]) -> Test:
    tests = tuple(map(_condition, conditions))
    if not tests:
        return _constant(True)
    if len(tests) == 1:
        return tests[0]

    def all_hold(tree: Json, headers: Headers) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs more than the tests
            if not test(tree, headers):
                return False
        return True

    return all_hold


def _condition(condition: Condition) -> Test:
    wanted = condition.operand
    if condition.operator is Operator.PRESENT:
        gets = tuple(map(_get, condition.at))
        return lambda tree, headers: any(get(tree, headers) is not MISSING for get in gets) is wanted
    get_all = _get_all(condition.at)
    if condition.operator is Operator.FILLED:

        def is_filled(tree: Json, headers: Headers) -> bool:
            for value in get_all(tree, headers):
                if value is not None and value not in ("", [], {}):
                    return wanted is True
            return wanted is False

        return is_filled

    def matches(tree: Json, headers: Headers) -> bool:
        for value in get_all(tree, headers):  # noqa: SIM110 - as above
            if _matches(value, wanted):
                return True
        return False

    return matches


def _matches(value: Json, wanted: object) -> bool:
    if isinstance(wanted, frozenset):
        # The type belongs to the value: True == 1 in Python, but not in JSON. Lists and objects equal nothing.
        return isinstance(value, str | int) and (type(value), value) in wanted
    return isinstance(value, str) and len(value) <= _MAX_MATCHED and wanted.fullmatch(value) is not None  # type: ignore[attr-defined]


# --- templates


def _template(template: Template) -> Fill:
    """Compile a template.

    What was not found is left out, and so is every table or list that has fields of which none was found.
    """
    if isinstance(template, Field):
        return _field(template)
    if isinstance(template, str):
        text: tuple[Json, bool] = (template, False)
        return lambda tree, headers: text
    is_fixed = _is_fixed(template)
    if isinstance(template, list):
        fills = tuple(map(_template, template))

        def fill_list(tree: Json, headers: Headers) -> tuple[Json, bool]:
            value: list[Json] = []
            found = is_fixed
            for fill in fills:
                member, is_found = fill(tree, headers)
                found = found or is_found
                if member is not None:
                    value.append(member)
            return (value, not is_fixed) if found else (None, False)

        return fill_list
    entries = tuple((name, _template(inner)) for name, inner in template.items())

    def fill_table(tree: Json, headers: Headers) -> tuple[Json, bool]:
        value: dict[str, Json] = {}
        found = is_fixed
        for name, fill in entries:
            member, is_found = fill(tree, headers)
            found = found or is_found
            if member is not None:
                value[name] = member
        return (value, not is_fixed) if found else (None, False)

    return fill_table


def _field(rule: Field) -> Fill:
    get_all, form, known = _get_all(rule.at), rule.form, rule.values
    absent: tuple[Json, bool] = (rule.otherwise, False)

    def field(tree: Json, headers: Headers) -> tuple[Json, bool]:
        for value in get_all(tree, headers):
            if known is not None:
                value = known.get(value) if isinstance(value, str) else None
            claim = values.claim(value, form)
            if claim is not None:
                return claim, True
        return absent

    return field


def _is_fixed(template: Template) -> bool:
    """Return whether it has no field at all."""
    match template:
        case str():
            return True
        case Field():
            return False
        case list():
            return all(map(_is_fixed, template))
    return all(map(_is_fixed, template.values()))


OTHER_KIND = _kind(OTHER)
