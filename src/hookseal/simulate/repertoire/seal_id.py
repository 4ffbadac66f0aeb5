"""What seal.ID sends: states of an identification, and of documents to sign.

The first one is the 419 bytes of the FAQ's captured request. The statuses are those of public code and logs.
"""

from typing import Final

from hookseal.model import EventType as Type
from hookseal.model import Outcome
from hookseal.simulate.example import Draft, Example, Expected, Form

_ID = "4619d136-7fac-41fa-9755-49dd7648ff85"
_CASE = "4e9aae75-1f9f-4179-abe5-449a72b4da52"
_STEPS: Final = tuple(f"{_ID[:-1]}{number}" for number in range(1, 5))
_FRESH: Final = {**dict.fromkeys((_ID, _CASE, *_STEPS), Form.UUID), "20221115T090914Z": Form.ISO_BASIC}


def _notice(name: str, about: str, type: Type, outcome: Outcome | None, *, variant: bool = False) -> Example:
    draft = Draft(file=f"{name}.json", expected=(Expected(_ID, type, outcome),))
    return Example(name=name, about=about, drafts=(draft,), fresh=_FRESH, is_variant=variant)


EXAMPLES: Final = (
    _notice("identification", "a person was identified", Type.VERIFICATION_COMPLETED, Outcome.APPROVED),
    # the second kind of body that the same system sends, without a bare `status`
    _notice("signing", "a document was signed", Type.SIGNATURE_COMPLETED, None),
    Example(
        name="steps",
        about="a case from its appointment to the identification: five notifications about one case",
        drafts=tuple(
            Draft(file=f"{file}.json", expected=(Expected(_CASE, type, outcome),))
            for file, type, outcome in (
                ("scheduled", Type.VERIFICATION_STARTED, Outcome.PENDING),
                ("outstanding", Type.VERIFICATION_UPDATED, Outcome.PENDING),
                ("verification-pending", Type.VERIFICATION_UPDATED, Outcome.PENDING),
                ("verification-confirmed", Type.VERIFICATION_UPDATED, Outcome.PENDING),
                ("identification", Type.VERIFICATION_COMPLETED, Outcome.APPROVED),
            )
        ),
        fresh=_FRESH,
        is_variant=True,
    ),
    _notice("downloaded", "the signed documents were fetched", Type.SIGNATURE_UPDATED, None, variant=True),
    _notice(
        "non-ascii", "values with letters beyond ASCII and blanks", Type.VERIFICATION_COMPLETED, None, variant=True
    ),
    _notice(
        "older",
        "a body of an older version: no reason and no details",
        Type.VERIFICATION_COMPLETED,
        Outcome.APPROVED,
        variant=True,
    ),
    # no failure is documented, so neither its status nor its reason is known
    _notice(
        "unknown-status", "a status that no document names, with a reason", Type.OTHER, Outcome.UNKNOWN, variant=True
    ),
)
