"""A provider's rules, followed over one event: what kind is it, and what do its fields say?

Pure and total: the tree may be any JSON value at all. What a rule does not find is absent.
"""

from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.identity.rule_compiler import OTHER_KIND, CompiledKind, CompiledRules
from hookseal.message import Headers
from hookseal.model import Json, Outcome


@dataclass(frozen=True, slots=True)
class Reading:
    """One event and the rules to read it by. tree: its own object, None when the body did not parse."""

    rules: CompiledRules
    tree: Json
    headers: Headers

    @property
    def id(self) -> str | None:
        return self.rules.id(self.tree, self.headers)

    @property
    def type(self) -> str | None:
        """The provider's own type."""
        return self.rules.type(self.tree, self.headers)

    @property
    def subject(self) -> str | None:
        return self.rules.subject(self.tree, self.headers)

    @property
    def time(self) -> Instant | None:
        return self.rules.time(self.tree, self.headers)

    def kind(self, provider_type: str | None) -> CompiledKind:
        """Return the first row that fits; else what `[event.types]` says of the provider's own type; else `other`.

        A body that did not parse, or is no object or list, is `other` whatever its headers say: they may be unsigned.
        """
        tree, headers = self.tree, self.headers
        if not isinstance(tree, dict | list):
            return OTHER_KIND
        for kind in self.rules.kinds:
            if kind.holds(tree, headers):
                return kind
        return OTHER_KIND if provider_type is None else self.rules.types.get(provider_type, OTHER_KIND)

    def outcome(self, kind: CompiledKind) -> Outcome:
        return kind.outcome(self.tree, self.headers)

    def is_final(self, kind: CompiledKind) -> bool:
        return kind.is_final(self.tree, self.headers)

    def reasons(self, kind: CompiledKind) -> tuple[str, ...]:
        return kind.reasons(self.tree, self.headers)
