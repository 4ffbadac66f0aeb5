"""`hookseal stamp`, and in a process of its own where that is what is asked.

Oracles: the exit code; one line on stderr and no traceback; the made file as PDFium reads it, or no file at all.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stamp_parts import BOX, RED, a_key, a_pdf, an_encrypted_pdf, an_image, seen
from test_stamp_placing import judged

from hookseal.cli import main

AT, BOX_TEXT = "2022-11-05T21:04:03Z", "40,60,280,120"


@dataclass(frozen=True)
class Ended:
    code: int
    out: bytes
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Path:
    """Where the command runs, with a document of two pages in it."""
    (tmp_path / "in.pdf").write_bytes(a_pdf(2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "captured", capfdbinary)
    return tmp_path


captured: Any = None
"""Of the running test: what the command wrote."""


def run(*arguments: str | Path) -> Ended:
    code = main([str(one) for one in arguments])
    out, err = captured.readouterr()
    return Ended(code, out, err.decode())


def stamp(folder: Path, *more: str | Path, at: str = AT, out: str = "out.pdf") -> Ended:
    return run("stamp", "in.pdf", "-o", out, "--box", BOX_TEXT, "--at", at, *more)


def made(folder: Path, *more: str | Path, **how: Any) -> list[str]:
    ended = stamp(folder, *more, **how)
    assert (ended.code, ended.out, ended.err) == (0, b"", "wrote out.pdf\n")
    assert sorted(one.name for one in folder.iterdir() if one.name.startswith(".hookseal")) == []
    return seen((folder / "out.pdf").read_bytes(), page=1).text[1:]


def refused(folder: Path, code: int, words: str, *more: str | Path, **how: Any) -> None:
    ended = stamp(folder, *more, **how)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert words in " ".join(ended.err.split())
    assert not (folder / "out.pdf").exists()


def an_event(folder: Path, **data: Any) -> Path:
    claims = {"claims": {"given_name": "Anna", "family_name": "Öström"}}
    given = {"outcome": "approved", "superseded": False, "verified_claims": claims, **data}
    (folder / "event.json").write_text(json.dumps({"specversion": "1.0", "data": given}))
    return folder / "event.json"


@pytest.mark.requirement("L18", "L19")
def test_the_time_is_placed_and_no_name(folder: Path) -> None:
    assert made(folder) == ["05.11.2022, 21:04:03"]


@pytest.mark.requirement("L19")
def test_the_time_is_that_of_the_zone(folder: Path) -> None:
    assert made(folder, "--zone", "Europe/Oslo") == ["05.11.2022, 22:04:03"]
    assert made(folder, at="1667682243") == ["05.11.2022, 21:04:03"]


@pytest.mark.requirement("L18")
def test_the_name_submitted_is_placed(folder: Path) -> None:
    assert made(folder, "--signer", "initial", "--name", "Åse Šimić") == ["Åse Šimić", "05.11.2022, 21:04:03"]


@pytest.mark.requirement("L18")
def test_the_verified_name_comes_from_an_event_or_from_the_operator(folder: Path) -> None:
    verified = ["Anna Öström", "05.11.2022, 21:04:03"]
    assert made(folder, "--signer", "verified", "--event", an_event(folder)) == verified
    assert made(folder, "--signer", "verified", "--name", "Anna Öström") == verified


@pytest.mark.requirement("L18")
def test_an_image_lies_behind_the_text(folder: Path) -> None:
    (folder / "image.png").write_bytes(an_image(240, 60))
    made(folder, "--image", "image.png")
    assert seen((folder / "out.pdf").read_bytes(), page=1).at(42, 62) == RED


@pytest.mark.requirement("L18")
def test_a_request_without_a_time_is_refused(folder: Path) -> None:
    ended = run("stamp", "in.pdf", "-o", "out.pdf", "--box", BOX_TEXT)
    assert ended.code == 2
    assert "--at" in ended.err
    assert not (folder / "out.pdf").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--signer", "verified"), "--event: give the event of the verification"),
        (("--signer", "verified", "--name", "A", "--event", "event.json"), "--event: give the event"),
        (("--signer", "initial"), "--name: give the name"),
        (("--signer", "initial", "--event", "event.json"), "--name: give the name"),
        (("--name", "Ada"), "--signer: say initial or verified"),
        (("--signer", "Null"), "--signer: write none, initial or verified"),
        (("--at", "2022-11-05T21:04:03"), "--at: write"),
        (("--at", "yesterday"), "--at: write"),
        (("--zone", "../../etc/passwd"), "--zone: is not the IANA name"),
        (("--box", "1,2,3"), "--box: write four numbers"),
        (("--image", "none.png"), "--image: the file none.png is not there"),
        (("--image", "."), "--image: . is not a file"),
        (("--key", "in.pdf"), "give --key and --certificate together"),
        (("--passphrase", "env:X"), "give --key and --certificate together"),
        (("-o", "nowhere/out.pdf"), "-o: 'nowhere/out.pdf' cannot be written"),
        (("--signer", "verified", "--event", "in.pdf"), "--event: the file is not JSON"),
    ],
)
def test_a_wrong_call_is_told_what_to_write(folder: Path, more: tuple[str, ...], words: str) -> None:
    refused(folder, 2, words, *more)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--page", "3"), "--page: there is no such page"),
        (("--page", "0"), "--page: there is no such page"),
        (("--box", "0,0,900,90"), "--box: leaves the page"),
        (("--box", "90,0,0,90"), "--box: is left, bottom, right, top"),
        (("--image", "in.pdf"), "--image: is not a PNG or JPEG"),
        (("--font", "in.pdf"), "--font: is not a TrueType"),
        (("--signer", "initial", "--name", "王"), "--name: has a character that the font does not have"),
        (("--signer", "initial", "--name", "a\nb"), "--name: holds a character that is not shown"),
    ],
)
def test_what_cannot_be_placed_is_refused(folder: Path, more: tuple[str, ...], words: str) -> None:
    refused(folder, 1, words, *more)


@pytest.mark.parametrize(
    "data",
    [{"outcome": "declined"}, {"superseded": True}, {"verified_claims": None}, {"verified_claims": {"claims": {}}}],
)
def test_an_event_without_a_verified_name_is_refused(folder: Path, data: dict[str, Any]) -> None:
    refused(folder, 1, "--event: ", "--signer", "verified", "--event", an_event(folder, **data))


def test_the_events_of_a_case_tell_that_it_was_declined_later(folder: Path) -> None:
    approved = json.loads(an_event(folder).read_text())
    declined = {"specversion": "1.0", "data": {"outcome": "declined", "superseded": False}}
    path = folder / "events.json"
    path.write_text(json.dumps({"data": [approved], "next": None}))
    assert stamp(folder, "--signer", "verified", "--event", path).code == 0
    (folder / "out.pdf").unlink()
    path.write_text(json.dumps({"data": [declined, approved], "next": None}))
    refused(folder, 1, "--event: the case is not approved", "--signer", "verified", "--event", path)


@pytest.mark.parametrize("document", [b"", b"junk", a_pdf()[:300], an_encrypted_pdf("x")])
def test_a_document_that_cannot_be_used_is_refused(folder: Path, document: bytes) -> None:
    (folder / "in.pdf").write_bytes(document)
    refused(folder, 1, "IN.pdf: is ")


def test_a_refusal_leaves_an_older_file_as_it_is(folder: Path) -> None:
    (folder / "out.pdf").write_bytes(b"before")
    assert stamp(folder, "--page", "9").code == 1
    assert (folder / "out.pdf").read_bytes() == b"before"


def test_the_document_can_go_to_stdout(folder: Path) -> None:
    ended = stamp(folder, out="-")
    assert ended.code == 0
    assert seen(ended.out, page=1).text[1:] == ["05.11.2022, 21:04:03"]


def test_a_key_signs_the_document_with_a_passphrase_from_the_environment_or_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = a_key(passphrase=b"a long passphrase")
    (folder / "key.pem").write_bytes(key)
    (folder / "certificate.pem").write_bytes(certificate)
    (folder / "passphrase").write_text("a long passphrase")
    more = (
        "--key",
        "key.pem",
        "--certificate",
        "certificate.pem",
        "--signer",
        "initial",
        "--name",
        "Ada",
        "--passphrase",
    )
    monkeypatch.setenv("SIGNING", "a long passphrase")
    for place in ("env:SIGNING", "file:passphrase"):
        assert stamp(folder, *more, place).code == 0
        signature, status = judged((folder / "out.pdf").read_bytes(), certificate)
        assert status.bottom_line
        assert signature.sig_object["/SubFilter"] == "/ETSI.CAdES.detached"
        assert seen((folder / "out.pdf").read_bytes(), page=1).ink(BOX, lambda one: sum(one) < 250) > 300
        (folder / "out.pdf").unlink()
    monkeypatch.delenv("SIGNING")
    refused(folder, 2, "the variable SIGNING is not set", *more, "env:SIGNING")
    refused(folder, 2, "write env:NAME or file:PATH", *more, "a long passphrase")
    (folder / "passphrase").write_text("wrong")
    refused(folder, 2, "signing key: does not open", *more, "file:passphrase")


def test_without_the_extra_the_command_says_how_to_install_it_and_all_else_works(folder: Path) -> None:
    hidden = "pyhanko", "PIL", "fontTools", "uharfbuzz", "ttf_opensans"
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
        "import hookseal\nfrom hookseal.web import app\nfrom hookseal.cli import main\n"
        "assert main(['providers', '--json']) == 0\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = ["stamp", "in.pdf", "-o", "out.pdf", "--box", BOX_TEXT, "--at", AT]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert b"pip install 'hookseal[stamp]'" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (folder / "out.pdf").exists()


def test_the_command_works_in_a_process_of_its_own(folder: Path) -> None:
    arguments = ["stamp", "in.pdf", "-o", "out.pdf", "--box", BOX_TEXT, "--at", AT]
    done = subprocess.run(
        [sys.executable, "-m", "hookseal", *arguments], cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"wrote out.pdf\n")
    assert seen((folder / "out.pdf").read_bytes(), page=1).text[1:] == ["05.11.2022, 21:04:03"]
