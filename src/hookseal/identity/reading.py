"""A provider's rules, followed over one event: what kind is it, and what do its fields say?

Pure and total: the tree may be any JSON value at all. What a rule does not find is absent.
"""

from dataclasses import dataclass

from hookseal.catalogue.event_rules import (
    OTHER,
    Condition,
    EventRules,
    Field,
    Kind,
    Operator,
    OutcomeTable,
    Places,
    Template,
)
from hookseal.catalogue.locator import MISSING
from hookseal.clock import Instant
from hookseal.identity import values
from hookseal.message import Headers
from hookseal.model import Json, Outcome

MAX_REASONS = 50
_MAX_MATCHED = 4096


@dataclass(frozen=True, slots=True)
class Reading:
    """One event and the rules to read it by. tree: its own object, None when the body did not parse."""

    rules: EventRules
    tree: Json
    headers: Headers

    def attribute(self, places: Places) -> str | None:
        for place in places:
            found = values.attribute(place.first(self.tree, self.headers))
            if found is not None:
                return found
        return None

    def time(self, rule: Field | None) -> Instant | None:
        if rule is None:
            return None
        for place in rule.at:
            found = values.instant(place.first(self.tree, self.headers), rule.form)
            if found is not None:
                return found
        return None

    def kind(self, provider_type: str | None) -> Kind:
        """The first row that fits; else what `[event.types]` says of the provider's own type; else `other`.

        A body that did not parse, or is no object or list, is `other` whatever its headers say: they may be unsigned.
        """
        if not isinstance(self.tree, dict | list):
            return OTHER
        for kind in self.rules.kinds:
            if self.holds(kind.when):
                return kind
        return self.rules.types.get(provider_type, OTHER) if provider_type is not None else OTHER

    def outcome(self, kind: Kind) -> Outcome:
        rule = kind.outcome
        if not isinstance(rule, OutcomeTable):
            return rule
        found = self.attribute(rule.at)
        return rule.otherwise if found is None else rule.values.get(found, rule.otherwise)

    def is_final(self, kind: Kind) -> bool:
        return kind.final if isinstance(kind.final, bool) else self._holds(kind.final)

    def reasons(self, kind: Kind) -> tuple[str, ...]:
        """Each once, in the order of the places; bounded like every list that a stranger can make long."""
        found: dict[str, None] = {}
        for place in kind.reasons:
            for value in place.every(self.tree, self.headers):
                text = values.attribute(" ".join(value.split()) if isinstance(value, str) else value)
                if text is not None:
                    found[text] = None
                if len(found) >= MAX_REASONS:
                    return tuple(found)
        return tuple(found)

    def holds(self, conditions: tuple[Condition, ...]) -> bool:
        return all(self._holds(condition) for condition in conditions)

    def filled(self, template: Template) -> tuple[Json, bool]:
        """A template with its fields read: (what it became, whether any field was found).

        What was not found is left out, and so is every table or list that has fields of which none was found.
        """
        if isinstance(template, Field):
            claim = self._claim(template)
            return (template.otherwise if claim is None else claim), claim is not None
        if isinstance(template, str):
            return template, False
        value: Json
        if isinstance(template, list):
            members = [self.filled(one) for one in template]
            found = any(found for _, found in members)
            value = [value for value, _ in members if value is not None]
        else:
            entries = {name: self.filled(one) for name, one in template.items()}
            found = any(found for _, found in entries.values())
            value = {name: value for name, (value, _) in entries.items() if value is not None}
        return (value, found) if found or _is_fixed(template) else (None, False)

    def _claim(self, rule: Field) -> Json:
        for place in rule.at:
            for value in place.every(self.tree, self.headers):
                if rule.values is not None:
                    value = rule.values.get(value) if isinstance(value, str) else None
                found = values.claim(value, rule.form)
                if found is not None:
                    return found
        return None

    def _holds(self, condition: Condition) -> bool:
        wanted = condition.operand
        match condition.operator:
            case Operator.PRESENT:
                return self._any_present(condition.at) is wanted
            case Operator.FILLED:
                return self._any_filled(condition.at) is wanted
        for place in condition.at:
            for value in place.every(self.tree, self.headers):
                if _matches(value, wanted):
                    return True
        return False

    def _any_present(self, places: Places) -> bool:
        return any(place.first(self.tree, self.headers) is not MISSING for place in places)

    def _any_filled(self, places: Places) -> bool:
        for place in places:
            for value in place.every(self.tree, self.headers):
                if value is not None and value not in ("", [], {}):
                    return True
        return False


def _matches(value: Json, wanted: object) -> bool:
    if isinstance(wanted, frozenset):
        # The type belongs to the value: True == 1 in Python, but not in JSON. Lists and objects equal nothing.
        return isinstance(value, str | int) and (type(value), value) in wanted
    return isinstance(value, str) and len(value) <= _MAX_MATCHED and wanted.fullmatch(value) is not None  # type: ignore[attr-defined]


def _is_fixed(template: Template) -> bool:
    """Whether it has no field at all."""
    match template:
        case str():
            return True
        case Field():
            return False
        case list():
            return all(map(_is_fixed, template))
    return all(map(_is_fixed, template.values()))
