"""The client's address behind trusted proxies, for sources with an address list, over a real socket.

An address that is read decides between 2xx and 403. If a trusted proxy names no address that can be read, nothing is
certain about the client: 503 with Retry-After, nothing quarantined, and the sender tries again.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from gateways import Answer, Running, read_answer, running
from registered_live import api

import hookseal
from hookseal.model import ProviderId, SourceId
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

API_KEY = "a management key of the tests"
SECRET = "your-signing-secret"
LISTED = ("203.0.113.7/32", "2001:db8::/64", "fe80::1/128")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running(settings(tmp_path_factory.mktemp("proxies"), "127.0.0.0/8", "10.0.0.0/8")) as started:
        yield started


def settings(folder: Path, *trusted_proxies: str) -> Settings:
    def source(id: str, *addresses: str) -> SourceSettings:
        secrets = (SECRET.encode(),)
        return SourceSettings(id=SourceId(id), provider=ProviderId("idenfy"), secrets=secrets, addresses=addresses)

    return Settings(
        server=ServerSettings(trusted_proxies=trusted_proxies),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        sources=(source("listed", *LISTED), source("open")),
    )


async def answer(gateway: Running, *forwarded: str, source: str = "listed", secret: str = SECRET) -> Answer:
    """One request with these X-Forwarded-For header lines."""
    body = b'{"scanRef":"1"}'
    headers = [*hookseal.sign("idenfy", body, secret=secret), *(("X-Forwarded-For", line) for line in forwarded)]
    return await gateway.post(f"/in/{source}", body, headers)


READ = [
    ("203.0.113.7", "203.0.113.8"),
    ("203.0.113.7:51234", "203.0.113.8:51234"),
    ("203.0.113.7:0", "203.0.113.8:65535"),
    ("  203.0.113.7\t", "\t203.0.113.8  "),
    ('"203.0.113.7"', '"203.0.113.8"'),
    ('"203.0.113.7:51234"', '"203.0.113.8:1"'),
    ("2001:db8::1", "2001:db9::1"),
    ("[2001:db8::1]", "[2001:db9::1]"),
    ("[2001:db8::1]:443", "[2001:db9::1]:443"),
    ('"[2001:db8::1]:443"', '"[2001:db9::1]:443"'),
    ("2001:DB8:0:0:0:0:0:1", "2001:DB9:0:0:0:0:0:1"),
    ("2001:db8::1:443", "2001:db9::1:443"),
    ("::ffff:203.0.113.7", "::ffff:203.0.113.8"),
    ("[::ffff:203.0.113.7]:443", "[::ffff:cb00:7108]:443"),
    ("::ffff:cb00:7107", "::ffff:cb00:7108"),
    ("fe80::1%eth0", "fe80::2%eth0"),
    ("[fe80::1%25eth0]:443", "[fe80::2%25eth0]:443"),
    ("198.51.100.1, 203.0.113.7", "203.0.113.7, 198.51.100.1"),
    ("unknown, 203.0.113.7", "unknown, 203.0.113.8"),
    ("203.0.113.7:1, 10.0.0.1:2, [::ffff:10.0.0.2]:3", "203.0.113.8:1, 10.0.0.1:2, [::ffff:10.0.0.2]:3"),
    ("10.1.1.1,203.0.113.7", "10.1.1.1"),
]


@pytest.mark.parametrize(("listed", "unlisted"), READ, ids=[listed for listed, _ in READ])
async def test_an_entry_that_names_an_address_decides(gateway: Running, listed: str, unlisted: str) -> None:
    assert (await answer(gateway, listed)).status == 200
    assert (await answer(gateway, unlisted)).status == 403


UNREAD = [
    "unknown",
    "Unknown",
    "_hidden",
    "",
    " ",
    ",",
    "203.0.113.7,",
    "203.0.113.7, ,10.0.0.1",
    "203.0.113.7, unknown",
    "203.0.113.7, unknown, 10.0.0.1",
    "client.example",
    "203.0.113.7:",
    "203.0.113.7:port",
    "203.0.113.7:65536",
    "203.0.113.7:1:2",
    "203.0.113.07",
    "203.0.113",
    "0xcb.0.113.7",
    "203.0.113.7/32",
    "203.0.113.7 203.0.113.7",
    "[203.0.113.7]",
    "[203.0.113.7]:443",
    "[2001:db8::1",
    "2001:db8::1]",
    "[2001:db8::1]443",
    "[2001:db8::1]:",
    "[]",
    "[]:443",
    "2001:db8:0:0:0:0:0:1:443",
    "fe80::1%",
    '"203.0.113.7',
    '"',
    '""',
    "for=203.0.113.7",
    "203.0.113.7\xb2",
    "1" * 4000,
]


@pytest.mark.parametrize("line", UNREAD, ids=[ascii(line[:40]) for line in UNREAD])
async def test_an_entry_that_names_no_address_is_503_where_there_is_a_list(gateway: Running, line: str) -> None:
    for secret in (SECRET, "another secret"):  # before the proof is looked at
        refused = await answer(gateway, line, secret=secret)
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) >= 1
    assert (await answer(gateway, line, source="open")).status == 200
    assert (await answer(gateway, line, source="open", secret="another secret")).status == 403


async def test_no_header_from_a_trusted_proxy_is_503_where_there_is_a_list(gateway: Running) -> None:
    refused = await answer(gateway)
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert (await answer(gateway, source="open")).status == 200


async def test_several_header_lines_are_one_list(gateway: Running) -> None:
    assert (await answer(gateway, "198.51.100.1", "203.0.113.7")).status == 200
    assert (await answer(gateway, "203.0.113.7:1", "10.0.0.1:2", "10.0.0.2")).status == 200
    assert (await answer(gateway, "203.0.113.7", "198.51.100.1")).status == 403
    assert (await answer(gateway, "203.0.113.7", "")).status == 503
    assert (await answer(gateway, "203.0.113.7", "unknown")).status == 503


async def test_nothing_is_quarantined_for_an_address_that_cannot_be_read(gateway: Running) -> None:
    receiver = gateway.gateway.receiving.receiver
    assert receiver is not None
    await receiver.drain()
    before = len((await gateway.get("/api/v1/quarantine?source=listed&limit=1000"))["data"])
    assert (await answer(gateway, "unknown")).status == 503
    await receiver.drain()
    assert len((await gateway.get("/api/v1/quarantine?source=listed&limit=1000"))["data"]) == before


async def test_the_header_of_a_peer_that_is_not_trusted_counts_for_nothing(tmp_path: Path) -> None:
    async with running(settings(tmp_path, "10.0.0.0/8")) as gateway:
        for line in ("203.0.113.7", "unknown", ""):
            assert (await answer(gateway, line)).status == 403


async def test_a_list_that_is_added_while_a_body_arrives_refuses_no_unknown_address(tmp_path: Path) -> None:
    """The list was not there when the request began, and the proxy names no address: this was a final 403."""
    async with api(replace(settings(tmp_path, "127.0.0.0/8"), sources=())) as of:
        await of.made("sources", {"id": "late", "provider": "idenfy", "secrets": [SECRET]})
        body = b'{"scanRef":"1"}'
        proof = "".join(
            f"{name}: {value}\r\n" for name, value in hookseal.sign("idenfy", body, secret="a newer secret")
        )
        head = f"POST /in/late HTTP/1.1\r\nHost: a.test\r\n{proof}Content-Length: {len(body)}\r\n\r\n"
        parts = urlsplit(of.gateway.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(head.encode() + body[:-1])
        async with asyncio.timeout(20):
            while not of.gateway.gateway.receiving.bytes_in_flight:
                await asyncio.sleep(0)
        changed = {"addresses": list(LISTED), "secrets": ["a newer secret"]}
        assert (await of("PATCH", "/api/v1/sources/late", changed)).status == 200
        writer.write(body[-1:])
        judged = await asyncio.wait_for(read_answer(reader), 20)
        writer.close()
        assert judged.status == 503
        assert int(judged.headers["retry-after"]) >= 1
