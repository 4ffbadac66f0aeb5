"""Bodies and secrets at rest: compressed, then sealed with AES-256-GCM.

Theory of operation. A keyring holds one or more key-encryption keys (KEKs); the first is active. Each value is sealed
under a fresh 256-bit data key (DEK), and the DEK is sealed under the active KEK. Rotation re-wraps the 60-byte DEKs and
leaves the bodies alone; deleting a row deletes its DEK. What a value belongs to (`label`, for example
`request|0199…`) is authenticated with it, so that a ciphertext moved to another row does not open.

    sealed value = version (1 byte, 0x01) | kid length (1) | kid | wrapped DEK (12 nonce + 32 + 16 tag) | nonce (12) | ciphertext + tag

The keyring file has one `kid:base64(32 bytes)` a line, the active key first; `#` starts a comment. A keyring's
fingerprint is not secret and tells a store which keyring it was made with.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookseal.errors import SealBroken

_VERSION = 1
_NONCE = 12
_KEY = 32
_WRAPPED = _NONCE + _KEY + 16
_KID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_MAX_PLAIN_BYTES = 256 * 1024 * 1024
"""What one sealed value may expand to; the largest body that a source may allow is 16 MiB."""

_LEVEL = 3

RandomBytes = Callable[[int], bytes]


class _Compression(threading.local):
    """zstd contexts, one pair a thread: they may not be shared, and making one costs more than compressing 1 kB does
    (9 µs against 5 µs, measured)."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=_LEVEL).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_compression = _Compression()


def _decompressed(compressed: bytes) -> bytes:
    # Every frame of ours states its size; `max_output_size` would only bound those that do not.
    if zstandard.get_frame_parameters(compressed).content_size > _MAX_PLAIN_BYTES:
        raise ValueError("expands to more than any value that was sealed")
    return _compression.decompress(compressed)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Key-encryption keys by id, the active one first. Each is 32 bytes."""

    keys: tuple[tuple[str, bytes], ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("a keyring needs at least one key")
        for kid, key in self.keys:
            if not _KID.fullmatch(kid):
                raise ValueError("a key id has 1 to 32 letters, digits, '-' or '_'")
            if len(key) != _KEY:
                raise ValueError("a key has 32 bytes")
        if len({kid for kid, _ in self.keys}) != len(self.keys):
            raise ValueError("a key id stands twice")

    def __repr__(self) -> str:
        return f"Keyring({', '.join(kid for kid, _ in self.keys)})"

    @staticmethod
    def parse(text: str) -> "Keyring":
        """From the text of a keyring file. ValueError, which never holds a key, when it is not one."""
        keys: list[tuple[str, bytes]] = []
        for line in text.splitlines():
            entry = line.split("#", 1)[0].strip()
            if not entry:
                continue
            kid, colon, encoded = entry.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not colon or len(key) != _KEY:
                raise ValueError("a line is not `kid:base64 of 32 bytes`")
            keys.append((kid, key))
        return Keyring(tuple(keys))

    @staticmethod
    def generate(kid: str = "k1", random_bytes: RandomBytes = os.urandom) -> "Keyring":
        return Keyring(((kid, random_bytes(_KEY)),))

    @property
    def kids(self) -> tuple[str, ...]:
        return tuple(kid for kid, _ in self.keys)

    @property
    def active(self) -> str:
        return self.keys[0][0]

    def next_kid(self) -> str:
        """An id that no key of the ring has: `k2` where `k1` is the highest."""
        numbers = [int(kid[1:]) for kid in self.kids if re.fullmatch(r"k[0-9]{1,9}", kid, re.ASCII)]
        return f"k{max(numbers, default=len(self.keys)) + 1}"

    def dump(self) -> str:
        return "".join(f"{kid}:{base64.b64encode(key).decode()}\n" for kid, key in self.keys)

    def fingerprint(self, kid: str) -> str:
        """32 hex digits that tell this key from another without revealing it."""
        key = dict(self.keys)[kid]
        return hmac.digest(key, b"hookseal keyring fingerprint v1", hashlib.sha256).hex()[:32]


HEAD_BYTES = 2 + 32 + _WRAPPED
"""The most that a sealed value has before its own nonce: what `rewrap` needs of it."""


def kid_of(sealed: bytes) -> str:
    """The id of the key that a value is sealed under; "" where it does not say."""
    return sealed[2 : 2 + sealed[1]].decode("latin-1") if len(sealed) > 2 else ""


class _Keys:
    """A keyring ready for use. Never changed, so that a thread that is sealing goes on with what it began with."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.wrappers = {kid: AESGCM(key) for kid, key in keyring.keys}
        active = keyring.keys[0][0]
        self.active = self.wrappers[active]
        self.active_kid = active.encode()
        self.head = bytes((_VERSION, len(self.active_kid))) + self.active_kid


