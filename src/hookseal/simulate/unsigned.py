"""The proof of a product that sends none: ZignSec's SMS, an iDenfy web hook without a key. It adds nothing to a request.

A receiver of such a product has nothing but the sender's address to judge by, so nothing that is proven can be forged.
"""

from dataclasses import dataclass

from hookseal.clock import Instant
from hookseal.message import Request
from hookseal.schemes.verdict import Keys, Proven, SigningKeys, Verdict


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A `Scheme` without a proof."""

    @property
    def proof(self) -> tuple[tuple[bytes, ...], ...]:
        return ()

    def verify(self, request: Request, keys: Keys, now: Instant) -> Verdict:
        return Proven()

    def limited(self, max_age_s: int) -> "Unsigned":
        return self

    def secret_problem(self, secret: bytes) -> str | None:
        return "is not used: nothing is signed"

    def sign(self, request: Request, keys: SigningKeys, now: Instant) -> list[tuple[str, str]]:
        return []
