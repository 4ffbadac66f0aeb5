"""From a refused request to a row.

Compressing and encrypting 2 MB take some 15 ms. A large request is therefore encrypted on a thread, which is not the one of
accepted requests: what unauthenticated clients send must not delay those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hookseal.store.encrypting import Encrypting
from hookseal.store.packing import SealedRefusal, must, pack, pack_uuid, storable
from hookseal.store.port import Refusal
from hookseal.store.quarantine_shares import hold_key, peer_number
from hookseal.store.rows import refusal_label


@dataclass(frozen=True, slots=True)
class PreparedRefusal:
    """dedupe_keys, hold_key: of a request that is to be held, else empty and None."""

    refusal: Refusal
    id: bytes
    sealed: bytes
    peer: int
    dedupe_keys: tuple[bytes, ...] = ()
    hold_key: bytes | None = None


async def prepare_refusal(
    encrypting: Encrypting, refusal: Refusal, dedupe_keys: Sequence[bytes] = ()
) -> PreparedRefusal:
    """Encrypt a refused request. dedupe_keys: of the events of one that is to be held."""
    id = must(pack_uuid(refusal.id), "a refusal's id")
    plain = pack(SealedRefusal(refusal.method, refusal.url, refusal.remote, refusal.headers, refusal.body))
    source = storable(refusal.source) or ""
    label = refusal_label(id, source, refusal.received_at, storable(refusal.reason) or "", refusal.held)
    sealed = await encrypting.seal(plain, label)
    peer = peer_number(encrypting.keyring, refusal.remote)
    return PreparedRefusal(refusal, id, sealed, peer, tuple(dedupe_keys), hold_key(dedupe_keys))
