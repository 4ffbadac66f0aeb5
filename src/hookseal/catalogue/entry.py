"""A provider: what its file says, as values.

Four kinds of columns: how a request is proven (`scheme`), what the secret is (`secret`), where the fields are (`event`),
and how the provider behaves (`answers`, `handshake`, `retry`, `sending`, `addresses`). Decides how an operator's options
become columns of the scheme; knows no source, no secret's value and no file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hookseal.catalogue.event_rules import EventRules
from hookseal.errors import ConfigurationError
from hookseal.model import MappingRevision, ProviderId
from hookseal.schemes import SCHEMES
from hookseal.schemes.columns import from_columns
from hookseal.schemes.verdict import Scheme


class OptionKind(StrEnum):
    TEXT = "text"
    TEXTS = "texts"  # a list; a lone text is a list of one
    CHOICE = "choice"
    RATE = "rate"  # "*" or requests per minute, 1 or more
    URL = "url"
    KEY_SET = "key_set"  # a JWK set, for judging offline


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that an operator may or must say of a source.

    column   the column of the scheme that it fills; "" when others read it (see `handshake`).
    default  None where there is none; then the column's own default holds, unless the option is required.
    choices  for `choice` only.
    """

    name: str
    help: str
    kind: OptionKind = OptionKind.TEXT
    required: bool = False
    default: object = None
    choices: tuple[str, ...] = ()
    column: str = ""

    def value_of(self, given: object) -> object:
        """The option's value in the form that others use. ConfigurationError with the option's name as key."""
        if self.kind is OptionKind.KEY_SET:
            if isinstance(given, str | bytes | Mapping):
                return given
            raise self._fault("must be a JWK set")
        if self.kind is OptionKind.TEXTS:
            values = list(given) if isinstance(given, list | tuple) else [given]
            return tuple(self._text(value) for value in values)
        if self.kind is OptionKind.RATE:
            # int() would take `1_000`, `+5`, blanks and the digits of other scripts.
            # In range before it is text: Python writes no integer of more than 4300 digits.
            is_number = isinstance(given, int) and not isinstance(given, bool) and 0 < given < 10**9
            rate = str(given) if is_number else given
            if not isinstance(rate, str) or not _RATE.fullmatch(rate):
                raise self._fault('must be "*" or a whole number of requests per minute, 1 or more')
            return "*" if rate == "*" else int(rate)
        text = self._text(given)
        if self.kind is OptionKind.CHOICE and text not in self.choices:
            raise self._fault(f"must be one of {', '.join(self.choices)}")
        if self.kind is OptionKind.URL and not _URL.fullmatch(text):
            raise self._fault("must be an http or https URL")
        return text

    def _text(self, given: object) -> str:
        if not isinstance(given, str) or not given or given.strip() != given:
            raise self._fault("must be a text without blank space around it")
        return given

    def _fault(self, remedy: str) -> ConfigurationError:
        return ConfigurationError("", self.name, remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHelp:
    """What the provider calls its secret, and where one finds it. label "": there is none.

    issued  whether the provider makes it; a secret made by anybody else verifies nothing.
    """

    label: str = ""
    where: str = ""
    issued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Statuses: `accepted` 200, 201, 202 or 204, `refused` for a wrong proof. challenge: the WWW-Authenticate value."""

    accepted: int = 200
    refused: int = 401
    refused_title: str = "Not proven"
    challenge: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """How the provider asks for consent. kind "options": CloudEvents' OPTIONS call.

    origins          who may be granted, in lower case.
    rate_option      the option that holds the granted rate.
    callback_option  the option that lists hosts whose callback URLs may be called.
    """

    kind: str
    origins: tuple[str, ...]
    rate_option: str = ""
    callback_option: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What its requests look like besides the proof, for acting as the provider.

    unsigned  whether it also sends requests without a proof, to registrations that have no key.
    """

    format: str = "json"
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 15.0
    unsigned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A body as the provider sends it, and the headers that come with it besides the proof."""

    name: str
    body: bytes
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One entry of the catalogue.

    docs          the public pages that the facts come from.
    checked       when a person last compared them, YYYY-MM-DD.
    scheme_kind   key of `SCHEMES`; `scheme_table` holds its columns before options are filled in.
    proof_headers in lower case: what the proof needs, in all spellings.
    credentials   in lower case: headers that would let a reader act as the provider; neither stored nor forwarded.
    covers_body   False where the proof does not cover the body (bearer tokens).
    retry         name of the policy that the provider retries by.
    publishes_waits  whether the waits of that policy are the provider's own words; else they are chosen by us.
    permanent     statuses that end a delivery, where they are not that policy's; see `delivery.policy` for the grammar.
    addresses     published addresses or CIDRs that it sends from; `addresses_source` says where they stand.
    """

    id: ProviderId
    name: str
    docs: tuple[str, ...]
    checked: str
    scheme_kind: str
    scheme_table: Mapping[str, Any]
    event: EventRules
    mapping: MappingRevision
    notes: str = ""
    secret: SecretHelp = SecretHelp()
    options: Mapping[str, Option] = field(default_factory=dict)
    answers: Answers = Answers()
    proof_headers: tuple[bytes, ...] = ()
    credentials: tuple[bytes, ...] = ()
    covers_body: bool = True
    handshake: Handshake | None = None
    retry: str = "standard"
    publishes_waits: bool = False
    permanent: tuple[str, ...] | None = None
    sending: Sending = Sending()
    addresses: tuple[str, ...] = ()
    addresses_source: str = ""
    examples: Mapping[str, Example] = field(default_factory=dict)

    @property
    def dedupe(self) -> str:
        """What the dedupe key is made of: "body", "content" (what the proof covers) or "cloudevents"."""
        return self.event.dedupe.value

    @property
    def envelope(self) -> str:
        """The media type's family that alone is spoken: "cloudevents", or "none" for any."""
        return self.event.envelope.value

    def settled(self, options: Mapping[str, object]) -> dict[str, object]:
        """All options with their values, defaults filled in; options without a value are left out.

        ConfigurationError, its place "", its key the option, for an unknown, missing or impossible one.
        """
        values, faults = self._settled(options)
        if faults:
            raise faults[0]
        return values

    def option_faults(self, options: Mapping[str, object]) -> tuple[ConfigurationError, ...]:
        """Every fault that `settled` could raise."""
        return tuple(self._settled(options)[1])

    def _settled(self, options: Mapping[str, object]) -> tuple[dict[str, object], list[ConfigurationError]]:
        known = f"; it knows {', '.join(self.options)}" if self.options else ""
        unknown = [name for name in options if name not in self.options]
        faults = [ConfigurationError("", name, f"is no option of {self.id}{known}") for name in unknown]
        values: dict[str, object] = {}
        for name, option in self.options.items():
            try:
                if name in options:
                    values[name] = option.value_of(options[name])
                elif option.required:
                    raise ConfigurationError("", name, f"is required: {option.help}")
                elif option.default is not None:
                    values[name] = option.value_of(option.default)
            except ConfigurationError as fault:
                faults.append(fault)
        return values, faults

    def bind(self, options: Mapping[str, object], max_age_s: int | None = None) -> Scheme:
        """The scheme with an operator's options in its columns.

        max_age_s  takes the place of the tolerance that the entry gives; None leaves that.
        ConfigurationError as in `settled`, and when `max_age_s` is given where the proof carries no time.
        """
        columns = dict(self.scheme_table)
        for name, value in self.settled(options).items():
            if self.options[name].column:
                columns[self.options[name].column] = value
        scheme: Scheme = from_columns(SCHEMES[self.scheme_kind], columns)
        return scheme if max_age_s is None else scheme.limited(max_age_s)


_RATE = re.compile(r"\*|[1-9][0-9]{0,8}", re.ASCII)
_URL = re.compile(r"https?://[!-~]+")
