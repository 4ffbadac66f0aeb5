"""`POST /api/v1/visual-signatures`, over a socket and a real store.

Oracles: the status; the made document as PDFium reads it; for a refusal one problem that points at what is wrong and
repeats nothing; the other operations, which answer while documents are worked on.
"""

import asyncio
import json
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from api_served import GONE, IDENFY, Served, a_body, served
from stamp_parts import RED, a_key, a_pdf, an_encrypted_pdf, an_image, dark, seen
from test_api_errors import checked
from test_stamp_placing import judged

from hookseal.api import visual_signatures
from hookseal.model import SourceId

PATH = "/api/v1/visual-signatures"
TIME = "15.11.2022, 09:09:14"
ABSENT = object()


def asked(**more: Any) -> dict[str, Any]:
    given = {
        "document": base64(a_pdf()),
        "page": 1,
        "box": [40, 60, 280, 120],
        "signer": {"kind": "none"},
        "timestamp": "2022-11-15T09:09:14Z",
        "time_zone": "UTC",
        **more,
    }
    return {name: value for name, value in given.items() if value is not ABSENT}


def base64(data: bytes) -> str:
    return b64encode(data).decode()


async def made(api: Served, **more: Any) -> bytes:
    response, body = await api.ask(PATH, "POST", json=asked(**more))
    assert response.status == 200, body
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.headers["Content-Disposition"].startswith("attachment")
    return body


async def problem(api: Served, status: int = 422, **more: Any) -> dict[str, Any]:
    return checked(*await api.ask(PATH, "POST", json=asked(**more)), status)


def a_person(number: int, first: str | None = "ÅSE", overall: str = "APPROVED") -> bytes:
    status = {"overall": overall, "autoDocument": "DOC_VALIDATED", "autoFace": "FACE_MATCH"}
    return a_body(
        number,
        final=True,
        status=status,
        data={
            "docFirstName": first,
            "docLastName": None if first is None else "ÖSTRÖM",
            "docPersonalCode": "191212121212",
        },
    )


@pytest.mark.requirement("L18")
async def test_the_three_kinds_of_name_are_placed(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(a_person(1), subject="scan-1")
        row = await api.get(f"/api/v1/events/{event}")
        assert row["data"]["verified_claims"]["claims"]["given_name"] == "ÅSE"
        for signer, text in (
            ({"kind": "none"}, [TIME]),
            ({"kind": "initial", "name": "Łukasz"}, ["Łukasz", TIME]),
            ({"kind": "verified", "event": event}, ["ÅSE ÖSTRÖM", TIME]),
            ({"kind": "verified", "source": IDENFY, "subject": "scan-1"}, ["ÅSE ÖSTRÖM", TIME]),
        ):
            assert seen(await made(api, signer=signer)).text == ["page 1", *text]


async def test_zone_page_and_image_are_those_that_were_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await made(
            api, document=base64(a_pdf(3)), page=-2, time_zone="Europe/Oslo", image=base64(an_image(240, 60))
        )
        page = seen(document, page=1)
        assert page.text == ["page 2", "15.11.2022, 10:09:14"]
        assert page.at(42, 62) == RED


async def test_a_page_that_is_not_named_is_the_last(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await made(api, document=base64(a_pdf(3)), page=ABSENT)
        assert seen(document, page=2).text == ["page 3", TIME]


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"timestamp": ABSENT}, "/timestamp", "missing"),
        ({"timestamp": None}, "/timestamp", "missing"),
        ({"timestamp": "2022-11-15T09:09:14"}, "/timestamp", "invalid"),
        ({"timestamp": 1668503354}, "/timestamp", "not_text"),
        ({"time_zone": ABSENT}, "/time_zone", "missing"),
        ({"time_zone": "../../etc/passwd"}, "/time_zone", "invalid"),
        ({"document": ABSENT}, "/document", "missing"),
        ({"document": "not base64!"}, "/document", "invalid"),
        ({"document": "Å"}, "/document", "invalid"),
        ({"document": base64(b"junk")}, "/document", "invalid"),
        ({"document": base64(a_pdf()[:300])}, "/document", "invalid"),
        ({"document": base64(an_encrypted_pdf("x"))}, "/document", "invalid"),
        ({"document": "file:///etc/passwd"}, "/document", "invalid"),
        ({"image": base64(b"junk")}, "/image", "invalid"),
        ({"image": "https://example.com/a.png"}, "/image", "invalid"),
        ({"image": 7}, "/image", "not_text"),
        ({"image": base64(bytes(visual_signatures.MAX_IMAGE_BYTES + 1))}, "/image", "invalid"),
        ({"page": 0}, "/page", "invalid"),
        ({"page": 2}, "/page", "invalid"),
        ({"page": True}, "/page", "invalid"),
        ({"page": 1.0}, "/page", "invalid"),
        ({"page": None}, "/page", "invalid"),
        ({"box": ABSENT}, "/box", "missing"),
        ({"box": [1, 2, 3]}, "/box", "invalid"),
        ({"box": [0, 0, 1e308, 50]}, "/box", "invalid"),
        ({"box": [0, 0, "9", 50]}, "/box", "invalid"),
        ({"box": [0, 0, 900, 50]}, "/box", "invalid"),
        ({"signer": ABSENT}, "/signer", "missing"),
        ({"signer": None}, "/signer", "missing"),
        ({"signer": "none"}, "/signer", "not_an_object"),
        ({"signer": {}}, "/signer/kind", "missing"),
        ({"signer": {"kind": None}}, "/signer/kind", "missing"),
        ({"signer": {"kind": ["none"]}}, "/signer/kind", "invalid"),
        ({"signer": {"kind": "none", "name": "Ada"}}, "/signer/name", "not_with_none"),
        ({"signer": {"kind": "initial"}}, "/signer/name", "missing"),
        ({"signer": {"kind": "initial", "name": "a\nb"}}, "/signer/name", "invalid"),
        ({"signer": {"kind": "initial", "name": "王"}}, "/signer/name", "invalid"),
        ({"signer": {"kind": "initial", "name": "A", "event": "x"}}, "/signer/event", "not_with_initial"),
        ({"signer": {"kind": "verified"}}, "/signer/event", "missing"),
        ({"signer": {"kind": "verified", "name": "Ada"}}, "/signer/name", "not_with_verified"),
        ({"signer": {"kind": "verified", "event": "x"}}, "/signer/event", "invalid"),
        ({"signer": {"kind": "verified", "event": "0199d1a4-7b3c-7e11-8a2b-0123456789ab"}}, "/signer/event", "invalid"),
        ({"signer": {"kind": "verified", "source": "idenfy-prod"}}, "/signer/subject", "missing"),
        ({"signer": {"kind": "verified", "subject": "s"}}, "/signer/source", "missing"),
        ({"signer": {"kind": "verified", "source": "idenfy-prod", "subject": "nobody"}}, "/signer", "invalid"),
        ({"junk-canary-1f9a": 1}, "", "unknown_member"),
    ],
)
async def test_what_cannot_be_is_422_and_pointed_at(
    tmp_path: Path, more: dict[str, Any], pointer: str, code: str
) -> None:
    async with served(tmp_path) as api:
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in (await problem(api, **more))["errors"]]


