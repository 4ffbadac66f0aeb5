"""The provider's hands in an assessment: makes new events, proves them, and takes proofs apart.

A request is made whole and good first; a case then changes one thing of it. All times and random bytes are handed in.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from hookseal.catalogue import Provider
from hookseal.clock import Instant
from hookseal.delivery.policy import RetryPolicy, of_provider
from hookseal.ids import RandomBytes
from hookseal.message import Headers, Request, headers_of
from hookseal.schemes.verdict import Scheme, SigningKeys
from hookseal.simulate.examples import Call, calls_of, examples_of
from hookseal.simulate.wire import Sent

_SHORTEST_TELLTALE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """keys: what the receiver trusts. url: the receiver's, for schemes that sign it."""

    provider: Provider
    scheme: Scheme
    keys: SigningKeys
    url: str
    random_bytes: RandomBytes

    @property
    def policy(self) -> RetryPolicy:
        return of_provider(self.provider)

    def event(self, now: Instant, example: str = "") -> tuple[Call, ...]:
        """The calls of a new event; the provider's own printed example where none is named."""
        examples = examples_of(self.provider)
        chosen = examples[example] if example else next(iter(examples.values()))
        return calls_of(self.provider, chosen, now, self.random_bytes)

    def call(self, now: Instant) -> Call:
        return self.event(now)[0]

    def plain(self, call: Call) -> Headers:
        """All headers but the proof, in the provider's spelling."""
        pairs = [("Content-Type", call.content_type), *call.headers]
        return tuple((name.encode(), value.encode()) for name, value in pairs)

    def proof(self, call: Call, now: Instant, keys: SigningKeys | None = None) -> Headers:
        """The headers of the proof over this call, made now."""
        request = Request(method="POST", headers=headers_of(self.plain(call)), body=call.body, url=self.url)
        pairs = self.scheme.sign(request, keys or self.keys, now)
        return tuple((name.encode(), value.encode()) for name, value in pairs)

    def good(self, call: Call, now: Instant) -> Sent:
        return Sent(headers=self.plain(call) + self.proof(call, now), body=call.body, telltales=self.telltales)

    def accepts(self, sent: Sent, now: Instant) -> bool | None:
        """What our own verifier makes of a request; None where it needs a key set."""
        from hookseal.schemes.verdict import KeyNeeded, Keys, Proven

        headers = headers_of(sent.headers)
        request = Request(method=sent.method, headers=headers, body=sent.body, url=self.url)
        verdict = self.scheme.verify(request, Keys(secrets=(self.keys.secret,)), now)
        return None if isinstance(verdict, KeyNeeded) else isinstance(verdict, Proven)

    @property
    def telltales(self) -> tuple[bytes, ...]:
        secret = self.keys.secret
        return (secret,) if len(secret) >= _SHORTEST_TELLTALE and self.keys.private_key is None else ()


def changed(call: Call, change: Callable[[bytes], bytes]) -> Call:
    return replace(call, body=change(call.body))


def with_member(call: Call, member: bytes) -> Call | None:
    """The same event with one more member of its JSON object; None where it is none. member: `"name":value`.

    In a CloudEvents envelope it goes into `data`: attributes may not hold everything.
    """
    inside = b'"data":{'
    if call.content_type.startswith("application/cloudevents") and call.body.count(inside) == 1:
        return changed(call, lambda body: body.replace(inside, inside + member + b","))
    if not is_json_object(call.body):
        return None
    return changed(call, lambda body: body[: body.rindex(b"}")] + b"," + member + b"}")


def is_json_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def indented(body: bytes, newline: bytes = b"\n", indent: str | int = 4) -> bytes:
    """Pretty-printed, characters and order kept."""
    text = json.dumps(json.loads(body), indent=indent, ensure_ascii=False)
    return text.encode().replace(b"\n", newline)
