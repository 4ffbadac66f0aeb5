"""What each provider sends: examples by name, and how a new one is made out of an example.

A body is never parsed and written again: an event becomes new by replacing ids and times in its bytes with others of the
same length, so that order of keys, nulls and characters stay as the provider has them.

Knows nothing of proofs, addresses and retries. Providers without a repertoire have the examples of their catalogue entry.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import UUID

from hookseal.catalogue import Provider
from hookseal.clock import Instant, to_datetime
from hookseal.errors import ConfigurationError
from hookseal.ids import RandomBytes
from hookseal.simulate.example import Call as Call
from hookseal.simulate.example import Draft, Form
from hookseal.simulate.example import Example as Example
from hookseal.simulate.example import Expected as Expected
from hookseal.simulate.repertoire import EXAMPLES as EXAMPLES


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
