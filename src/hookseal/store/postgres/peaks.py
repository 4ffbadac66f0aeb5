"""How far the subjects of one batch come: what is put down for each, and what each event is told.

The greatest standing of a subject is a row, raised by every transaction that stores a state of it. That row is locked
until the commit, so that of two nodes with states of one subject the second learns what the first one stored.
"""

import hashlib
from dataclasses import dataclass, field

from hookseal.clock import Instant


def hash_of(source: str, subject_hash: bytes) -> bytes:
    """128 bits of a hash of both. Too many for any two subjects to share it. The subject's own hash is keyed."""
    name = source.encode()
    return hashlib.blake2b(len(name).to_bytes(2) + name + subject_hash, digest_size=16).digest()


@dataclass(slots=True)
class Peaks:
    """By subject's hash: the peak of this batch so far, and when its newest event was received."""

    raised: dict[bytes, tuple[int, Instant]] = field(default_factory=dict)

    def add(self, subject: bytes, standing: int, received_at: Instant) -> int:
        """The peak of the batch's events up to this one."""
        peak, newest = self.raised.get(subject, (standing, received_at))
        peak = max(peak, standing)
        self.raised[subject] = peak, max(newest, received_at)
        return peak

    def columns(self) -> tuple[list[bytes], list[int], list[Instant]]:
        return (
            list(self.raised),
            [peak for peak, _ in self.raised.values()],
            [newest for _, newest in self.raised.values()],
        )
