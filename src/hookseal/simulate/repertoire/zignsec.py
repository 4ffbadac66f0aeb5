"""What ZignSec sends: results of eIDs, signed, and states of an SMS.

https://docs.zignsec.com/references/webhook/legacy/ prints the first one; U+2026 stands in it as raw UTF-8.
"""

from typing import Final

from hookseal.model import EventType as Type
from hookseal.model import Outcome
from hookseal.simulate.example import Draft, Example, Expected, Form

_ID = "61d300c2-cff8-4dc1-9abc-6d59f8876d32"
_TIME = "2018-10-22T08:26:41.8675683+02:00"
_FRESH: Final = {_ID: Form.UUID, _TIME: Form.RFC3339}


def _eid(
    name: str, about: str, outcome: Outcome, *, file: str = "", content_type: str | None = None, variant: bool = False
) -> Example:
    expected = (Expected(_ID, Type.AUTHENTICATION_COMPLETED, outcome),)
    draft = Draft(file=file or f"{name}.json", expected=expected, content_type=content_type)
    return Example(name=name, about=about, drafts=(draft,), fresh=_FRESH, is_variant=variant)


def _sms(name: str, about: str, *states: str, variant: bool = False) -> Example:
    """One web hook for each change; the page prints its body only as a picture, so it is ours."""
    drafts = tuple(Draft(file=f"sms-{state}.json", expected=(Expected(_ID, Type.MESSAGE_UPDATED),)) for state in states)
    return Example(name=name, about=about, drafts=drafts, fresh=_FRESH, is_variant=variant)


EXAMPLES: Final = (
    _eid("success", "Swedish BankID completed", Outcome.APPROVED),
    # JSON or XML is chosen with the registration; no page shows the XML, so the names of its elements are ours
    _eid(
        "success-xml",
        "the same to a registration that asked for XML",
        Outcome.APPROVED,
        file="success.xml",
        content_type="application/xml; charset=utf-8",
    ),
    # as receivers in public repositories have seen it: a number for a code, no identity
    _eid("failure", "the user did not identify", Outcome.ERROR),
    _sms("sms", "an SMS is queued, sent and delivered: three web hooks with one id", "queued", "sent", "delivered"),
    # seen in public receivers: no PersonalNumber, `errors: []` for success, a block that is a string of JSON
    _eid("norwegian", "Norwegian BankID: a name beyond ASCII, no PersonalNumber", Outcome.APPROVED, variant=True),
    _eid("failure-text", "a failure whose code is text and not a number", Outcome.ERROR, variant=True),
    _eid("sparse", "a result of which nearly every field is missing", Outcome.APPROVED, variant=True),
    _sms("sms-failed", "an SMS is queued, and then fails", "queued", "failed", variant=True),
)
