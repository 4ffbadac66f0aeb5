"""Examples of Standard Webhooks: the payload structure that its specification recommends (type, timestamp, data)."""

from typing import Final

from hookseal.model import EventType as Type
from hookseal.simulate.example import Draft, Example, Expected, Form

_ID = "3f6d2c1e-8a4b-4c57-9d20-6b1f0e7a5c93"
_FRESH: Final = {_ID: Form.UUID, "2026-11-21T09:30:00.125000Z": Form.RFC3339}


def _example(name: str, about: str) -> Example:
    # The entry maps no types: senders choose their own.
    draft = Draft(file=f"{name}.json", expected=(Expected(_ID, Type.OTHER),))
    return Example(name=name, about=about, drafts=(draft,), fresh=_FRESH)


EXAMPLES: Final = (
    _example("user-updated", "a user was changed"),
    _example("user-deleted", "a user was deleted"),
)
