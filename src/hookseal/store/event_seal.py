"""Encrypt and authenticate the columns of an event, for both stores. Pure, apart from the secret that `use` sets.

Theory of operation. A store has one secret of 32 random bytes. It is kept by name, sealed under the keyring, and is never
changed: the rotation of the keyring moves it to another key. Keys for single purposes are derived from it.

Facts. Subject, provider's type and provider's id are personal data. They are encrypted in `events.facts` with AES-256-GCM.
The readable columns (`Bound`) are authenticated with them: the event opens only when its source,
receipt, request, item, type, outcome, rules, flags and place in the order are those that it was stored with. The request's
bytes are sealed under the request's id, which is among them. So neither a column nor a body can be exchanged.

    facts = purpose (1 byte) | ciphertext of [provider_type, provider_id, subject] + tag (16)

A subject that equals the provider's id is stored as `true`: most providers name both by one reference.

The nonce is made of the event's id, so that no byte is stored for it. Ids are UUIDv7; their last 12 bytes have 74 random bits
and 16 bits of the time. One key encrypts one event at most once: each `Purpose` has a key of its own.

Subjects are found by `subject_hash`, a keyed hash: equal subjects have equal hashes. Without the secret the subject of
a hash cannot be found.

Deliveries carry 8 bytes of a keyed hash of their id, event and endpoint. A delivery that was pointed at another event or
endpoint is not sent. An attacker cannot compute or test these bytes without the secret.
"""

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookseal.errors import SealBroken, StoreError, StoreMismatch, StoreUnavailable

SECRET_SHELF = "event_secret"
SECRET_NAME = "1"
SECRET_BYTES = 32
DELIVERY_SEAL_BYTES = 8


class Purpose(IntEnum):
    """When the facts were sealed: at receipt, by a migration, or when old events got their rules."""

    RECEIVED = 1
    MIGRATED = 2
    ASSIGNED = 3


class Facts(NamedTuple):
    provider_type: str | None
    provider_id: str | None
    subject: str | None


NO_FACTS = Facts(None, None, None)


class Bound(NamedTuple):
    """The readable columns of an event, as they are read back. request: the request's id, None where it is missing.

    Numbers that the transaction gives out (sequence, the subject's peak) and the count of conflicts are not among them.
    """

    id: bytes
    request: bytes | None
    source: str
    item: int
    received_at: int
    type: str
    time: int | None
    flags: str
    content: bytes
    standing: int | None
    outcome: str | None
    final: bool
    provider: str | None
    revision: str | None
    subject_hash: bytes | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str | None, str | None, str | bool | None]).decode
_PREFIX = {purpose: bytes((purpose,)) for purpose in Purpose}


class EventSealer:
    """Safe to share between threads."""

    def __init__(self) -> None:
        self._ciphers: dict[int, AESGCM] = {}
        self._subjects: hashlib.blake2b | None = None
        self._deliveries: hashlib.blake2b | None = None

    def use(self, secret: bytes) -> None:
        """Take the secret of the store. Nothing can be sealed before."""
        if len(secret) != SECRET_BYTES:
            raise ValueError("the secret has 32 bytes")

        def derived(name: str) -> bytes:
            return hmac.digest(secret, b"hookseal event " + name.encode(), hashlib.sha256)

        # A copy of a keyed state costs less than to make one (measured).
        self._subjects = hashlib.blake2b(digest_size=16, key=derived("subject"))
        self._deliveries = hashlib.blake2b(digest_size=DELIVERY_SEAL_BYTES, key=derived("delivery"))
        self._ciphers = {purpose: AESGCM(derived(f"facts {purpose}")) for purpose in Purpose}

    def subject_hash(self, subject: str) -> bytes:
        """16 bytes."""
        return _digest(self._subjects, subject.encode())

    def seal(self, facts: Facts, bound: Bound, purpose: Purpose = Purpose.RECEIVED) -> bytes:
        """Adds 17 bytes to the facts."""
        cipher = self._ciphers.get(purpose)
        if cipher is None:
            raise StoreUnavailable("the store is not open")
        try:
            return _PREFIX[purpose] + cipher.encrypt(bound.id[4:], _encode(_short(facts)), _encode(bound))
        except (OverflowError, ValueError) as error:
            raise StoreError("an event has a value that this store cannot keep") from error

    def open(self, sealed: bytes | None, bound: Bound) -> Facts:
        """SealBroken when the facts or anything that is bound with them was altered."""
        try:
            if not sealed:
                raise SealBroken("an event has no facts")
            plain = self._ciphers[sealed[0]].decrypt(bound.id[4:], sealed[1:], _encode(bound))
            provider_type, provider_id, subject = _decode(plain)
            return Facts(provider_type, provider_id, provider_id if isinstance(subject, bool) else subject)
        except (KeyError, ValueError, InvalidTag, msgspec.MsgspecError) as error:
            raise SealBroken("what was stored beside an event was altered") from error

    def delivery_seal(self, delivery: bytes, event: bytes, endpoint: str) -> bytes:
        """delivery, event: packed ids."""
        # Both ids have 16 bytes, so that the parts cannot run together.
        return _digest(self._deliveries, delivery + event + endpoint.encode())

    def is_of(self, seal: bytes | None, delivery: bytes, event: bytes, endpoint: str) -> bool:
        """Whether a delivery is still for the event and the endpoint that it was made for."""
        return hmac.compare_digest(seal or b"", self.delivery_seal(delivery, event, endpoint))


def _digest(keyed: "hashlib.blake2b | None", data: bytes) -> bytes:
    if keyed is None:
        raise StoreUnavailable("the store is not open")
    state = keyed.copy()
    state.update(data)
    return state.digest()


def _short(facts: Facts) -> tuple[str | None, str | None, str | bool | None]:
    provider_type, provider_id, subject = facts
    return provider_type, provider_id, True if subject is not None and subject == provider_id else subject


def event_secret(kept: Mapping[str, bytes | None], place: str) -> bytes:
    """Return the secret of an opened store. StoreMismatch if it is missing or does not open."""
    secret = kept.get(SECRET_NAME)
    if secret is None or len(secret) != SECRET_BYTES:
        raise StoreMismatch(f"{place} has lost the secret that its events are sealed with; restore a copy of the store")
    return secret


def new_secret(random_bytes: Callable[[int], bytes] = os.urandom) -> bytes:
    return random_bytes(SECRET_BYTES)
