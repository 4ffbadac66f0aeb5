"""What BankID Antifraud sends: alarms, each a CloudEvent.

The envelope is printed in BankID's "Receiving CloudEvents"; what `data` holds is told on request only, so it is ours.
"""

from typing import Final

from hookseal.model import EventType as Type
from hookseal.simulate.example import Draft, Example, Expected, Form

_ID = "a1b2c3d4-0000-4000-8000-000000000001"
_SECOND = "a1b2c3d4-0000-4000-8000-000000000002"
_FRESH: Final = {_ID: Form.UUID, _SECOND: Form.UUID, "2025-11-21T08:00:00.1234567Z": Form.RFC3339}


def _alarm(name: str, about: str, type: Type, *, variant: bool = False) -> Example:
    draft = Draft(file=f"{name}.json", expected=(Expected(_ID, type),))
    return Example(name=name, about=about, drafts=(draft,), fresh=_FRESH, is_variant=variant)


EXAMPLES: Final = (
    _alarm("alarm", "an alarm", Type.ALARM_RAISED),
    _alarm("unknown-type", "a type that the documents do not have yet", Type.OTHER),
    Example(
        name="batch",
        about="two alarms in one request (Event Grid's batching, off by default)",
        drafts=(
            Draft(
                file="batch.json",
                content_type="application/cloudevents-batch+json; charset=utf-8",
                expected=(Expected(_ID, Type.ALARM_RAISED), Expected(_SECOND, Type.ALARM_RAISED)),
            ),
        ),
        fresh=_FRESH,
    ),
    # developer.bankid.no names the two codes, which must not count as fraud; where they stand is ours
    _alarm("test-alarm", "BankID tries the subscription (IDX1_TEST)", Type.OTHER),
    _alarm("heartbeat", "a sign of life (IDX2_HEARTBEAT)", Type.OTHER),
    _alarm("old-type", "the type before this one, deprecated (`...dispatch.v1`)", Type.OTHER, variant=True),
    _alarm("non-ascii", "an alarm with letters beyond ASCII in its data", Type.ALARM_RAISED, variant=True),
    _alarm("data-text", "an alarm whose data is text and not an object", Type.ALARM_RAISED, variant=True),
    _alarm("sparse", "an alarm with the required attributes only: no time, no data", Type.ALARM_RAISED, variant=True),
)
