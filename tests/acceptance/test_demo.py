"""`hookseal demo` as a user starts it: a process of its own, nothing configured, and nothing left behind.

oracles  exit code, stdout, stderr, the folder for temporary files
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "hookseal", "demo"]
NAMES = ("ZignSec", "BankID Antifraud", "seal.ID", "iDenfy")
IDS = {"zignsec", "bankid_antifraud", "seal_id", "idenfy"}
TIMEOUT_S = 60


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HOOKSEAL_", "COLUMNS"))}
    return {**kept, "TMPDIR": str(folder), **more}


def demo(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(folder, **more), capture_output=True, text=True, timeout=TIMEOUT_S
    )


def test_one_round_ends_well_when_every_event_has_arrived(tmp_path: Path) -> None:
    run = demo(tmp_path, "--once", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    counts = json.loads(run.stdout)
    assert set(counts) == {"sent", "accepted", "delivered", "providers"}
    assert set(counts["providers"]) == IDS
    for row in counts["providers"].values():
        assert set(row) == {"sent", "accepted", "delivered"}
        assert row["sent"] == row["accepted"] == row["delivered"] > 0
    for name in ("sent", "accepted", "delivered"):
        assert counts[name] == sum(row[name] for row in counts["providers"].values())


def test_every_example_is_sent_and_the_forged_one_is_not_counted(tmp_path: Path) -> None:
    # 3 ZignSec results and 3 statuses of an SMS; 4 alarms and a batch of 2; 2; 5 results of which one comes twice, 1
    counts = json.loads(demo(tmp_path, "--once", "--json").stdout)["providers"]
    assert {id: row["sent"] for id, row in counts.items()} == {
        "zignsec": 6,
        "bankid_antifraud": 6,
        "seal_id": 2,
        "idenfy": 7,
    }


def test_people_are_shown_every_provider_and_the_forged_request(tmp_path: Path) -> None:
    run = demo(tmp_path, "--once", PYTHONIOENCODING="utf-8")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    for name in NAMES:
        assert any(name in line and "delivered" in line for line in lines), name
    (forged,) = [line for line in lines if "forged" in line]
    assert "iDenfy" in forged
    assert "refused 403 signature_mismatch" in forged
    assert any("BankID Antifraud" in line and "consent" in line and "granted" in line for line in lines)


@pytest.mark.parametrize("columns", ["80", "120", "200"])
def test_the_output_fits_the_width_and_shows_the_forged_request_first(tmp_path: Path, columns: str) -> None:
    run = demo(tmp_path, "--once", PYTHONIOENCODING="utf-8", COLUMNS=columns)
    lines = run.stdout.splitlines()
    assert (run.returncode, run.stderr) == (0, "")
    assert max(map(len, lines)) <= int(columns)
    assert any("forged" in line and "refused 403 signature_mismatch" in line for line in lines[:10])


def test_commands_for_another_terminal_fit_80_columns(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0"],
        env=environment(tmp_path, PYTHONIOENCODING="utf-8", COLUMNS="80"),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = [process.stdout.readline().rstrip("\n")]
        while "delivered" not in shown[-1]:
            shown.append(process.stdout.readline().rstrip("\n"))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(TIMEOUT_S) == 0
    assert max(map(len, shown)) <= 80
    assert any(line.strip() == "hookseal events" for line in shown)
    assert any(re.fullmatch(r" +export HOOKSEAL_KEY=[\w-]{43}", line) for line in shown)


def test_no_person_and_no_escape_sequence_is_in_the_output_of_a_pipe(tmp_path: Path) -> None:
    output = demo(tmp_path, "--once", PYTHONIOENCODING="utf-8").stdout
    assert "\x1b" not in output
    assert not re.search("SVENSSON|191212121212|PETRAITIS|X0000000", output)


def test_output_that_is_not_unicode_gets_other_marks(tmp_path: Path) -> None:
    run = demo(tmp_path, "--once", PYTHONIOENCODING="ascii")
    assert run.returncode == 0
    assert run.stdout.isascii()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    demo(tmp_path, "--once", "--json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_told_to_stop_and_then_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0"],
        env=environment(tmp_path, PYTHONIOENCODING="utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "● delivered" in line:
                break
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr.read() == ""
    assert "every event arrived" in rest
    assert list(tmp_path.iterdir()) == []


def test_it_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0"],
        env=environment(tmp_path, PYTHONIOENCODING="utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 1
        assert process.stderr.read() == ""
    assert list(tmp_path.iterdir()) == []


def test_json_without_once_is_a_usage_error(tmp_path: Path) -> None:
    run = demo(tmp_path, "--json")
    assert (run.returncode, run.stdout) == (2, "")
    assert "--once" in run.stderr


def test_an_address_that_cannot_be_had_is_a_usage_error(tmp_path: Path) -> None:
    run = demo(tmp_path, "--once", "--listen", "192.0.2.1:1")
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert "--listen" in run.stderr
