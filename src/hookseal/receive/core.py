"""The decision: is this request genuine, and what does it hold? Pure: values in, a value out, nothing awaited.

Nothing is parsed before the proof held. Nothing that a stranger sends can raise; an exception here is a fault of ours,
and the service answers it with 503.
"""

from dataclasses import dataclass, field

from hookseal.clock import Instant
from hookseal.identity.batch import Texts
from hookseal.identity.extract import EnvelopeInvalid, Extracted, Item, UnsupportedMedia, extract
from hookseal.message import Request
from hookseal.model import Reason
from hookseal.receive.source import Source
from hookseal.schemes.verdict import KeyNeeded, Keys, NotProven, Proven
from hookseal.steps import Steps, finish


@dataclass(frozen=True, slots=True)
class Genuine:
    """Proven, with what is to be stored. `items` is empty only for an empty CloudEvents batch.

    is_stale  too old, at a source that holds such requests: it is accepted, and left to a person.
    texts     of a batch, the text of each item.
    """

    proof: Proven
    items: tuple[Item, ...]
    is_stale: bool = False
    texts: Texts | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Certainly bad. `media_type`: proven, but in a media type that this source does not speak."""

    reason: Reason
    media_type: bool = False


@dataclass(frozen=True, slots=True)
class Undecided:
    """Cannot be judged before the key `kid` of the source's issuer has been looked for."""

    kid: str


_STALE = NotProven(Reason.TIMESTAMP_STALE)

Decision = Genuine | Refusal | Undecided


def decide(source: Source, request: Request, keys: Keys, now: Instant) -> Decision:
    """Judge one request against one source, at once."""
    return finish(deciding(source, request, keys, now))


def deciding(source: Source, request: Request, keys: Keys, now: Instant) -> Steps[Decision]:
    """Judge one request against one source, in steps.

    keys  the source's secrets, with the issuer's key set where the scheme needs one.
    The order is fixed: address, proof, envelope. The provider and its rule come from the source, never from the request.
    """
    if not source.allows(request.remote):
        return Refusal(Reason.ADDRESS_NOT_ALLOWED)
    verdict = Proven() if source.unsigned else source.scheme.verify(request, keys, now)
    is_stale = False
    if verdict == _STALE and source.ageless is not None:
        is_stale, verdict = True, source.ageless.verify(request, keys, now)
    match verdict:
        case NotProven(reason):
            return Refusal(reason)
        case KeyNeeded(kid):
            return Undecided(kid)
        case Proven() as proof:
            pass
    match (yield from extract(source.provider, request, proof)):
        case EnvelopeInvalid():
            return Refusal(Reason.ENVELOPE_INVALID)
        case UnsupportedMedia():
            return Refusal(Reason.ENVELOPE_INVALID, media_type=True)
        case Extracted(items, texts):
            return Genuine(proof, items, is_stale, texts)
