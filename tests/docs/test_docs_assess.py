"""docs/assess.md tells of every fault that can be asked for, and shows cases that there are."""

import os
import re
from pathlib import Path

from hookseal import catalogue
from hookseal.model import ProviderId
from hookseal.schemes.verdict import SigningKeys
from hookseal.simulate.cases import cases_of
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.faults import Fault

PAGE = (Path(__file__).parents[2] / "docs" / "assess.md").read_text()


def test_every_fault_is_in_the_table() -> None:
    table = PAGE[PAGE.index("| kind | what is sent") :]
    assert {kind for kind in re.findall(r"`([a-z-]+)`", table) if not kind.startswith("-")} >= set(Fault)


def test_the_report_shown_has_cases_that_there_are() -> None:
    entry = catalogue.provider(ProviderId("idenfy"))
    sender = Sender(
        provider=entry,
        scheme=entry.bind({}),
        keys=SigningKeys(secret=b"your-signing-secret"),
        url="http://127.0.0.1:5000/webhook",
        random_bytes=os.urandom,
    )
    cases = {case.id: case for case in cases_of(sender)}
    shown = re.findall(r"^(?:ok|BAD|GRAVE) +([a-z0-9-]+) +(\S+) +\S+$", PAGE, re.MULTILINE)
    assert [(id, cases[id].expected.told) for id, _ in shown] == shown
    assert f"of {len(cases)} cases" in PAGE
    prose = " ".join(PAGE.split())
    assert all(cases[id].why in prose for id, _ in shown)
