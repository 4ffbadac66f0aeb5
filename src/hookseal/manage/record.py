"""A registration that was made through the API, as it lies in the store: the table as in the file, and what rotates.

It decides which secrets are live at a moment. The table's secrets stand in `signing.secrets` of an endpoint and in
`secrets` of a source, the newest first; one that was rotated out is live until its end, and then, of a source, retired.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from hookseal.clock import Instant
from hookseal.model import Json
from hookseal.settings.table import Section

MOST_LIVE = 8
"""Secrets of one registration that may be live at once; each costs a comparison, or a signature, per request."""


FORMAT = 1
"""The newest format of a stored registration that this version reads. Raise it for a change that an earlier version must
not ignore; it then answers 503 for the registration instead of using a part of it."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are only ever added, with a default. ends: secret → the instant at which it is live no more."""

    table: dict[str, Any]
    ends: dict[str, int] = {}
    format: int = FORMAT

    def __repr__(self) -> str:
        return "Record(...)"  # secrets stand in both


@dataclass(frozen=True, slots=True)
class Written:
    """One record of one kind, to be read and changed as a value."""

    section: Section
    record: Record

    @property
    def secrets(self) -> tuple[str, ...]:
        """Those in the table, ended ones included. Nothing of what is not text: the reader of settings refuses that."""
        given = _signing(self.record.table).get("secrets") if self._is_endpoint else self.record.table.get("secrets")
        return tuple(one for one in given if isinstance(one, str)) if isinstance(given, list) else ()

    @property
    def _is_endpoint(self) -> bool:
        return self.section is Section.ENDPOINT

    def in_force(self, now: Instant) -> dict[str, Any]:
        """The table as it counts at a moment."""
        ended = [one for one in self.secrets if self.record.ends.get(one, now + 1) <= now]
        if not ended:
            return dict(self.record.table)
        live = [one for one in self.secrets if one not in ended]
        table = self._with(live).record.table
        if not self._is_endpoint:
            table = {**table, "retired_secrets": [*dict.fromkeys([*ended, *table.get("retired_secrets", ())])]}
        return table

    def next_end(self, now: Instant) -> Instant | None:
        """When the next secret ends; None when none will."""
        ends = [self.record.ends[one] for one in self.secrets if self.record.ends.get(one, 0) > now]
        return Instant(min(ends)) if ends else None

    def rotated(self, secret: str, now: Instant, until: Instant) -> "Written":
        """With a new secret in front; those that were live are so until then, or until their own earlier end."""
        table = self.in_force(now)
        kept = Written(self.section, Record(table=table)).secrets
        ends = {one: min(until, self.record.ends.get(one, until)) for one in kept if one != secret}
        made = Written(self.section, Record(table=table))._with([secret, *(one for one in kept if one != secret)])
        return Written(self.section, Record(table=made.record.table, ends=ends))

    def changed(self, patch: Mapping[str, Json]) -> "Written":
        """With these keys in place of its own (RFC 7396 one level deep: null takes a key away).

        A signing scheme that is named again without a secret keeps the secrets it has.
        """
        merged = {**self.record.table, **patch}
        table = {name: value for name, value in merged.items() if value is not None}
        new = Written(self.section, Record(table=table)).normal()
        if self._is_endpoint and "signing" in patch and isinstance(patch["signing"], dict):
            before, after = _signing(self.record.table), _signing(new.record.table)
            if not new.secrets and after.get("scheme") == before.get("scheme"):
                new = new._with(list(self.secrets))
        ends = self.record.ends if new.secrets == self.secrets else {}  # secrets that are named anew are all live
        return Written(self.section, Record(table=new.record.table, ends=ends))

    def normal(self) -> "Written":
        """With `signing.secret` written as the list that it stands for."""
        signing = _signing(self.record.table)
        if not self._is_endpoint or "secret" not in signing or "secrets" in signing:
            return self
        rest = {name: value for name, value in signing.items() if name != "secret" and value is not None}
        secrets = {} if signing["secret"] is None else {"secrets": [signing["secret"]]}
        table = {**self.record.table, "signing": {**rest, **secrets}}
        return Written(self.section, Record(table=table, ends=self.record.ends))

    def with_secret(self, secret: str) -> "Written":
        """With this one and no other."""
        return self._with([secret])

    def _with(self, secrets: list[str]) -> "Written":
        table = self.record.table
        if self._is_endpoint:
            signing = _signing(table)
            table = {**table, "signing": {**signing, "secrets": secrets} if secrets else signing}
        else:
            table = {**table, "secrets": secrets}
        return Written(self.section, Record(table=table, ends=self.record.ends))


def _signing(table: Mapping[str, Any]) -> dict[str, Any]:
    signing = table.get("signing")
    return signing if isinstance(signing, dict) else {}
