"""What the kill tests are made of: signed clients that never give up, a sink that remembers, and a node to kill.

The clients note every request that was answered 2xx; the sink notes every POST that it got, and verifies its signature
with a library that is not ours. What the two know is compared with what the gateway tells over its API.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import ending
from aiohttp import ClientSession
from standardwebhooks import Webhook

ZIGNSEC_SECRET = "12345678-e2a2-4968-b651-5352305c9fb0"
IDENFY_SECRET = "your-signing-secret"
SINK_SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes....").decode()
API_KEY = "a management key of the tests"
NODE = Path(__file__).with_name("node.py")
CERTAIN = {400, 401, 403, 404, 413}


def configuration(sink_url: str, keys: str = "") -> str:
    return f"""
[server]
listen = "127.0.0.1:0"
[api]
keys = ["{API_KEY}"]
[egress]
allow = ["127.0.0.0/8"]
allow_http = true
[[source]]
id = "zignsec"
provider = "zignsec"
secrets = ["{ZIGNSEC_SECRET}"]
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{IDENFY_SECRET}"]
[[endpoint]]
id = "core"
url = "{sink_url}"
signing = {{ scheme = "standard_webhooks", secret = "{SINK_SECRET}" }}
{keys}"""


@dataclass(frozen=True, slots=True)
class Letter:
    """One signed request of a provider."""

    key: str
    path: str
    header: str
    signature: str
    body: bytes

    @property
    def raw(self) -> bytes:
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: application/json\r\n"
            f"{self.header}: {self.signature}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


def letter(number: int, padding: str = "LARS") -> Letter:
    if number % 2:
        key = f"61d300c2-cff8-4dc1-9abc-{number:012d}"
        body = json.dumps({"method": "sbid-another", "id": key, "identity": {"FirstName": padding}}).encode()
        digest = hmac.digest(ZIGNSEC_SECRET.encode(), body, hashlib.sha256)
        return Letter(key, "/in/zignsec", "X-ZignSec-Hmac-SHA256", base64.b64encode(digest).decode(), body)
    key = f"00000000-0000-4000-8000-{number:012d}"
    body = json.dumps({"final": True, "status": {"overall": "APPROVED"}, "scanRef": key, "note": padding}).encode()
    digest = hmac.digest(IDENFY_SECRET.encode(), body, hashlib.sha256)
    return Letter(key, "/in/idenfy", "Idenfy-Signature", digest.hex(), body)


@dataclass(slots=True)
class Sink:
    """The user's service: counts every event by the provider's own reference, and every POST by its webhook-id.

    kept_waiting  set, what arrives is counted and not answered until `answer`.
    """

    url: str = ""
    got: Counter[str] = field(default_factory=Counter)
    posts: Counter[str] = field(default_factory=Counter)
    ids: dict[str, str] = field(default_factory=dict)
    forged: int = 0
    kept_waiting: bool = False
    _unanswered: list[Callable[[], None]] = field(default_factory=list)

    def reply(self, send: Callable[[], None]) -> None:
        if self.kept_waiting:
            self._unanswered.append(send)
        else:
            send()

    def answer(self) -> None:
        """Answer what waits, and from now on what arrives."""
        self.kept_waiting = False
        while self._unanswered:
            self._unanswered.pop()()


class _Taking(asyncio.Protocol):
    """One connection to the sink. No server library: the sink must cost less than what it watches."""

    def __init__(self, state: Sink, judge: Webhook) -> None:
        self._state = state
        self._judge = judge
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            lines = self._buffer[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
            beyond = end + 4 + int(headers["content-length"])
            if len(self._buffer) < beyond:
                return
            body, self._buffer = self._buffer[end + 4 : beyond], self._buffer[beyond:]
            status = b"200 OK" if self._genuine(body, headers) else b"400 Bad Request"
            assert self._transport is not None
            self._state.reply(partial(self._transport.write, b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"))

    def _genuine(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            self._judge.verify(body, headers)
        except Exception:  # noqa: BLE001 - whatever the library says, it is not a good signature
            self._state.forged += 1
            return False
        event = json.loads(body)
        self._state.got[event["subject"]] += 1
        self._state.ids.setdefault(headers["webhook-id"], event["subject"])
        self._state.posts[headers["webhook-id"]] += 1
        return True


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    state = Sink()
    judge = Webhook(SINK_SECRET)
    server = await asyncio.get_running_loop().create_server(lambda: _Taking(state, judge), "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield state
    finally:
        server.close()


class Node:
    """One process of the gateway. script: what it runs instead of `node.py`. environment: added to ours."""

    def __init__(self, config: Path, *, script: Path = NODE, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self._script = script
        self._environment = {**os.environ, **(environment or {})}
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self, *plug: str) -> bool:
        """True once it listens; False when it died before (its plug was pulled while it started)."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(self._script),
            str(self.config),
            *plug,
            stdout=asyncio.subprocess.PIPE,
            stderr=(self.config.parent / "node.log").open("ab"),
            env=self._environment,
        )
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 30)
        if not line:
            await self.process.wait()
            return False
        self.url = line.decode().split()[1]
        return True

    async def freeze(self) -> None:
        """Stop all of its threads where they are; one that waits for the disk comes no further than that call."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        while any(_state(task) not in "TtDZX" for task in tasks.iterdir()):
            await asyncio.sleep(0)

    async def kill(self) -> None:
        if self.process is not None:
            await ending.kill(self.process)

    async def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 60)


def _state(task: Path) -> str:
    """The state of a thread, one letter as of `ps`; X when it is gone."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


