"""The cases that a receiver is judged by: for one provider, what to send, what a correct receiver answers, and why.

Nearly all of them follow from the provider's entry: from the columns of its scheme, its envelope, its handshake, its
reading of statuses. So a provider that is added to the catalogue can be assessed without a line of code.
"""

from collections.abc import Iterator

from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import KeyedHash
from hookseal.simulate.cases import (
    bodies,
    changed,
    connections,
    envelope,
    events,
    handshake,
    signature,
    timestamp,
    token,
)
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.cases.vocabulary import Case


def cases_of(sender: Sender) -> tuple[Case, ...]:
    """All cases of the sender's provider, group by group, the stalled connection last: it may block a simple server."""
    return tuple(_cases_of(sender))


def _cases_of(sender: Sender) -> Iterator[Case]:
    yield from handshake.cases(sender)
    yield from events.cases(sender)
    if sender.provider.envelope == "cloudevents":
        yield from envelope.cases(sender)
    else:
        yield from bodies.cases(sender)
    match sender.scheme:
        case KeyedHash() as scheme:
            yield from signature.cases(sender, scheme)
            yield from timestamp.cases(sender, scheme)
            yield from changed.cases(sender, scheme)
        case JwtBearer() as scheme:
            yield from token.cases(sender, scheme)
    yield from connections.cases(sender)
