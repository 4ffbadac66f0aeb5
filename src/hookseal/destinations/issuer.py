"""Our own issuer of tokens: one RSA key, the tokens' key set, and where the key is kept.

It stands in for Microsoft Entra ID where an endpoint acts as a provider that sends tokens of it. The private key is made
once, lies sealed in the store, and never leaves this file but into the signing of a token; of several nodes that make
one at the same time, one wins.
"""

import asyncio
import json
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hookseal.errors import ConfigurationError
from hookseal.schemes.jose import key_id, private_key_of
from hookseal.schemes.jwk import public_jwks
from hookseal.schemes.verdict import SigningKeys
from hookseal.store.port import Store

SHELF, NAME = "issuer", "key"
KEYS_PATH = "/discovery/v2.0/keys"
_BITS = 2048


def _new_key() -> object:
    return rsa.generate_private_key(public_exponent=65537, key_size=_BITS)


@dataclass(frozen=True, slots=True)
class Issuer:
    """private_key: an RSA key; a new one is made where none is given."""

    private_key: object = field(default_factory=_new_key, repr=False)

    @property
    def keys(self) -> SigningKeys:
        """What the scheme signs tokens with."""
        return SigningKeys(private_key=self.private_key, kid=key_id(self.private_key))

    @property
    def key_set(self) -> bytes:
        """The public half, as JSON."""
        return json.dumps(public_jwks(self.private_key, key_id(self.private_key)), separators=(",", ":")).encode()


class KeptIssuer:
    """The issuer whose key lies in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._issuer: Issuer | None = None
        self._keys: SigningKeys | None = None

    async def open(self, *, make: bool) -> None:
        """Read the key; make: make one where there is none. To be called again when an endpoint first needs tokens.

        SealBroken when the key does not open: tokens under another one would be refused everywhere.
        """
        found = (await self._store.kept(SHELF)).get(NAME)
        if found is None and make:
            found = await self._store.keep(SHELF, NAME, await asyncio.to_thread(_new_pem), replace=False)
        if found is not None:
            self._issuer = Issuer(private_key_of(found))
            self._keys = self._issuer.keys

    def keys(self) -> SigningKeys:
        """What tokens are signed with. ConfigurationError where there is no key."""
        if self._keys is None:
            raise ConfigurationError("", "signing", "the issuer of tokens has no key; restart hookseal")
        return self._keys

    def key_set(self) -> bytes | None:
        """The public half as JSON; None where there is no key."""
        return None if self._issuer is None else self._issuer.key_set


def _new_pem() -> bytes:
    key = _new_key()
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
