"""What a provider's requests mean, as data: the tables `[event]`, `[[event.kind]]` and `[claims]` of its file.

It decides which rules can be written and refuses a file that writes anything else. It does not know any provider, and
it reads no request: `identity` follows these rules, and a rule that finds nothing leaves its field absent.

    [event]
    envelope  "none" (one request, one event) | "cloudevents" (structured or batch)
    dedupe    "body" | "content" (the bytes that the proof covers, minified) | "cloudevents" (source and id)
    id, type, subject   where they stand: a locator, or several of which the first usable one counts
    time      a locator (RFC 3339), or { at = ..., as = a form }
    numbers   places that are numbers also in XML, which has no types
    outcome, final, reasons   for every kind that does not say otherwise
    types     { theirs = ours }, asked when no kind fits

    [[event.kind]]   the first whose every condition holds gives the event's type
    when      [{ at = locator, is | in | like | filled | present = ... }, ...]; with a wildcard: one value is enough
    type      one of ours
    outcome   one of ours, or { at = locator, values = { theirs = ours }, else = ours }
    final     true, false or one condition
    reasons   locators

    [event.order]    which of two states of one subject is the later one, however they arrive; none: the provider says nothing
    when      as in a kind; an event that it does not hold for has no place in the order
    state     where the state stands, with
    ranks     [["first"], ["next", "its other spelling"], ...]; a state that is not listed has no place in the order
    time      like the event's; decides between equal states. A final state (see `final`) comes after every other

    [claims]
    verified         whether the provider says that it verified these fields (outcome approved, and `when` holds)
    trust_framework  text or locator; `urn:hookseal:provider:<id>` when absent
    time             like the event's
    fields           a tree of claims; a leaf is a locator, { at, as, values, else }, or fixed text
    evidence         a list of such trees

A field of `as = form` is text in that form; see `Form`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import translate
from typing import TypeVar

from hookseal.catalogue.locator import Locator, is_locator
from hookseal.errors import CatalogueError
from hookseal.model import EventType, Json, Outcome

Places = tuple[Locator, ...]
Choice = TypeVar("Choice", bound=StrEnum)


class Envelope(StrEnum):
    NONE = "none"
    CLOUDEVENTS = "cloudevents"


class Dedupe(StrEnum):
    BODY = "body"
    CONTENT = "content"
    CLOUDEVENTS = "cloudevents"


class Form(StrEnum):
    """How a value is written by the provider, and what becomes of it."""

    TEXT = "text"  # as it is
    UPPER = "upper"
    LOWER = "lower"
    DATE = "date"  # YYYY-MM-DD, YYYYMMDD or a time that begins so → YYYY-MM-DD
    RFC3339 = "rfc3339"  # a time → RFC 3339, UTC
    UNIX = "unix"  # seconds → the same
    UNIX_MS = "unix_ms"  # milliseconds → the same
    ISO_BASIC = "iso_basic"  # 20221115T090914Z → the same
    COUNTRY = "country"  # two or three letters → upper case
    COUNTRIES = "countries"  # one country → a list of it


TIME_FORMS = frozenset({Form.RFC3339, Form.UNIX, Form.UNIX_MS, Form.ISO_BASIC})


class Operator(StrEnum):
    IS = "is"
    IN = "in"
    LIKE = "like"
    FILLED = "filled"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Condition:
    """operand: a frozenset of scalars for IS and IN, a compiled pattern for LIKE, a bool for FILLED and PRESENT.

    FILLED means present and neither null nor empty; PRESENT means there, null included.
    """

    at: Places
    operator: Operator
    operand: "frozenset[tuple[type, Json]] | re.Pattern[str] | bool"


@dataclass(frozen=True, slots=True)
class Field:
    """values: their spelling → ours; a value that it does not list is absent. otherwise: what stands for an absent one."""

    at: Places
    form: Form = Form.TEXT
    values: Mapping[str, str] | None = None
    otherwise: str | None = None


Template = Field | str | dict[str, "Template"] | list["Template"]
"""A tree of claims or evidence: its leaves are fields to read and fixed text."""


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    at: Places
    values: Mapping[str, Outcome]
    otherwise: Outcome = Outcome.UNKNOWN


OutcomeRule = Outcome | OutcomeTable
FinalRule = bool | Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    type: EventType
    when: tuple[Condition, ...] = ()
    outcome: OutcomeRule = Outcome.UNKNOWN
    final: FinalRule = False
    reasons: Places = ()


MAX_RANK = 63

OTHER = Kind(type=EventType.OTHER)
"""What no rule maps: stored and delivered, and nothing said about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRules:
    """ranks: a state's rank, from 1; empty where states are not ranked."""

    when: tuple[Condition, ...] = ()
    state: Places = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    time: Field | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    verified: bool = False
    when: tuple[Condition, ...] = ()
    trust_framework: Field | str | None = None
    time: Field | None = None
    fields: dict[str, Template] = field(default_factory=dict)
    evidence: tuple[Template, ...] = ()


