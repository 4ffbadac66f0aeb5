"""Secrets and personal data stay where they belong: a real process is fed marked requests, good and bad, and every place
that they could leak to is searched: its log, its error bodies, its metrics, its files.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

NODE = Path(__file__).parents[1] / "fault" / "node.py"
SECRET = "canary-secret-7f3c9a"
ENDPOINT_SECRET = "canary-endpoint-secret-51d0"
API_KEY = "canary-api-key-90be"
HEADER_VALUE = "canary-header-value-2d71"
PERSON = {"PersonalNumber": "191212121212", "FirstName": "CANARYFIRST", "LastName": "CANARYLAST"}
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImNhbmFyeSJ9.eyJzdWIiOiJjYW5hcnktc3ViamVjdCJ9.Y2FuYXJ5LXNpZ25hdHVyZQ"

CONFIG = """
[server]
listen = "127.0.0.1:0"
[api]
keys = ["{api_key}"]
[egress]
allow = ["127.0.0.0/8"]
allow_http = true
[[source]]
id = "zignsec"
provider = "zignsec"
secrets = ["{secret}"]
[[source]]
id = "bankid"
provider = "bankid_antifraud"
options = {{ audience = "canary-audience", jwks_url = "{url}/keys" }}
[[endpoint]]
id = "core"
url = "{url}/hook"
signing = {{ scheme = "standard_webhooks", secret = "{endpoint_secret}" }}
headers = {{ "X-Token" = "{header}" }}
"""


@pytest.mark.requirement("X03")
async def test_no_marker_leaves_the_places_where_it_belongs(tmp_path: Path) -> None:
    delivered = asyncio.Event()

    async def hook(request: web.Request) -> web.Response:
        text = await request.text()
        if "CANARYFIRST" in text:
            delivered.set()
        return web.Response(status=500 if "fail" in text else 200, text="canary-answer-of-the-endpoint")

    async def keys(_: web.Request) -> web.Response:
        return web.Response(status=500, text="canary-answer-of-the-issuer")

    app = web.Application()
    app.router.add_post("/hook", hook)
    app.router.add_get("/keys", keys)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    config = tmp_path / "hookseal.toml"
    config.write_text(
        CONFIG.format(api_key=API_KEY, secret=SECRET, url=url, endpoint_secret=ENDPOINT_SECRET, header=HEADER_VALUE)
    )
    log = (tmp_path / "log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(NODE), str(config), stdout=asyncio.subprocess.PIPE, stderr=log
    )
    assert process.stdout is not None
    gateway = (await asyncio.wait_for(process.stdout.readline(), 30)).decode().split()[1]

    seen: list[bytes] = []
    signatures: list[str] = []
    async with ClientSession() as session:
        for number, extra in enumerate(("", "fail", "\\u0000")):
            body = json.dumps({"identity": PERSON, "id": f"canary-subject-{number}", "note": extra}).encode()
            signature = base64.b64encode(hmac.digest(SECRET.encode(), body, hashlib.sha256)).decode()
            signatures.append(signature)
            for sent, headers in (
                (body, {"X-ZignSec-Hmac-SHA256": signature}),
                (body + b" ", {"X-ZignSec-Hmac-SHA256": signature}),
                (body, {"X-ZignSec-Hmac-SHA256": SECRET}),
                (body, {}),
            ):
                async with session.post(f"{gateway}/in/zignsec?who=191212121212", data=sent, headers=headers) as answer:
                    seen.append(await answer.read())
            for token in (TOKEN, "canary-not-a-token", ""):
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}
                async with session.post(f"{gateway}/in/bankid", data=body, headers=headers) as answer:
                    seen.append(await answer.read())
        await asyncio.wait_for(delivered.wait(), 30)
        key = {"Authorization": f"Bearer {API_KEY}"}
        for path, headers in (
            ("/metrics", key),
            ("/healthz", {}),
            ("/readyz", {}),
            ("/api/v1/sources", key),
            ("/api/v1/endpoints", key),
            ("/api/v1/events", {"Authorization": "Bearer canary-wrong-key"}),
            ("/api/v1/events?subject=191212121212&nope=CANARYFIRST", key),
            ("/api/v1/events/CANARYFIRST", key),
            ("/api/v1/deliveries", key),
        ):
            async with session.get(gateway + path, headers=headers) as answer:
                seen.append(await answer.read())
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0
    log.close()
    await runner.cleanup()

    secrets = [SECRET, ENDPOINT_SECRET, API_KEY, HEADER_VALUE, TOKEN, *signatures]
    people = ["191212121212", "CANARYFIRST", "CANARYLAST"]
    answers = ["canary-answer", "canary-wrong-key", "canary-not-a-token"]
    logged = (tmp_path / "log").read_bytes()
    assert b"refused" in logged, "the log says nothing, so finding nothing in it proves nothing"
    assert found(logged, [*secrets, *people, *answers, "canary-subject"]) == []
    assert found(b"".join(seen), [*secrets, *people, *answers]) == []
    for name in ("hookseal.db", "hookseal.db-wal"):
        file = tmp_path / name
        if file.exists():
            assert found(file.read_bytes(), [*secrets, *people]) == [], name


def found(where: bytes, markers: list[str]) -> list[str]:
    return [marker for marker in markers if marker.encode() in where]