class Sealer:
    """Seals and opens values with a keyring. Safe to share between threads."""

    def __init__(self, keyring: Keyring, random_bytes: RandomBytes = os.urandom) -> None:
        self._random = random_bytes
        self._keys = _Keys(keyring)

    @property
    def keyring(self) -> Keyring:
        return self._keys.keyring

    def use(self, keyring: Keyring) -> None:
        """Seal under the first key of this keyring from now on, and open with all of its keys."""
        self._keys = _Keys(keyring)

    def seal(self, plain: bytes, label: str) -> bytes:
        """Compress and seal. Adds 90 bytes and the key id to the compressed size."""
        keys = self._keys
        compressed = _compression.compress(plain)
        fresh = self._random(_KEY + 2 * _NONCE)
        dek, wrap_nonce, nonce = fresh[:_KEY], fresh[_KEY : _KEY + _NONCE], fresh[_KEY + _NONCE :]
        bound = label.encode()
        wrapped = keys.active.encrypt(wrap_nonce, dek, b"dek|v1|" + keys.active_kid + b"|" + bound)
        return b"".join(
            (keys.head, wrap_nonce, wrapped, nonce, AESGCM(dek).encrypt(nonce, compressed, b"val|v1|" + bound))
        )

    def unseal(self, sealed: bytes, label: str) -> bytes:
        """The plain bytes again. SealBroken when the value was altered, moved, or its key is not in the keyring."""
        bound = label.encode()
        try:
            dek, end = _unwrap(self._keys, sealed, bound)
            rest = sealed[end:]
            compressed = AESGCM(dek).decrypt(rest[:_NONCE], rest[_NONCE:], b"val|v1|" + bound)
            return _decompressed(compressed)
        except (IndexError, ValueError, InvalidTag, zstandard.ZstdError) as error:
            raise SealBroken("the sealed value was altered") from error

    def rewrap(self, sealed: bytes, label: str) -> tuple[bytes, bytes] | None:
        """What a value begins with, and what it is to begin with to be sealed under the active key; None when it is.

        sealed  the value, or its first `HEAD_BYTES`. The rest of it stays as it is.
        SealBroken when the data key does not open: then the value does not either.
        """
        keys, bound = self._keys, label.encode()
        if sealed.startswith(keys.head):
            return None
        try:
            dek, end = _unwrap(keys, sealed, bound)
        except (IndexError, ValueError, InvalidTag) as error:
            raise SealBroken("the sealed value was altered") from error
        nonce = self._random(_NONCE)
        wrapped = keys.active.encrypt(nonce, dek, b"dek|v1|" + keys.active_kid + b"|" + bound)
        return sealed[:end], keys.head + nonce + wrapped


def _unwrap(keys: _Keys, sealed: bytes, bound: bytes) -> tuple[bytes, int]:
    """The data key, and where the value's own nonce begins."""
    if sealed[0] != _VERSION:
        raise SealBroken("sealed by a newer version")
    start = 2 + sealed[1]
    kid = sealed[2:start]
    wrapper = keys.wrappers.get(kid.decode("latin-1"))
    if wrapper is None:
        raise SealBroken("sealed under a key that is not in the keyring")
    wrapped = sealed[start : start + _WRAPPED]
    dek = wrapper.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], b"dek|v1|" + kid + b"|" + bound)
    return dek, start + _WRAPPED