# Compared by identity, so that what is compiled of them can be looked up by them.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EventRules:
    """types: kinds by the provider's own type, made of `[event.types]`."""

    envelope: Envelope = Envelope.NONE
    dedupe: Dedupe = Dedupe.BODY
    id: Places = ()
    type: Places = ()
    subject: Places = ()
    time: Field | None = None
    numbers: Places = ()
    kinds: tuple[Kind, ...] = ()
    types: Mapping[str, Kind] = field(default_factory=dict)
    order: OrderRules | None = None
    claims: ClaimRules | None = None

    @staticmethod
    def from_toml(tables: Mapping[str, Json], place: str) -> "EventRules":
        """From the whole parsed provider file, of which only `event` and `claims` are read.

        place  the file's name, for the error. CatalogueError names the key and what to write instead.
        """
        return _Reader(place).event_rules(tables.get("event", {}), tables.get("claims"))


class _Reader:
    def __init__(self, place: str) -> None:
        self.place = place

    def fail(self, key: str, remedy: str) -> CatalogueError:
        return CatalogueError(self.place, key, remedy)

    def event_rules(self, event: Json, claims: Json) -> EventRules:
        table = self.table(
            event,
            "event",
            "envelope dedupe id type subject time numbers outcome final reasons types kind order",
        )
        envelope = self.choice(Envelope, table.get("envelope", "none"), "event.envelope")
        dedupe = self.choice(Dedupe, table.get("dedupe", "body"), "event.dedupe")
        if (envelope is Envelope.CLOUDEVENTS) != (dedupe is Dedupe.CLOUDEVENTS):
            raise self.fail("event.dedupe", 'dedupe = "cloudevents" and envelope = "cloudevents" go together')
        usual = Kind(
            type=EventType.OTHER,
            outcome=self.outcome(table.get("outcome", "unknown"), "event.outcome"),
            final=self.final(table.get("final", False), "event.final"),
            reasons=self.places(table.get("reasons", []), "event.reasons"),
        )
        kinds = self.items(table.get("kind", []), "event.kind")
        types = self.mapping(table.get("types", {}), "event.types")
        numbers = self.places(table.get("numbers", []), "event.numbers")
        if any(number.spread or number.header is not None for number in numbers):
            raise self.fail("event.numbers", "write places in the body, without wildcards")
        return EventRules(
            envelope=envelope,
            dedupe=dedupe,
            id=self.places(table.get("id", []), "event.id"),
            type=self.places(table.get("type", []), "event.type"),
            subject=self.places(table.get("subject", []), "event.subject"),
            time=self.time(table.get("time"), "event.time"),
            numbers=numbers,
            kinds=tuple(self.kind(row, f"event.kind[{at}]", usual) for at, row in enumerate(kinds)),
            types={
                theirs: Kind(
                    type=self.choice(EventType, ours, f"event.types.{theirs}"),
                    outcome=usual.outcome,
                    final=usual.final,
                    reasons=usual.reasons,
                )
                for theirs, ours in types.items()
            },
            order=None if "order" not in table else self.order(table["order"]),
            claims=None if claims is None else self.claims(claims),
        )

    def order(self, order: Json) -> OrderRules:
        table = self.table(order, "event.order", "when state ranks time")
        if ("state" in table) != ("ranks" in table):
            raise self.fail("event.order.ranks", "state and ranks go together")
        ranks: dict[str, int] = {}
        for rank, states in enumerate(self.items(table.get("ranks", []), "event.order.ranks"), 1):
            for state in self.items(states, f"event.order.ranks[{rank - 1}]"):
                if not isinstance(state, str) or state in ranks:
                    raise self.fail(f"event.order.ranks[{rank - 1}]", "write each state once, as a text")
                ranks[state] = rank
        if max(ranks.values(), default=0) > MAX_RANK:
            raise self.fail("event.order.ranks", f"write at most {MAX_RANK} ranks")
        return OrderRules(
            when=self.conditions(table.get("when", []), "event.order.when"),
            state=self.places(table.get("state", []), "event.order.state"),
            ranks=ranks,
            time=self.time(table.get("time"), "event.order.time"),
        )

    def kind(self, row: Json, key: str, usual: Kind) -> Kind:
        table = self.table(row, key, "when type outcome final reasons")
        if "type" not in table:
            raise self.fail(f"{key}.type", "name the event's type")
        return Kind(
            type=self.choice(EventType, table["type"], f"{key}.type"),
            when=self.conditions(table.get("when", []), f"{key}.when"),
            outcome=self.outcome(table["outcome"], f"{key}.outcome") if "outcome" in table else usual.outcome,
            final=self.final(table["final"], f"{key}.final") if "final" in table else usual.final,
            reasons=self.places(table["reasons"], f"{key}.reasons") if "reasons" in table else usual.reasons,
        )

    def claims(self, claims: Json) -> ClaimRules:
        table = self.table(claims, "claims", "verified when trust_framework time fields evidence")
        framework = table.get("trust_framework")
        fields = self.template(table.get("fields", {}), "claims.fields")
        if not isinstance(fields, dict):
            raise self.fail("claims.fields", "write a table of claims")
        if not isinstance(table.get("verified", False), bool):
            raise self.fail("claims.verified", "write true or false")
        return ClaimRules(
            verified=table.get("verified", False),
            when=self.conditions(table.get("when", []), "claims.when"),
            trust_framework=None if framework is None else self.leaf(framework, "claims.trust_framework"),
            time=self.time(table.get("time"), "claims.time"),
            fields=fields,
            evidence=tuple(
                self.template(row, f"claims.evidence[{at}]")
                for at, row in enumerate(self.items(table.get("evidence", []), "claims.evidence"))
            ),
        )

    def template(self, value: Json, key: str) -> Template:
        if isinstance(value, list):
            return [self.template(one, f"{key}[{at}]") for at, one in enumerate(value)]
        if isinstance(value, dict) and "at" not in value:
            return {name: self.template(one, f"{key}.{name}") for name, one in value.items()}
        return self.leaf(value, key)

    def leaf(self, value: Json, key: str) -> Field | str:
        if isinstance(value, str) and not is_locator(value):
            return value
        return self.field(value, key)

    def field(self, value: Json, key: str) -> Field:
        if isinstance(value, str):
            return Field(self.places(value, key))
        table = self.table(value, key, "at as values else")
        otherwise = table.get("else")
        if not isinstance(otherwise, str | None):
            raise self.fail(f"{key}.else", "write a text")
        return Field(
            self.places(table.get("at"), f"{key}.at"),
            self.choice(Form, table.get("as", "text"), f"{key}.as"),
            self.mapping(table["values"], f"{key}.values") if "values" in table else None,
            otherwise,
        )

    def time(self, value: Json, key: str) -> Field | None:
        if value is None:
            return None
        found = self.field(value, key)
        form = Form.RFC3339 if isinstance(value, str) else found.form
        if form not in TIME_FORMS or found.values is not None or found.otherwise is not None:
            raise self.fail(f"{key}.as", f"write one of {', '.join(sorted(TIME_FORMS))}")
        return Field(found.at, form)

    def outcome(self, value: Json, key: str) -> OutcomeRule:
        if isinstance(value, str):
            return self.choice(Outcome, value, key)
        table = self.table(value, key, "at values else")
        values = self.mapping(table.get("values", {}), f"{key}.values")
        return OutcomeTable(
            self.places(table.get("at"), f"{key}.at"),
            {theirs: self.choice(Outcome, ours, f"{key}.values.{theirs}") for theirs, ours in values.items()},
            self.choice(Outcome, table.get("else", "unknown"), f"{key}.else"),
        )

    def final(self, value: Json, key: str) -> FinalRule:
        return value if isinstance(value, bool) else self.condition(value, key)

    def conditions(self, rows: Json, key: str) -> tuple[Condition, ...]:
        return tuple(self.condition(row, f"{key}[{at}]") for at, row in enumerate(self.items(rows, key)))

    def condition(self, row: Json, key: str) -> Condition:
        table = self.table(row, key, "at is in like filled present")
        operators = [operator for operator in Operator if operator.value in table]
        if len(operators) != 1:
            raise self.fail(key, "write exactly one of is, in, like, filled, present")
        operator = operators[0]
        return Condition(
            self.places(table.get("at"), f"{key}.at"),
            operator,
            self.operand(operator, table[operator.value], f"{key}.{operator.value}"),
        )

    def operand(
        self, operator: Operator, value: Json, key: str
    ) -> "frozenset[tuple[type, Json]] | re.Pattern[str] | bool":
        match operator, value:
            case Operator.IS, str() | int() | bool():
                return frozenset({(type(value), value)})
            case Operator.IN, [_, *_] if all(isinstance(one, str | int) for one in value):
                return frozenset((type(one), one) for one in value)
            case Operator.LIKE, str():
                return re.compile(translate(value))
            case ((Operator.FILLED | Operator.PRESENT), bool()):
                return value
        raise self.fail(key, "is: one value; in: a list of values; like: a glob; filled, present: true or false")

    def places(self, value: Json, key: str) -> Places:
        texts = value if isinstance(value, list) else [value]
        return tuple(Locator.read(text, self.place, key) for text in texts)

    def table(self, value: Json, key: str, known: str) -> dict[str, Json]:
        if not isinstance(value, dict):
            raise self.fail(key, "write a table")
        for name in value:
            if name not in known.split():
                raise self.fail(f"{key}.{name}", f"unknown key; known are {', '.join(known.split())}")
        return value

    def mapping(self, value: Json, key: str) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise self.fail(key, "write a table of texts")
        return dict(value)

    def items(self, value: Json, key: str) -> list[Json]:
        if not isinstance(value, list):
            raise self.fail(key, "write a list")
        return value

    def choice(self, options: type[Choice], value: Json, key: str) -> Choice:
        try:
            return options(value)
        except ValueError:
            known = ", ".join(option.value for option in options)
            raise self.fail(key, f"write one of {known}") from None
