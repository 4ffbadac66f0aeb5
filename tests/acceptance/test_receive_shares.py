"""Clients that hold places without using them, on real sockets: the requests of other clients are still accepted.

Oracles: the statuses that the genuine clients get, the statuses that the slow clients get, and the events in the API.
The slow clients send one byte of a body and then nothing.
"""

import asyncio
import hashlib
import hmac
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from gateways import API_KEY, Answer, Running, read_answer, running

from hookseal import probe
from hookseal.model import ProviderId, SourceId
from hookseal.probe import Step
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings

SECRET = b"your-signing-secret"
SLOW = "127.0.0.1"
GENUINE = "127.0.0.2"
GENUINE_REQUESTS = 30
BOUND_S = 30


def settings(folder: Path, **server: object) -> Settings:
    sources = [
        SourceSettings(id=SourceId(id), provider=ProviderId("idenfy"), secrets=(SECRET,)) for id in ("idenfy", "other")
    ]
    return Settings(
        server=replace(ServerSettings(), **server),
        store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
        sources=tuple(sources),
    )


class Client:
    """One connection from a given loopback address."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.read = asyncio.create_task(read_answer(reader))

    @staticmethod
    async def connect(gateway: Running, address: str) -> "Client":
        parts = urlsplit(gateway.url)
        return Client(*await asyncio.open_connection(parts.hostname, parts.port, local_addr=(address, 0)))

    async def answer(self) -> Answer:
        return await asyncio.wait_for(self.read, BOUND_S)

    async def close(self) -> None:
        self.writer.close()
        self.read.cancel()
        await asyncio.wait([self.read])


def request(body: bytes, *, source: str = "idenfy", forwarded: str = "", length: int | None = None) -> bytes:
    """A genuine request, or with a greater `length` the start of one."""
    lines = [f"POST /in/{source} HTTP/1.1", "Host: gateway.test"]
    lines.append(f"Idenfy-Signature: {hmac.digest(SECRET, body, hashlib.sha256).hex()}")
    if forwarded:
        lines.append(f"X-Forwarded-For: {forwarded}")
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def slow_clients(
    gateway: Running, starts: Sequence[bytes], *, address: str = SLOW, reading: int | None = None
) -> AsyncIterator[list[Client]]:
    """Connections that sent the start of a request. Entered when `reading` of these requests are being read."""
    clients = []
    for start in starts:
        client = await Client.connect(gateway, address)
        clients.append(client)
        client.writer.write(start)
    try:
        async with asyncio.timeout(BOUND_S):
            while gateway.gateway.receiving.in_flight < (len(starts) if reading is None else reading):
                await asyncio.sleep(0)
        yield clients
    finally:
        for client in clients:
            await client.close()


async def genuine_statuses(
    gateway: Running, *, address: str = GENUINE, source: str = "idenfy", forwarded: str = "", padding: int = 0
) -> list[int]:
    """The statuses of genuine requests. Each body comes in two pieces, so that its request is read for a moment."""
    statuses = []
    for number in range(GENUINE_REQUESTS):
        body = b'{"scanRef":"%d"}' % number + b" " * padding
        whole = request(body, source=source, forwarded=forwarded.format(number))
        client = await Client.connect(gateway, address)
        client.writer.write(whole[:-4])
        await client.writer.drain()
        client.writer.write(whole[-4:])
        statuses.append((await client.answer()).status)
        await client.close()
    return statuses


async def test_slow_clients_of_one_address_do_not_stop_the_requests_of_another(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as gateway:
        async with slow_clients(gateway, [request(b"x", length=100)] * 256):
            assert await genuine_statuses(gateway) == [200] * GENUINE_REQUESTS
        assert await gateway.count_events("idenfy") == GENUINE_REQUESTS


async def test_slow_clients_behind_a_trusted_proxy_do_not_stop_its_other_clients(tmp_path: Path) -> None:
    async with running(settings(tmp_path, trusted_proxies=(f"{SLOW}/32",))) as gateway:
        starts = [request(b"x", length=100, forwarded=f"203.0.113.{number}") for number in range(256)]
        async with slow_clients(gateway, starts):
            forwarded = "198.51.100.{}"
            assert await genuine_statuses(gateway, address=SLOW, forwarded=forwarded) == [200] * GENUINE_REQUESTS


async def test_more_slow_clients_than_places_get_408_and_other_addresses_are_accepted(tmp_path: Path) -> None:
    starts = [request(b"x", length=100)] * 64
    async with running(settings(tmp_path, max_reading=64)) as gateway, slow_clients(gateway, starts) as slow:
        assert await genuine_statuses(gateway) == [200] * GENUINE_REQUESTS
        assert (await slow[0].answer()).status == 408


async def test_slow_clients_of_many_addresses_at_one_source_do_not_stop_another_source(tmp_path: Path) -> None:
    async with running(settings(tmp_path, max_reading=64, trusted_proxies=(f"{SLOW}/32",))) as gateway:
        starts = [request(b"x", length=100, forwarded=f"203.0.113.{number}") for number in range(64)]
        async with slow_clients(gateway, starts):
            statuses = await genuine_statuses(gateway, source="other", address=SLOW, forwarded="198.51.100.{}")
            assert statuses == [200] * GENUINE_REQUESTS


async def test_slow_clients_that_hold_many_bytes_do_not_stop_other_addresses(tmp_path: Path) -> None:
    """40 slow clients sent 2 MB each: more than the 64 MiB that all bodies together may take."""
    megabytes = b"x" * 2_000_000
    starts = [request(megabytes, length=2_000_001)] * 40
    async with running(settings(tmp_path)) as gateway, slow_clients(gateway, starts, reading=30):
        async with asyncio.timeout(BOUND_S):
            while gateway.gateway.receiving.bytes_in_flight < 64_000_000:
                await asyncio.sleep(0)
        assert await genuine_statuses(gateway, padding=1_500_000) == [200] * GENUINE_REQUESTS


@asynccontextmanager
async def stopped_writer() -> AsyncIterator[None]:
    """The writer thread of the SQLite store stands still in its next transaction while the context lasts."""
    go_on = threading.Event()

    def hold(step: Step) -> None:
        if step is Step.WRITE_BEGUN:
            go_on.wait(BOUND_S)

    leave = probe.listen(hold)
    try:
        yield
    finally:
        go_on.set()
        leave()


async def test_beyond_the_requests_in_flight_it_is_503_with_retry_after(tmp_path: Path) -> None:
    async with running(settings(tmp_path, max_in_flight=3, answer_timeout_s=BOUND_S)) as gateway:
        async with stopped_writer():
            held = [await Client.connect(gateway, SLOW) for _ in range(4)]
            for number, client in enumerate(held):
                client.writer.write(request(b"held %d" % number))
            refused, answer = await first_answer(held)
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        held.remove(refused)
        assert [(await client.answer()).status for client in held] == [200, 200, 200]
        assert await gateway.count_events("idenfy") == 3


async def test_a_busy_source_has_all_places_and_another_source_has_more(tmp_path: Path) -> None:
    """The store stands still. One client takes each place at one source; another client and source is still admitted."""
    async with running(settings(tmp_path, max_in_flight=64, answer_timeout_s=BOUND_S)) as gateway:
        async with stopped_writer():
            busy = [await Client.connect(gateway, SLOW) for _ in range(65)]
            for number, client in enumerate(busy):
                client.writer.write(request(b"busy %d" % number))
            beyond, refused = await first_answer(busy)
            other = await Client.connect(gateway, GENUINE)
            other.writer.write(request(b"other", source="other"))
            async with asyncio.timeout(BOUND_S):
                while gateway.gateway.receiving.in_flight < 65:
                    await asyncio.sleep(0)
        assert refused.status == 503
        assert (await other.answer()).status == 200
        busy.remove(beyond)
        assert [(await client.answer()).status for client in busy] == [200] * 64
        assert await gateway.count_events("idenfy") == 64
        assert await gateway.count_events("other") == 1


async def first_answer(clients: Sequence[Client]) -> tuple[Client, Answer]:
    done, _ = await asyncio.wait(
        [client.read for client in clients], return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_S
    )
    [client] = [client for client in clients if client.read in done]
    return client, await client.answer()