async def test_every_fault_of_a_body_is_told_at_once(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        told = await problem(api, timestamp=ABSENT, box=[], signer={"kind": "x"}, page=0)
        assert {one["pointer"] for one in told["errors"]} == {"/timestamp", "/box", "/signer/kind", "/page"}


@pytest.mark.parametrize(
    ("body", "source"),
    [
        (a_person(1, first=None), IDENFY),
        (a_person(1, overall="DENIED"), IDENFY),
        (a_person(1), GONE),
        (b"\xff", IDENFY),
    ],
)
async def test_a_verified_name_that_is_not_there_is_refused(tmp_path: Path, body: bytes, source: SourceId) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(body, source=source, subject="scan-1")
        for signer in ({"event": event}, {"source": source, "subject": "scan-1"}):
            told = await problem(api, signer={"kind": "verified", **signer})
            assert told["errors"][0]["pointer"] == "/signer"
            assert "name" in told["detail"]


async def test_the_name_of_an_approved_event_is_not_placed_after_the_case_was_declined(tmp_path: Path) -> None:
    """`superseded` marks only events that came late. An event that was overtaken after it was stored is not marked."""
    async with served(tmp_path) as api:
        approved, _ = await api.accept(a_person(1), subject="scan-1")
        assert seen(await made(api, signer={"kind": "verified", "event": approved})).text[1] == "ÅSE ÖSTRÖM"
        await api.accept(a_person(2, overall="DENIED"), subject="scan-1", after_s=60)
        assert (await api.get(f"/api/v1/events/{approved}"))["data"]["superseded"] is False
        for signer in ({"event": approved}, {"source": IDENFY, "subject": "scan-1"}):
            told = await problem(api, signer={"kind": "verified", **signer})
            assert told["errors"][0]["pointer"] == "/signer"


async def test_another_case_does_not_overtake_and_an_approval_after_a_refusal_counts(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await api.accept(a_person(1, overall="DENIED"), subject="scan-1")
        approved, _ = await api.accept(a_person(2), subject="scan-1", after_s=60)
        await api.accept(a_person(3, overall="DENIED"), subject="scan-2", after_s=120)
        alone, _ = await api.accept(a_person(4), after_s=180)
        for signer in ({"event": approved}, {"source": IDENFY, "subject": "scan-1"}, {"event": alone}):
            assert seen(await made(api, signer={"kind": "verified", **signer})).text[1] == "ÅSE ÖSTRÖM"


async def test_a_document_may_be_as_large_as_is_said_and_no_larger(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        large = a_pdf(drawn=b"%" + b"x" * (visual_signatures.MAX_DOCUMENT_BYTES - 2000))
        assert len(await made(api, document=base64(large))) > len(large)
        assert visual_signatures.MAX_DOCUMENT_BYTES - 2000 < len(large) <= visual_signatures.MAX_DOCUMENT_BYTES
        over = bytes(visual_signatures.MAX_DOCUMENT_BYTES + 1)
        assert (await problem(api, document=base64(over)))["errors"][0]["pointer"] == "/document"
        checked(*await api.ask(PATH, "POST", data=b" " * (visual_signatures.MAX_BODY_BYTES + 1)), 413)


async def test_the_larger_limit_is_that_of_this_operation_only(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = {"Content-Type": "application/json"}
        checked(*await api.ask("/api/v1/replays", "POST", data=b" " * 1_000_000, headers=headers), 413)


async def test_while_documents_are_worked_on_others_are_answered_and_one_too_many_is_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, go_on = threading.Semaphore(0), threading.Event()

    def held(*arguments: Any, **named: Any) -> bytes:
        started.release()
        assert go_on.wait(30)
        return b"%PDF-"

    async with served(tmp_path) as api:
        monkeypatch.setattr("hookseal.stamp.placing.place", held)
        under_way = [asyncio.create_task(api.ask(PATH, "POST", json=asked())) for _ in range(visual_signatures.AT_ONCE)]
        try:
            for _ in range(2):
                await asyncio.to_thread(started.acquire, timeout=30)
            assert (await api.get("/api/v1/events"))["data"] == []
            refused = await problem(api, 503)
            assert refused["type"] == "/problems/unavailable"
        finally:
            go_on.set()
        assert [response.status for response, _ in await asyncio.gather(*under_way)] == [
            200
        ] * visual_signatures.AT_ONCE
        assert (await api.ask(PATH, "POST", json=asked()))[0].status == 200, "the places are free again"


async def test_a_refused_document_frees_its_place(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for _ in range(visual_signatures.AT_ONCE + 1):
            await problem(api, document=base64(b"junk"))
            checked(*await api.ask(PATH, "POST", data=b"{", headers={"Content-Type": "application/json"}), 400)
        assert await made(api)


async def test_without_the_extra_the_api_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as api:
        monkeypatch.setattr(visual_signatures, "is_installed", lambda: False)
        told = await problem(api, 501)
        assert "hookseal[stamp]" in told["detail"]
        assert json.dumps(told).count("junk") == 0


def pem(key: bytes, certificate: bytes, **more: str) -> dict[str, str]:
    return {"key": key.decode(), "certificates": certificate.decode(), **more}


@pytest.mark.requirement("L18")
@pytest.mark.parametrize("passphrase", [None, "open sesame"])
async def test_with_a_key_the_document_that_comes_back_is_signed(tmp_path: Path, passphrase: str | None) -> None:
    key, certificate = a_key(passphrase=None if passphrase is None else passphrase.encode())
    given = pem(key, certificate) if passphrase is None else pem(key, certificate, passphrase=passphrase)
    async with served(tmp_path) as api:
        document = await made(api, signer={"kind": "initial", "name": "Łukasz"}, signing=given)
    signature, status = await asyncio.to_thread(judged, document, certificate)
    assert status.bottom_line
    assert signature.sig_object["/SubFilter"] == "/ETSI.CAdES.detached"
    assert seen(document).ink((40, 60, 280, 120), dark) > 500  # the text is in the appearance of the signature field


async def test_a_key_that_cannot_sign_is_pointed_at_and_not_repeated(tmp_path: Path) -> None:
    key, certificate = a_key()
    other, _ = a_key()
    locked, its = a_key(passphrase=b"open sesame")
    async with served(tmp_path) as api:
        for signing, pointer in (
            ("text", "/signing"),
            ({}, "/signing/key"),
            ({"key": 5, "certificates": certificate.decode()}, "/signing/key"),
            (pem(key, certificate, colour="red"), "/signing"),
            (pem(other, certificate), "/signing"),
            (pem(b"no key", certificate), "/signing"),
            (pem(key, b"no certificate"), "/signing"),
            (pem(locked, its), "/signing"),
            (pem(locked, its, passphrase="wrong-canary"), "/signing"),
            (pem(b"k" * 70_000, certificate), "/signing"),
        ):
            told = await problem(api, signing=signing)
            assert told["errors"][0]["pointer"] == pointer
            assert "canary" not in json.dumps(told)
            assert "BEGIN" not in json.dumps(told)
