"""Every row of the table of transitions, and that nothing stands beside it."""

from itertools import product

import pytest

from hookseal.delivery.states import TRANSITIONS, Happening, after, diagram, is_final
from hookseal.model import DeliveryState

PENDING, DELIVERED, DEAD, CANCELLED, REPLAYED = DeliveryState

EXPECTED = {
    Happening.SUCCEEDED: DELIVERED,
    Happening.FAILED: PENDING,
    Happening.EXHAUSTED: DEAD,
    Happening.REFUSED: DEAD,
    Happening.REJECTED: DEAD,
    Happening.STOPPED: PENDING,
    Happening.LOST: PENDING,
    Happening.LOST_TOO_OFTEN: DEAD,
    Happening.EXPIRED: DEAD,
    Happening.CANCELLED: CANCELLED,
}


@pytest.mark.parametrize("happening", EXPECTED)
def test_each_happening_has_one_row_from_pending(happening: Happening) -> None:
    assert after(PENDING, happening) is EXPECTED[happening]
    assert [row for row in TRANSITIONS if row[1] is happening] == [(PENDING, happening, EXPECTED[happening])]


@pytest.mark.parametrize(("state", "happening"), list(product([DELIVERED, DEAD, CANCELLED, REPLAYED], EXPECTED)))
def test_an_ended_delivery_stays_ended(state: DeliveryState, happening: Happening) -> None:
    with pytest.raises(ValueError, match="cannot befall"):
        after(state, happening)


def test_a_replay_replaces_only_a_dead_delivery() -> None:
    assert [row for row in TRANSITIONS if row[1] not in EXPECTED] == [(DEAD, Happening.REPLAYED, REPLAYED)]
    assert after(DEAD, Happening.REPLAYED) is REPLAYED


def test_only_pending_is_not_final() -> None:
    assert [state for state in DeliveryState if not is_final(state)] == [PENDING]


def test_the_diagram_shows_every_row() -> None:
    for before, happening, to in TRANSITIONS:
        assert f"    {before} --> {to}: {happening}\n" in diagram()
    assert "    [*] --> pending\n" in diagram()
    assert {line for line in diagram().splitlines() if line.endswith("[*]")} == {
        "    delivered --> [*]",
        "    dead --> [*]",
        "    cancelled --> [*]",
        "    replayed --> [*]",
    }
