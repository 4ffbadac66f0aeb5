"""`hookseal events|deliveries|quarantine|replay|sources|endpoints` against a running API, each in a process of its own.

Oracles: exit code, stdout, stderr. The commands run as users run them; only the gateway is in the test's process.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from api_served import CORE, IDENFY, KEY, SECRET, Served, a_body, served

from hookseal.model import DeliveryState, Reason
from hookseal.store.port import Lease

SOME_ID = "0199d1a4-7b3c-7e11-8a2b-0123456789ab"


@dataclass(frozen=True)
class Run:
    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def hookseal(*arguments: str, url: str | None = None, key: str | None = KEY, **more: str) -> Run:
    """Run the command; `url` and `key` go by the environment, as do variables in `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HOOKSEAL_")}
    environment = {**kept, **({"HOOKSEAL_URL": url} if url else {}), **({"HOOKSEAL_KEY": key} if key else {}), **more}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from hookseal.cli import run; run()", *arguments),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, out, err.decode())


async def both(api: Served, *arguments: str) -> tuple[str, Any]:
    """What a command prints for people and for programs."""
    plain, as_json = await asyncio.gather(
        hookseal(*arguments, url=api.url), hookseal(*arguments, "--json", url=api.url)
    )
    assert (plain.code, as_json.code) == (0, 0), plain.err + as_json.err
    return plain.out.decode(), as_json.json


async def test_events_are_listed_shown_and_their_bytes_printed(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        body = a_body() + b"\r\n\xff"
        event, _ = await api.accept(body, subject="scan-0")
        await api.accept(a_body(2), subject="scan-2", after_s=1)
        text, page = await both(api, "events", "--subject", "scan-0", "--source", IDENFY)
        assert event in text
        assert [one["id"] for one in page["data"]] == [event]
        text, one = await both(api, "events", event)
        assert "scan-0" in text
        assert one["id"] == event
        raw = await hookseal("events", "raw", event, url=api.url)
        assert (raw.code, raw.out) == (0, body)


async def test_more_rows_than_a_page_are_gathered_and_the_rest_is_offered(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for number in range(5):
            await api.accept(a_body(number), after_s=number)
        first = await hookseal("events", "--limit", "3", "--json", url=api.url)
        cursor = first.json["next"]
        rest = await hookseal("events", "--json", "--cursor", cursor, url=api.url)
        assert (len(first.json["data"]), len(rest.json["data"]), rest.json["next"]) == (3, 2, None)
        told = await hookseal("events", "--limit", "3", url=api.url)
        assert f"--cursor {cursor}" in told.err
        whole = await hookseal("events", "--limit", "2000", "--json", url=api.url)
        assert len(whole.json["data"]) == 5


async def test_deliveries_are_listed_and_shown_with_their_attempts(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        lease = Lease(9)
        _, (delivery,) = await api.accept(a_body(), endpoints=[CORE], lease=lease)
        await api.try_once(delivery, lease, DeliveryState.DEAD, "http_500")
        text, page = await both(api, "deliveries", "--state", "dead", "--endpoint", "core")
        assert delivery in text
        assert page["data"][0]["last_reason"] == "http_500"
        text, one = await both(api, "deliveries", delivery)
        assert "http_500" in text
        assert "duration_ms" in text
        assert len(one["attempts"]) == 1


async def test_a_replay_is_asked_for_and_counted(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(a_body())
        run = await hookseal("replay", "--endpoint", "core", "--event", event, "--json", url=api.url)
        assert run.json == {"endpoint": "core", "replayed": 1}
        again = await hookseal("replay", "--endpoint", "core", "--since", "2025-11-21T08:00:00Z", url=api.url)
        assert (again.code, again.out) == (0, b"")
        assert "0 deliveries to core" in again.err


async def test_the_quarantine_is_listed_and_released(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        text, page = await both(api, "quarantine", "--source", IDENFY)
        assert "signature_mismatch" in text
        assert page["data"][0]["id"] == refusal
        api.judge.still = Reason.SIGNATURE_MISMATCH
        refused = await hookseal("quarantine", "release", refusal, url=api.url)
        assert (refused.code, refused.out) == (1, b"")
        assert "signature_mismatch" in refused.err
        api.judge.still = None
        text, released = await both(api, "quarantine", "release", refusal)
        assert released["released"] is True
        assert released["events"][0]["id"] in text


async def test_registrations_are_listed_and_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for what, one in (("sources", "idenfy-prod"), ("endpoints", "core")):
            text, page = await both(api, what)
            assert one in text
            assert one in [row["id"] for row in page["data"]]
            text, shown = await both(api, what, one)
            assert "file" in text
            assert shown["id"] == one
            assert SECRET not in text


async def test_options_stand_above_the_environment(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        run = await hookseal(
            "events", "--json", "--url", api.url + "/", "--key", KEY, url="http://127.0.0.1:1", key="wrong"
        )
        assert (run.code, run.json) == (0, {"data": [], "next": None})


async def test_a_table_has_no_colour_and_a_strangers_text_cannot_steer_the_terminal(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        evil = "\x1b[2J\x1b]0;owned\x07\u202eabc\r\n[bold]\x9b31m"
        event, _ = await api.accept(a_body(note=evil), subject=evil)
        for arguments in (("events",), ("events", event)):
            run = await hookseal(*arguments, url=api.url, NO_COLOR="1", FORCE_COLOR="", TERM="xterm-256color")
            text = run.out.decode()
            assert run.code == 0
            assert all(one.isprintable() or one == "\n" for one in text)
            assert "[bold]" in text
        assert event in (await hookseal("events", url=api.url)).out.decode()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["events", SOME_ID], 1, "no such thing"),
        (["events", "../sources"], 1, "no such thing"),
        (["deliveries", "x"], 1, "no such thing"),
        (["endpoints", "x/../core"], 1, "no such thing"),
        (["quarantine", "release", SOME_ID], 1, "no such thing"),
        (["events", "--since", "yesterday"], 2, "since: write an RFC 3339 time"),
        (["deliveries", "--state", "lost"], 2, "state: write one of pending, delivered"),
        (["replay", "--endpoint", "nowhere"], 2, "/endpoint: invalid"),
        (["events", "--cursor", "junk"], 2, "cursor: give the `next` of an earlier page"),
        (["events", "raw"], 2, "raw"),
        (["events", "one", "two"], 2, "one event"),
        (["quarantine", "free", "x"], 2, "release"),
        (["events", "--key", "wrong"], 1, "key"),
        (["events", "--key", "wr\nong"], 2, "--key"),
        (["events", "--url", "ftp://127.0.0.1"], 2, "--url"),
        (["events", "--url", "file:///etc/passwd"], 2, "--url"),
        (["events", "--url", "http://me:pw@127.0.0.1"], 2, "--url"),
        (["events", "--url", "127.0.0.1:8400"], 2, "--url"),
        (["events", "--limit", "0"], 2, "limit"),
        (["replay"], 2, "--endpoint"),
        (["events", "--nonsense"], 2, "nonsense"),
    ],
)
async def test_what_goes_wrong_is_one_sentence_and_a_code(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    async with served(tmp_path) as api:
        run = await hookseal(*arguments, url=api.url)
        assert (run.code, run.out) == (code, b""), run.err
        assert words in run.err
        assert "Traceback" not in run.err
        assert KEY not in run.err


async def test_a_gateway_that_is_not_there_is_told_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connecting is refused
        run = await hookseal("events", url=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert (run.code, run.out) == (1, b"")
    assert run.err.startswith("hookseal: cannot reach http://127.0.0.1:")
    assert len(run.err.splitlines()) == 1


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says one thing to whoever comes; what it was asked stands in the list."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<p>hi</p>",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<p>hi</p>",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_something_else_than_a_gateway_is_a_failure_in_one_sentence(answer: bytes) -> None:
    async with answering(answer) as (url, _):
        run = await hookseal("sources", url=url)
        assert (run.code, run.out) == (1, b"")
        assert run.err.startswith("hookseal: ")
        assert len(run.err.splitlines()) == 1


async def test_a_key_follows_no_redirect_and_no_proxy() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (elsewhere, asked):
        redirect = f"HTTP/1.1 307 Go\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with answering(redirect) as (url, first):
            proxies: Mapping[str, str] = {"http_proxy": elsewhere, "HTTP_PROXY": elsewhere, "ALL_PROXY": elsewhere}
            run = await hookseal("sources", url=url, **proxies)
            assert run.code == 1
            assert len(first) == 1
        assert asked == []
