"""`GET /api/v1/quarantine/{id}`, `/raw` and `hookseal quarantine show`: one refused request as it came, but for credentials.

Oracles: the bytes that were refused, over a real socket and in the output of a process.
"""

import base64
from pathlib import Path
from typing import Any

import pytest
from api_served import IDENFY, NOW, Served, a_body, served
from test_api_cli import SOME_ID, both, hookseal

from hookseal.clock import Instant
from hookseal.ids import new_refusal_id
from hookseal.message import Headers
from hookseal.model import RefusalId, SourceId
from hookseal.store.port import Refusal

CREDENTIAL = "credential-canary-77aa"
EVIL = "\x1b[2J\x07\u202e\x9b31m"


async def refuse(
    api: Served, body: bytes, headers: Headers = (), source: SourceId = IDENFY, query: str = ""
) -> RefusalId:
    refusal = Refusal(
        id=new_refusal_id(Instant(NOW)),
        source=source,
        received_at=NOW,
        reason="signature_mismatch",
        method="POST",
        url=f"https://hooks.example.com/in/{source}{query}",
        remote="203.0.113.9",
        headers=headers,
        body=body,
    )
    await api.store.quarantine(refusal)
    return refusal.id


async def headers_of(api: Served, refusal: RefusalId) -> list[Any]:
    return list((await api.get(f"/api/v1/quarantine/{refusal}"))["headers"])


async def test_a_refused_request_is_shown_with_headers_and_body(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = ((b"content-type", b"application/json"), (b"idenfy-signature", b"9f86"), (b"x-odd", b"\xe9"))
        refusal = await refuse(api, a_body(), headers, query=f"?access_token={CREDENTIAL}")
        one = await api.get(f"/api/v1/quarantine/{refusal}")
        [listed] = (await api.get("/api/v1/quarantine"))["data"]
        assert {name: value for name, value in one.items() if name in listed} == listed
        assert one["headers"] == [
            {"name": "content-type", "value": "application/json"},
            {"name": "idenfy-signature", "value": "9f86"},
            {"name": "x-odd", "value": "\xe9"},
        ]
        assert (one["body"], one["body_base64"]) == (a_body().decode(), None)
        assert (one["url"], one["remote"]) == ("https://hooks.example.com/in/idenfy-prod", "203.0.113.9")
        for reader in (f"/api/v1/quarantine/{refusal[:13]}", f"/api/v1/quarantine/{refusal}/raw"):
            response, _ = await api.ask(reader)
            assert response.status == 200


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", b"text\r\n\x00 with a zero", bytes(range(256))])
async def test_the_exact_bytes_are_at_hand_whatever_they_are(tmp_path: Path, body: bytes) -> None:
    async with served(tmp_path) as api:
        refusal = await refuse(api, body)
        one = await api.get(f"/api/v1/quarantine/{refusal}")
        if one["body"] is None:
            assert base64.b64decode(one["body_base64"]) == body
        else:
            assert (one["body"].encode(), one["body_base64"]) == (body, None)
        response, raw = await api.ask(f"/api/v1/quarantine/{refusal}/raw")
        assert raw == body
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert "attachment" in response.headers["Content-Disposition"]
        run = await hookseal("quarantine", "show", refusal, "--raw", url=api.url)
        assert (run.code, run.out) == (0, body)


async def test_credentials_are_named_and_not_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        secret = CREDENTIAL.encode()
        names = (b"authorization", b"x-api-key", b"x-auth-token", b"x-client-secret", b"x-password")
        refusal = await refuse(api, b"{}", tuple((name, secret) for name in names), query=f"?token={CREDENTIAL}")
        assert await headers_of(api, refusal) == [{"name": name.decode(), "value": None} for name in names]
        text, _ = await both(api, "quarantine", "show", refusal)
        assert CREDENTIAL not in text
        assert "authorization: (hidden)" in text


async def test_where_the_provider_is_not_known_only_plain_headers_are_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        headers = ((b"content-type", b"text/plain"), (b"some-proof", CREDENTIAL.encode()))
        refusal = await refuse(api, b"{}", headers, source=SourceId("gone"))
        assert await headers_of(api, refusal) == [
            {"name": "content-type", "value": "text/plain"},
            {"name": "some-proof", "value": None},
        ]


async def test_what_the_sender_wrote_cannot_steer_the_terminal(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        body = f'{{\n\t"a": "{EVIL}"\r\n}}'.encode()
        refusal = await refuse(api, body, ((b"x-odd", EVIL.encode()),))
        run = await hookseal("quarantine", "show", refusal, url=api.url)
        text = run.out.decode()
        assert run.code == 0, run.err
        assert all(one.isprintable() or one in "\n\t" for one in text)
        assert '\n\t"a": "\\x1b[2J' in text
        assert "signature_mismatch" in text
        binary = await refuse(api, b"\x00\xff" * 40)
        shown = (await hookseal("quarantine", "show", binary, url=api.url)).out.decode()
        assert "80 bytes" in shown
        assert "00ff00ff" in shown
        assert "--raw" in shown


async def test_what_is_not_there_or_asked_wrongly_is_one_sentence(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        missing = await hookseal("quarantine", "show", SOME_ID, url=api.url)
        assert (missing.code, missing.out) == (1, b"")
        assert "no such thing" in missing.err
        for arguments in (("show",), ("--raw",), ("release", SOME_ID, "--raw"), ("show", SOME_ID, "--raw", "--json")):
            wrong = await hookseal("quarantine", *arguments, url=api.url)
            assert (wrong.code, wrong.out) == (2, b""), arguments


async def test_a_list_promises_no_diagnosis(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await refuse(api, b"{}")
        document, body = await api.ask("/api/v1/openapi.json")
        assert document.status == 200
        assert b"diagnosis" not in body
        assert "diagnosis" not in (await api.get("/api/v1/quarantine"))["data"][0]