class Clients:
    """Signed clients: each request is sent until it was answered 2xx; some that were are sent again.

    letter     makes the request of a number.
    told_when  how many 503 and 429 said when to come again; untold: how many did not.
    slowest_s  the longest that an answer took, in seconds.
    """

    def __init__(self, seed: int, letter: Callable[[int], Letter] = letter) -> None:
        self._letter = letter
        self._random = random.Random(seed)
        self._numbers = iter(range(1, 10_000_000))
        self._unanswered: list[int] = []
        self.acked: set[str] = set()
        self.statuses: Counter[int] = Counter()
        self.duplicates = 0
        self.told_when = 0
        self.untold = 0
        self.slowest_s = 0.0
        self.progress = asyncio.Event()

    async def run(
        self,
        url: str,
        connections: int,
        until_acked: int | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """Send until the node is gone, `until_acked` events in all have been acknowledged, or `until` says so."""
        await asyncio.gather(*(self._one(url, until_acked, until) for _ in range(connections)))

    async def run_over(
        self, living: Callable[[], Sequence[str]], connections: int, until: Callable[[], bool], seed: int = 0
    ) -> None:
        """As behind a load balancer: each connection goes to one of the living nodes, and to another when that dies."""
        dice = random.Random(seed)

        async def one() -> None:
            while not until():
                if urls := living():
                    await self._one(dice.choice(urls), None, until)
                await asyncio.sleep(0.02)

        await asyncio.gather(*(one() for _ in range(connections)))

    async def settle(self, url: str) -> None:
        """Send what was never answered."""
        while self._unanswered:
            await self._one(url, len(self.acked) + len(self._unanswered), only_unanswered=True)

    async def _one(
        self,
        url: str,
        until_acked: int | None,
        until: Callable[[], bool] = lambda: False,
        *,
        only_unanswered: bool = False,
    ) -> None:
        parts = urlsplit(url)
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError:
            return
        try:
            while (until_acked is None or len(self.acked) < until_acked) and not until():
                if only_unanswered and not self._unanswered:
                    return
                number = self._next()
                one = self._letter(number)
                asked = time.monotonic()
                try:
                    writer.write(one.raw)
                    status, told_when = await _answer(reader)
                except (OSError, asyncio.IncompleteReadError, ValueError):
                    self._unanswered.append(number)
                    return
                self.statuses[status] += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - asked)
                if 200 <= status < 300:
                    self.duplicates += one.key in self.acked
                    self.acked.add(one.key)
                    self.progress.set()
                else:
                    self._unanswered.append(number)
                if status in (429, 503):
                    self.told_when += told_when
                    self.untold += not told_when
        finally:
            writer.close()

    def _next(self) -> int:
        if self._unanswered:
            return self._unanswered.pop()
        if self.acked and self._random.random() < 0.05:
            return int(next(iter(self.acked)).rsplit("-", 1)[1])  # an acknowledged one again: a duplicate
        return next(self._numbers)

    async def acked_beyond(self, count: int) -> None:
        while len(self.acked) < count:
            self.progress.clear()
            await self.progress.wait()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """The status, and whether the answer says when to come again."""
    head = await reader.readuntil(b"\r\n\r\n")
    length, told_when = 0, False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        told_when = told_when or name.lower() == b"retry-after"
    if length:
        await reader.readexactly(length)
    return int(head[9:12]), told_when


async def pages(url: str, path: str) -> list[dict[str, object]]:
    """All rows of a listing of the management API."""
    rows: list[dict[str, object]] = []
    cursor: str | None = ""
    async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        while cursor is not None:
            query = f"&cursor={cursor}" if cursor else ""
            joint = "&" if "?" in path else "?"
            async with session.get(f"{url}{path}{joint}limit=1000{query}") as response:
                page = await response.json()
                assert response.status == 200, page
                rows.extend(page["data"])
                cursor = page["next"]
    return rows


async def drained(url: str) -> None:
    """Wait until no delivery is pending."""
    async with ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as session:
        while True:
            async with session.get(f"{url}/api/v1/deliveries?state=pending&limit=1") as response:
                if not (await response.json())["data"]:
                    return
            await asyncio.sleep(0.05)


async def check(url: str, clients: Clients, receiver: Sink) -> None:
    """The invariants: nothing lost, nothing stored twice, all delivered, nothing of ours looks like the sender's fault."""
    stored = Counter(str(row["subject"]) for row in await pages(url, "/api/v1/events"))
    assert clients.acked - stored.keys() == set(), "acknowledged and lost"
    assert {key: count for key, count in stored.items() if count > 1} == {}, "stored twice"
    deliveries = await pages(url, "/api/v1/deliveries")
    assert Counter(row["state"] for row in deliveries).keys() <= {"delivered", "dead"}
    dead = {str(row["event"]) for row in deliveries if row["state"] == "dead"}
    assert len(deliveries) == len(stored), "an event without its delivery"
    assert len(stored.keys() - receiver.got.keys()) <= len(dead), "neither delivered nor dead"
    assert receiver.forged == 0
    assert {status: count for status, count in clients.statuses.items() if status in CERTAIN} == {}
    assert clients.untold == 0, "503 or 429 without Retry-After"
