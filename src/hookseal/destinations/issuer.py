"""Our own issuer of tokens: RSA keys that follow each other, their key set, and where they are kept.

It stands in for Microsoft Entra ID where an endpoint acts as a provider that sends tokens of it.

Theory of operation
- A key is published from the moment it is made. It signs `PUBLISH_AHEAD_S` later, so that every node has published it and
  every receiver has had time to fetch it. Its predecessor then signs no more, and is published for `RETIRE_AFTER_S`
  longer: until the last token that it signed has expired, with an hour for clocks that differ. Then it is deleted.
- A key is made when an endpoint first needs tokens, by `rotate`, and `PUBLISH_AHEAD_S` before the newest key has signed for
  the days of the setting. Its first key signs at once, because nobody knows another one.
- Keys are kept sealed, by number. Of several nodes that make the next key at the same time one wins.
- A node that has not been able to read the keys for `STALE_VIEW_S` publishes nothing: another node may have made a key.
- The first key is kept where earlier versions keep theirs, too, so that nodes of both versions sign with the same key.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hookseal.clock import Clock, Instant, plus
from hookseal.errors import ConfigurationError, Invalid, SealBroken, StoreError, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.schemes.jose import key_id, private_key_of
from hookseal.schemes.jwk import public_jwks
from hookseal.schemes.verdict import SigningKeys
from hookseal.store.port import Store

log = get_logger(__name__)

NAMESPACE = "issuer-keys"
FIRST_SHELF, FIRST_NAME = "issuer", "key"
KEYS_PATH = "/discovery/v2.0/keys"
PUBLISH_AHEAD_S: Final = 86_400.0
RETIRE_AFTER_S: Final = 7_200.0
"""A token lasts 3600 s (`JwtBearer.lifetime_s`)."""
STALE_VIEW_S: Final = 3_600.0
CHECK_INTERVAL_S: Final = 600.0
_DAY_S: Final = 86_400.0
_BITS = 2048


def _new_key() -> object:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


class StoredIssuerKey(msgspec.Struct, frozen=True, kw_only=True):
    """What the store keeps of one key. Fields are only ever added, with a default."""

    pem: bytes
    signs_at: int


@dataclass(frozen=True, slots=True)
class Issuer:
    """One key. private_key: an RSA key; a new one is made where none is given."""

    private_key: object = field(default_factory=_new_key, repr=False)

    @property
    def keys(self) -> SigningKeys:
        """What the scheme signs tokens with."""
        return SigningKeys(private_key=self.private_key, kid=key_id(self.private_key))

    @property
    def key_set(self) -> bytes:
        """The public half, as JSON."""
        return _key_set((public_jwks(self.private_key, key_id(self.private_key)),))


@dataclass(frozen=True, slots=True)
class _Key:
    """number: keys follow each other in the order of their numbers."""

    number: int
    signs_at: Instant
    keys: SigningKeys = field(repr=False)
    public: dict[str, list[dict[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerRotation:
    """id: of the newest key; signs_at: when it begins to sign; is_new: False when it was made before."""

    id: str
    signs_at: Instant
    is_new: bool


class KeptIssuer:
    """The issuer whose keys lie in the store. All methods belong to one event loop.

    key_days    after how many days of signing a key is followed by another.
    view_age_s  how long ago this node was certain to know all keys.
    """

    def __init__(
        self, store: Store, clock: Clock, *, key_days: int, view_age_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        self._store = store
        self._clock = clock
        self._key_s = key_days * _DAY_S
        self._view_age_s = view_age_s
        self._keys: Sequence[_Key] = ()
        self._changing = asyncio.Lock()
        self.loop: asyncio.Task[None] | None = None

    # --- life ---

    async def open(self, *, make: bool) -> None:
        """Read the keys; make: make one where there is none. To be called again when an endpoint first needs tokens.

        SealBroken when no key opens: tokens under another one would be refused everywhere.
        """
        async with self._changing:
            await self._read()
            if not self._keys:
                await self._begin(make=make)

    def start(self) -> None:
        self.loop = asyncio.get_running_loop().create_task(self._run(), name="hookseal-issuer")

    async def stop(self) -> None:
        if self.loop is not None:
            self.loop.cancel()
            await asyncio.gather(self.loop, return_exceptions=True)

    async def update(self) -> None:
        """Read the keys again: another node may have changed them."""
        async with self._changing:
            await self._read()

    # --- use ---

    def keys(self) -> SigningKeys:
        """Return what tokens are signed with now. ConfigurationError where there is no key."""
        if not self._keys:
            raise ConfigurationError("", "signing", "the issuer of tokens has no key; restart hookseal")
        now = self._clock.now()
        # Without a key whose time has come: the first one, made by a node whose clock is ahead.
        return next((key.keys for key in reversed(self._keys) if key.signs_at <= now), self._keys[0].keys)

    @property
    def is_stale(self) -> bool:
        """Whether another node may have made a key that this node does not know."""
        return self._view_age_s() > STALE_VIEW_S

    def key_set(self) -> bytes | None:
        """Return the public keys as JSON, None where there is no key. StoreUnavailable when this node may lack one."""
        if self.is_stale:
            raise StoreUnavailable("the issuer's keys have not been read for too long")
        now = self._clock.now()
        keys = [key.public for key in self._keys if not self._is_retired(key, now)]
        return _key_set(keys) if keys else None

    async def rotate(self) -> IssuerRotation:
        """Make the next key, unless the newest does not sign yet. Invalid where no key has been needed so far."""
        async with self._changing:
            await self._read()
            if not self._keys:
                raise Invalid("", "no endpoint is sent tokens, so that the issuer has no key")
            newest = self._keys[-1]
            is_new = newest.signs_at <= self._clock.now() and await self._make_next()
            newest = self._keys[-1]
            return IssuerRotation(id=newest.keys.kid or "", signs_at=newest.signs_at, is_new=is_new)

    async def maintain(self) -> None:
        """Make the next key when the newest is old enough, and delete keys whose tokens have expired."""
        async with self._changing:
            now = self._clock.now()
            if not self._keys:
                return
            if self._is_old(now):
                await self._read()
                if self._is_old(now):  # no other node has made the next one
                    await self._make_next()
            for key in [key for key in self._keys if self._is_retired(key, now)]:
                if key.number == 1:
                    # First the copy for earlier versions: it would be taken for a key that signs.
                    await self._store.forget(FIRST_SHELF, FIRST_NAME)
                await self._store.forget(NAMESPACE, _name(key.number))
                self._keys = [other for other in self._keys if other is not key]
                log.info("the tokens of an issuer key have expired, the key was deleted")

    async def _run(self) -> None:
        while True:
            try:
                await self.maintain()
            except (StoreError, SealBroken) as error:
                log.warning("the issuer keys are not maintained now", code=error.code)
            await self._clock.wait(asyncio.Event(), CHECK_INTERVAL_S)

    # --- keeping ---

    async def _read(self) -> None:
        values = await self._store.kept(NAMESPACE)
        keys = [key for name, value in values.items() if (key := _read_key(name, value)) is not None]
        if values and not keys:
            raise SealBroken("no key of the issuer opens")
        if len(keys) < len(values):
            log.error("an issuer key cannot be read")
        self._keys = sorted(keys, key=lambda key: key.number)

    async def _begin(self, *, make: bool) -> None:
        """Take the key of an earlier version, or make the first one."""
        found = await self._store.kept(FIRST_SHELF)
        pem = found.get(FIRST_NAME)
        if FIRST_NAME in found and pem is None:
            raise SealBroken("the key of the issuer does not open")
        if pem is None:
            if not make:
                return
            pem = await self._store.keep(FIRST_SHELF, FIRST_NAME, await asyncio.to_thread(_new_pem), replace=False)
        await self._keep(1, pem, self._clock.now())

    async def _make_next(self) -> bool:
        """Return whether this node made it, and no other one."""
        pem = await asyncio.to_thread(_new_pem)
        signs_at = plus(self._clock.now(), PUBLISH_AHEAD_S)
        if not await self._keep(self._keys[-1].number + 1, pem, signs_at):
            return False
        log.info("a new issuer key is published, and signs a day later")
        return True

    async def _keep(self, number: int, pem: bytes, signs_at: Instant) -> bool:
        value = msgspec.json.encode(StoredIssuerKey(pem=pem, signs_at=signs_at))
        standing = await self._store.keep(NAMESPACE, _name(number), value, replace=False)
        await self._read()
        return standing == value

    def _is_old(self, now: Instant) -> bool:
        """Whether the next key must be published now. Never before the newest key signs."""
        return plus(self._keys[-1].signs_at, max(self._key_s - PUBLISH_AHEAD_S, 0.0)) <= now

    def _is_retired(self, key: _Key, now: Instant) -> bool:
        """Whether every token of the key has expired: its successor has signed for long enough."""
        successors = [other.signs_at for other in self._keys if other.number > key.number]
        return bool(successors) and plus(min(successors), RETIRE_AFTER_S) <= now


def _read_key(name: str, value: bytes | None) -> _Key | None:
    if value is None or not name.isdecimal():
        return None
    try:
        stored = msgspec.json.decode(value, type=StoredIssuerKey)
        issuer = Issuer(private_key_of(stored.pem))
    except (msgspec.MsgspecError, ConfigurationError):
        return None
    keys = issuer.keys
    return _Key(int(name), Instant(stored.signs_at), keys, public_jwks(issuer.private_key, keys.kid or ""))


def _name(number: int) -> str:
    return f"{number:06d}"


def _key_set(sets: Sequence[dict[str, list[dict[str, str]]]]) -> bytes:
    keys = [key for one in sets for key in one["keys"]]
    return json.dumps({"keys": keys}, separators=(",", ":")).encode()


def _new_pem() -> bytes:
    key = _new_key()
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
