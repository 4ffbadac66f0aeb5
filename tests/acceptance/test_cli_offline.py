"""`hookseal verify`, `sign`, `providers` and `migrate` as a user runs them: exit codes, exact bytes, one JSON document."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Ended, hookseal

from hookseal.catalogue.reader import FOLDER
from hookseal.catalogue.vectors import Vector, vectors_beside
from hookseal.clock import to_unix
from hookseal.sealing import Keyring

SECRET = "your-signing-secret"


def vector(provider: str, id: str) -> Vector:
    vectors = vectors_beside(FOLDER / f"{provider}.toml")
    assert vectors is not None
    return next(one for one in vectors.vectors if one.id == id)


def judged(provider: str, given: Vector, folder: Path, *more: str) -> Ended:
    """`hookseal verify` over a vector, its body from stdin."""
    headers = [part for name, value in given.headers for part in ("--header", name + b": " + value)]
    secrets = [part for secret in given.secrets for part in ("--secret", secret)]
    at = f"{to_unix(given.now):.0f}"
    return hookseal("verify", provider, *secrets, *headers, "--at", at, *more, folder=folder, stdin=given.body)


def told(ended: Ended) -> dict[str, object]:
    answer = json.loads(ended.out)
    assert isinstance(answer, dict)
    assert set(answer) == {"result", "reason", "event", "diagnosis"}
    return answer


@pytest.mark.parametrize(("provider", "id"), [("zignsec", "ZS-1"), ("idenfy", "ID-1"), ("seal_id", "SL-1")])
def test_a_genuine_request_is_accepted_with_its_event(provider: str, id: str, tmp_path: Path) -> None:
    ended = judged(provider, vector(provider, id), tmp_path)
    assert ended.code == 0, ended.err
    answer = told(ended)
    assert answer["result"] == "accepted"
    assert answer["reason"] is None
    event = answer["event"]
    assert isinstance(event, dict)
    assert event["provider"] == provider
    assert event["source"] == f"/sources/{provider}"


def test_a_body_comes_from_a_path_as_well(tmp_path: Path) -> None:
    given = vector("idenfy", "ID-1")
    (tmp_path / "body.json").write_bytes(given.body)
    signature = next(value for name, value in given.headers if name == b"idenfy-signature")
    ended = hookseal(
        *("verify", "idenfy", "body.json", "--secret", given.secrets[0]),
        *("--header", b"Idenfy-Signature: " + signature),
        folder=tmp_path,
    )
    assert ended.code == 0, ended.err


def test_a_refused_request_ends_in_1_with_its_reason(tmp_path: Path) -> None:
    header = "Idenfy-Signature: " + "0" * 64
    ended = hookseal("verify", "idenfy", "--secret", SECRET, "--header", header, folder=tmp_path, stdin=b"{}")
    assert ended.code == 1
    answer = told(ended)
    assert (answer["result"], answer["reason"], answer["event"]) == ("refused", "signature_mismatch", None)


def test_a_secret_is_taken_exactly_as_given_newline_included(tmp_path: Path) -> None:
    (tmp_path / "exact").write_bytes(SECRET.encode())
    (tmp_path / "newline").write_bytes(SECRET.encode() + b"\n")
    signed = hookseal("sign", "idenfy", "--secret", SECRET, folder=tmp_path, stdin=b"{}").out.strip()
    arguments = ("verify", "idenfy", "--header", signed)
    assert hookseal(*arguments, "--secret-file", "exact", folder=tmp_path, stdin=b"{}").code == 0
    assert hookseal(*arguments, "--secret-file", "newline", folder=tmp_path, stdin=b"{}").code == 1
    assert hookseal(*arguments, "--secret", SECRET + " ", folder=tmp_path, stdin=b"{}").code == 1
    assert hookseal(*arguments, "--secret", "x", "--secret", SECRET, folder=tmp_path, stdin=b"{}").code == 0


def test_sign_prints_the_published_signature(tmp_path: Path) -> None:
    given = vector("zignsec", "ZS-1")
    ended = hookseal("sign", "zignsec", "--secret", given.secrets[0], folder=tmp_path, stdin=given.body)
    assert ended.code == 0
    assert ended.out == "X-ZignSec-Hmac-SHA256: z0wip7nwBtCQm45baZjn5nnoggKiFXOapaUiNvk9ay0=\n"


def test_a_secret_that_is_no_text_signs_with_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"\xff\xfe\x80")
    by_file = hookseal("sign", "idenfy", "--secret-file", "raw", folder=tmp_path, stdin=b"{}")
    by_text = hookseal("sign", "idenfy", "--secret", b"\xff\xfe\x80", folder=tmp_path, stdin=b"{}")
    assert by_file.code == 0
    assert by_file.out == by_text.out


def test_time_is_unix_seconds_or_rfc_3339(tmp_path: Path) -> None:
    written = {
        hookseal("sign", "seal_id", "--secret", SECRET, "--at", at, folder=tmp_path, stdin=b"{}").out
        for at in ("1668503354", "2022-11-15T09:09:14Z", "2022-11-15T10:09:14+01:00")
    }
    assert len(written) == 1
    assert "ubiid-notification-timestamp: 20221115T090914Z" in written.pop()


def test_options_come_by_name_and_from_files(tmp_path: Path) -> None:
    body = b'{"a": "b c"}'
    signed = hookseal("sign", "seal_id", "--secret", SECRET, "--set", "mode=stripped", folder=tmp_path, stdin=body)
    headers = [part for line in signed.out.splitlines() for part in ("--header", line)]
    (tmp_path / "mode").write_text("stripped")
    for mode, code in (("stripped", 0), ("@mode", 0), ("raw", 1)):
        ended = hookseal(
            "verify", "seal_id", "--secret", SECRET, "--set", f"mode={mode}", *headers, folder=tmp_path, stdin=body
        )
        assert ended.code == code, (mode, ended.err)


def test_a_token_is_judged_with_the_keys_of_a_file_and_not_without(tmp_path: Path) -> None:
    vectors = vectors_beside(FOLDER / "bankid_antifraud.toml")
    assert vectors is not None
    assert vectors.key_set is not None
    (tmp_path / "keys.json").write_bytes(vectors.key_set)
    given = next(one for one in vectors.vectors if one.accepted)
    options = [part for name, value in given.options.items() for part in ("--set", f"{name}={value}")]
    ended = judged("bankid_antifraud", given, tmp_path, *options, "--set", "jwks=@keys.json")
    assert ended.code == 0, ended.err
    without = judged("bankid_antifraud", given, tmp_path, *options)
    assert without.code == 2
    assert without.out == ""
    assert "jwks" in without.err


def test_an_address_list_is_judged_before_the_proof(tmp_path: Path) -> None:
    given = vector("zignsec", "ZS-1")
    options = ("--set", "addresses=zignsec", "--remote")
    assert judged("zignsec", given, tmp_path, *options, "137.117.208.108").code == 0
    ended = judged("zignsec", given, tmp_path, *options, "192.0.2.1")
    assert told(ended)["reason"] == "address_not_allowed"


MISUSED = {
    "unknown provider": (["verify", "idenfi", "--secret", "x"], "there is no provider"),
    "no secret": (["verify", "idenfy"], "--secret"),
    "empty secret": (["verify", "idenfy", "--secret", ""], "is empty"),
    "secret file that is not there": (["verify", "idenfy", "--secret-file", "none"], "cannot be read"),
    "body that is not there": (["verify", "idenfy", "none", "--secret", "x"], "cannot be read"),
    "body that is a folder": (["verify", "idenfy", ".", "--secret", "x"], "cannot be read"),
    "header without a colon": (["verify", "idenfy", "--secret", "x", "--header", "a"], "Name: value"),
    "option without a value": (["verify", "idenfy", "--secret", "x", "--set", "a"], "KEY=VALUE"),
    "unknown option": (["verify", "idenfy", "--secret", "x", "--set", "a=b"], "is no option"),
    "option out of range": (["verify", "seal_id", "--secret", "x", "--set", "mode=all"], "must be one of"),
    "option file that is not there": (["verify", "idenfy", "--secret", "x", "--set", "a=@none"], "cannot be read"),
    "addresses": (["verify", "idenfy", "--secret", "x", "--set", "addresses=1.2.3.4/1"], "networks"),
    "time": (["verify", "idenfy", "--secret", "x", "--at", "yesterday"], "unix seconds"),
    "time without an offset": (["verify", "idenfy", "--secret", "x", "--at", "2022-11-15T09:09:14"], "unix seconds"),
    "time out of range": (["verify", "idenfy", "--secret", "x", "--at", "99999999999999"], "unix seconds"),
    "sign with two secrets": (["sign", "idenfy", "--secret", "x", "--secret", "y"], "the one secret"),
    "sign without a secret": (["sign", "idenfy"], "the one secret"),
    "providers of no folder": (["providers", "--check", "none"], "name a folder"),
    "providers of an empty folder": (["providers", "--check", "."], "holds no provider"),
}


@pytest.mark.parametrize("name", MISUSED)
def test_a_misuse_ends_in_2_and_one_sentence(name: str, tmp_path: Path) -> None:
    arguments, remedy = MISUSED[name]
    ended = hookseal(*arguments, folder=tmp_path, stdin=b"{}")
    assert ended.code == 2, ended.err
    assert ended.out == ""
    (line,) = ended.lines
    assert remedy in line


def test_the_catalogue_is_listed_and_is_one_json_document(tmp_path: Path) -> None:
    listed = hookseal("providers", folder=tmp_path)
    assert listed.code == 0
    assert "\x1b" not in listed.out
    entries = json.loads(hookseal("providers", "--json", folder=tmp_path).out)
    assert {"zignsec", "idenfy", "seal_id", "bankid_antifraud"} <= {entry["id"] for entry in entries}
    for entry in entries:
        assert entry["id"] in listed.out
        assert entry["docs"]
        assert entry["checked"]
    one = json.loads(hookseal("providers", "bankid_antifraud", "--json", folder=tmp_path).out)
    audience = next(option for option in one["options"] if option["name"] == "audience")
    assert audience["required"] is True
    assert audience["help"] in hookseal("providers", "bankid_antifraud", folder=tmp_path).out


def test_a_folder_of_own_entries_is_tried(tmp_path: Path) -> None:
    for name in ("idenfy.toml", "idenfy.vectors.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    ended = hookseal("providers", "--check", ".", "--json", folder=tmp_path)
    assert ended.code == 0
    assert json.loads(ended.out) == {"ok": True, "providers": {"idenfy": []}}
    vectors = json.loads((tmp_path / "idenfy.vectors.json").read_text())
    vectors["vectors"][0]["body"] += " "
    (tmp_path / "idenfy.vectors.json").write_text(json.dumps(vectors))
    ended = hookseal("providers", "--check", ".", folder=tmp_path)
    assert ended.code == 1
    assert "expected accept, got signature_mismatch" in ended.out


def test_migrate_makes_a_store_that_check_accepts_with_its_own_key_only(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text("")
    made = hookseal("migrate", "--json", folder=tmp_path)
    assert made.code == 0, made.err
    assert json.loads(made.out)["store"] == str(tmp_path / "hookseal.db")
    assert (tmp_path / "hookseal.key").stat().st_mode & 0o777 == 0o600
    assert hookseal("check", folder=tmp_path).code == 0
    (tmp_path / "hookseal.key").write_text(Keyring.generate().dump())
    stored = (tmp_path / "hookseal.db").read_bytes()
    for command in ("check", "migrate"):
        ended = hookseal(command, folder=tmp_path)
        assert ended.code == 2
        # `check` warns of the empty configuration as well.
        assert [line for line in ended.lines if "belongs to another keyring" in line]
    (tmp_path / "hookseal.key").unlink()
    for command in ("check", "migrate"):
        ended = hookseal(command, folder=tmp_path)
        assert ended.code == 2
        assert "put the key file back" in ended.err
        assert not (tmp_path / "hookseal.key").exists()
    assert (tmp_path / "hookseal.db").read_bytes() == stored


def test_verify_loads_no_server_database_or_http_client(tmp_path: Path) -> None:
    given = vector("idenfy", "ID-1")
    headers = [(name.decode(), value.decode()) for name, value in given.headers]
    code = (
        "import sys, hookseal.cli\n"
        "code = hookseal.cli.main(sys.argv[1:])\n"
        "heavy = {'granian', 'apsw', 'aiohttp', 'starlette', 'uvloop'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    arguments = [part for name, value in headers for part in ("--header", f"{name}: {value}")]
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", "idenfy", "--secret", given.secrets[0], *arguments],
        input=given.body,
        capture_output=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_is_no_error_message(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hookseal", "providers", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


def test_control_c_ends_in_130_without_a_word_of_python(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "hookseal", "verify", "idenfy", "--secret", "x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        # A suite that runs in the background of a shell has Ctrl-C ignored, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # Once this module is imported, the command stands before reading its body, which never comes.
        while b"hookseal.cli.given" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
        assert b"Traceback" not in rest


def test_the_program_ends_without_taking_the_interpreter_down_and_loses_no_output(tmp_path: Path) -> None:
    """A native thread of the HTTP server that is still ending must not meet an interpreter that is going away."""
    program = "import atexit; from hookseal.cli import run; atexit.register(print, 'taken down'); run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "providers", "--json"],
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) >= 4
