"""What a scheme says of a request, and what it is given to judge with.

A scheme is how a request is proven. It is pure: request, keys and time in, a verdict out. It never raises, whatever
the bytes, never waits, and reads nothing from the request but what its columns name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from hookseal.clock import Instant
from hookseal.message import Request
from hookseal.model import Reason


@dataclass(frozen=True, slots=True)
class Proven:
    """The request is genuine.

    secret     which of the given secrets proved it (0 is the newest); None for schemes without shared secrets.
    signed_at  the time that the proof carries, where it carries one.
    content    the bytes that the proof covers when they are not the body as received (seal.ID's minified form); None
               when they are the body, or when the proof does not cover the body.
    """

    secret: int | None = None
    signed_at: Instant | None = None
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class NotProven:
    """The request is bad for ever, as far as the keys at hand can tell."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class KeyNeeded:
    """The token names a key that is not at hand. Nothing else about it has been found wrong."""

    kid: str


Verdict = Proven | NotProven | KeyNeeded


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One verification key of an issuer.

    key  a public key object of `cryptography`.
    alg  the JOSE algorithm that the key set fixes for it, or None.
    """

    key: object
    alg: str | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request is judged with.

    secrets   live shared secrets, as bytes, exactly as configured.
    key_set   the issuer's keys by key id; two keys may share one id. None when no key set is at hand.
    """

    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    key_set: Mapping[str, tuple[PublicKey, ...]] | None = None


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What a request is signed with: shared secrets, or a private key of our own issuer and its id.

    secret   the one secret, or the newest of several.
    secrets  all live secrets, the newest first, while one rotates; a header that takes several signatures carries one
             for each, any other header that of the newest. () means `secret` alone.
    id       the message's id, for schemes that sign one; "" makes one out of the body, the same at every try.
    claims   for tokens: claims added to, or put in place of, what the scheme would say.
    """

    secret: bytes = field(default=b"", repr=False)
    private_key: object = field(default=None, repr=False)
    kid: str = ""
    claims: Mapping[str, object] = field(default_factory=dict)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    id: str = ""


class Scheme(Protocol):
    @property
    def proof(self) -> tuple[tuple[bytes, ...], ...]:
        """The headers that carry the proof, in lower case: one group for each part, in it the spellings of its name."""
        ...

    def verify(self, request: Request, keys: Keys, now: Instant) -> Verdict:
        """Total: never raises, whatever the bytes. A `timestamp_stale` is said only of a proof that otherwise holds."""
        ...

    def limited(self, max_age_s: int) -> "Scheme":
        """The same scheme, refusing proofs older than this. ConfigurationError when the proof carries no time."""
        ...

    def secret_problem(self, secret: bytes) -> str | None:
        """Why nothing can ever be proven with this shared secret, in words that do not hold it; None when it can."""
        ...

    def sign(self, request: Request, keys: SigningKeys, now: Instant) -> list[tuple[str, str]]:
        """The headers that the provider would add, in its own spelling. ConfigurationError when the keys cannot sign."""
        ...
