"""What `hookseal serve` writes on stderr for each request: accepted and forged ones, many of them, and never their data."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from aiohttp import ClientSession
from test_serve import CONFIG, SECRET, serve

import hookseal

MANY = 40
PERSON = "LARS-191212121212"


def body(number: int) -> bytes:
    return json.dumps({"scanRef": f"scan-canary-{number}", "final": True, "data": {"docFirstName": PERSON}}).encode()


def totals(lines: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """Of each message: how many lines were written, and how many lines there were."""
    written: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    for line in lines:
        if line.startswith("{"):
            row = json.loads(line)
            written[row["event"]] += "left_out" not in row
            counted[row["event"]] += row.get("left_out", 1)
    return written, counted


async def test_each_request_is_logged_or_counted_without_its_data(tmp_path: Path) -> None:
    """Accepted requests left no trace in the log, and each forged one left a line, however many came."""
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    async with serve(folder=tmp_path) as process, ClientSession() as session:
        url = await process.listening()
        for number in range(MANY):
            genuine = dict(hookseal.sign("idenfy", body(number), secret=SECRET))
            async with session.post(f"{url}/in/idenfy", data=body(number), headers=genuine) as answer:
                assert answer.status == 200
            async with session.post(f"{url}/in/idenfy", data=body(number) + b" ", headers=genuine) as answer:
                assert answer.status == 403
        process.process.terminate()
        code, said = await process.ended()
    assert code == 0
    written, counted = totals(said.splitlines())
    assert counted["accepted"] == MANY
    assert counted["refused"] == MANY
    # More than one period of 10 s may pass on a slow machine; each writes ten lines at most.
    assert 0 < written["accepted"] < MANY
    assert 0 < written["refused"] < MANY
    assert PERSON not in said
    assert "scan-canary" not in said


async def test_an_accepted_line_says_which_source_and_event(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(CONFIG)
    async with serve(folder=tmp_path) as process, ClientSession() as session:
        url = await process.listening()
        for _ in range(2):
            headers = dict(hookseal.sign("idenfy", body(1), secret=SECRET))
            async with session.post(f"{url}/in/idenfy", data=body(1), headers=headers) as answer:
                assert answer.status == 200
        process.process.terminate()
        _, said = await process.ended()
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    first, second = (row for row in rows if row["event"] == "accepted")
    assert (first["source"], first["count"], first["outcome"]) == ("idenfy", 1, "stored")
    assert second["outcome"] == "duplicate"
    assert first["event_id"] == second["event_id"]
