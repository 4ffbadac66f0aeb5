"""How rows of older schemas are sealed, whichever the dialect."""

from collections.abc import Sequence
from typing import Any

from hookseal.errors import SealBroken
from hookseal.sealing import Sealer
from hookseal.store.event_seal import Bound, EventSealer, Facts, Purpose
from hookseal.store.rows import old_refusal_label, refusal_label

MIGRATION = "sealed_events"
"""The migration after which old rows are sealed, in its transaction."""


def sealed_event(sealer: EventSealer, row: Sequence[Any]) -> tuple[bytes, bytes | None]:
    """Return facts and hash of the subject.

    row  id, request's id, source, item, received_at, type, time, flags, content, standing, outcome, final, provider, revision,
         provider's type, provider's id, subject
    """
    id, request, source, item, received_at, type, time, flags, content, standing, outcome, final, *rest = row
    provider, revision, provider_type, provider_id, subject = rest
    subject_hash = None if subject is None else sealer.subject_hash(subject)
    bound = Bound(
        id=id,
        request=request,
        source=source,
        item=item,
        received_at=received_at,
        type=type,
        time=time,
        flags=flags,
        content=content,
        standing=standing,
        outcome=outcome,
        final=bool(final),
        provider=provider,
        revision=revision,
        subject_hash=subject_hash,
    )
    return sealer.seal(Facts(provider_type, provider_id, subject), bound, Purpose.MIGRATED), subject_hash


def sealed_refusal(
    sealer: Sealer, id: bytes, source: str, received_at: int, reason: str, held: bool, sealed: bytes
) -> bytes | None:
    """Return the sealed bytes bound to the columns. None for one that does not open: it stays as it is."""
    try:
        plain = sealer.unseal(sealed, old_refusal_label(id))
    except SealBroken:
        return None
    return sealer.seal(plain, refusal_label(id, source, received_at, reason, bool(held)))
