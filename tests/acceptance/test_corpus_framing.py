"""HTTP as nobody should write it: framing (B-7) and request lines with headers (B-8), made by a grammar, on raw sockets.

The body of every case is itself a good request for another source. Whoever lets it out of its body stores an event
there. Behind each case stands a second good request, which ends the connection. The grammar knows of each piece whether
it is right, wrong, or may be taken either way, and from that alone which answers may come.

Oracles: never more answers than requests; a wrong request is never accepted, and nothing behind it is answered; as many
events are stored as requests were accepted; none at the other source; the server answers after each case.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum

import pytest
import pytest_asyncio
from corpus_gateway import Corpus, corpus_gateway, exchange, faults_of, good_source
from corpus_proofs import good_body, good_headers
from corpus_tally import tally

from hookseal.model import SourceId
from hookseal.store.port import EventFilter

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 48
TARGET = f"/in/{good_source('idenfy')}".encode()
OTHER = good_source("zignsec")


class Piece(Enum):
    RIGHT = "accepted, and the next request is answered"
    LAST = "accepted, but nothing behind it is answered"
    EITHER = "accepted or refused"
    WRONG = "refused by the parser: the connection is over"
    ELSEWHERE = "well-formed, and for no source: refused, and the next request is answered"


REFUSED = frozenset({0, 400, 401, 403, 404, 405, 408, 413, 414, 417, 426, 431, 501, 505})


@dataclass(frozen=True, slots=True)
class Made:
    wire: bytes
    kind: Piece


def judge(made: Made, statuses: Sequence[int]) -> str | None:
    """What is wrong with the answers, None when nothing is."""
    first, *more = statuses or [0]
    accepted = [status for status in statuses if status < 300]
    match made.kind:
        case Piece.RIGHT:
            fine = statuses == [200, 200]
        case Piece.LAST:
            fine = statuses == [200]
        case Piece.WRONG:
            fine = not accepted and len(statuses) <= 1 and first in REFUSED
        case Piece.ELSEWHERE:
            fine = first in REFUSED and first != 0 and more in ([200], [])
        case Piece.EITHER:
            fine = len(statuses) <= 2 and all(status in REFUSED | {200} for status in statuses)
    return None if fine else f"{made.kind.name} got {list(statuses)}: {made.wire[:300]!r}"


# --- pieces


def smuggled(name: str) -> bytes:
    body = good_body("zignsec", name)
    lines = b"".join(b"%b: %b\r\n" % pair for pair in good_headers("zignsec", body))
    head = b"POST /in/%b HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n" % (OTHER.encode(), lines, len(body))
    return b"JUNK " + head + body


def signed_lines(body: bytes) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in good_headers("idenfy", body))


def following(name: str) -> bytes:
    """A good request that ends the connection."""
    body = good_body("idenfy", name)
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % TARGET
    return head + signed_lines(body) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(draw: random.Random, body: bytes) -> bytes:
    """A right chunked body, cut anywhere, in the spellings that a sender may choose."""
    out = bytearray()
    at = 0
    while at < len(body):
        size = draw.randint(1, len(body))
        piece = body[at : at + size]
        spelling = draw.choice([b"%x", b"%X", b"0%x", b"000%x"]) % len(piece)
        out += spelling + draw.choice([b"", b"", b";a", b";a=b", b';a="b;c"']) + b"\r\n" + piece + b"\r\n"
        at += size
    trailers = draw.choice([b"", b"", b"X-T: 1\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
    return bytes(out) + draw.choice([b"0", b"00", b"0;end"]) + b"\r\n" + trailers + b"\r\n"


BROKEN_SIZES = [
    b"-1",
    b"+5",
    b"0x5",
    b"5_0",
    b"g",
    b"",
    b" ",
    b"5 5",
    b"\xb2",
    b"f" * 17,
    b"8" + b"0" * 16,
    b"5\x00",
    b"5,5",
]
BROKEN_LENGTHS = [
    b"-1",
    b"+5",
    b"0x5",
    b"5.0",
    b"5,6",
    b"5 5",
    b"five",
    b"",
    b"9" * 30,
    b"\xb25",
    b"5;a",
    b"1e2",
    b"5\x00",
]
BROKEN_CODINGS = [
    *(b"xchunked", b"chunkedx", b"identity", b"gzip", b"chunked, identity", b"chunked, chunked", b"gzip, chunked"),
    *(b"chunked;q=1", b'"chunked"', b"\x0bchunked", b"chunk\xe9d", b"chunked,", b",chunked", b"chun ked", b"", b"null"),
]


def broken_chunks(draw: random.Random, body: bytes) -> bytes:
    match draw.choice(["size", "size", "end", "lf", "extension", "never ends"]):
        case "size":
            return draw.choice(BROKEN_SIZES) + b"\r\n" + body + b"\r\n0\r\n\r\n"
        case "end":
            return b"%x\r\n%b%b0\r\n\r\n" % (len(body), body, draw.choice([b"XX", b"\r\r", b"\n\r", b"X\r\n"]))
        case "lf":
            return b"%x\n%b\n0\n\n" % (len(body), body)
        case "extension":
            return b"%x;a\nb\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    # Longer than all that follows, so that the request behind is swallowed and never comes to an end.
    return b"fffff\r\n" + body


def framing(draw: random.Random, serial: str) -> Made:
    """B-7: a good request line and good headers, and a body framed in any way."""
    body = smuggled(serial)
    start = b"POST %b HTTP/1.1\r\nHost: a\r\n" % TARGET + signed_lines(body)
    length = b"Content-Length: %d\r\n" % len(body)
    coding = b"Transfer-Encoding: chunked\r\n"
    ways = {
        "length": (length + b"\r\n" + body, Piece.RIGHT),
        "chunks": (coding + b"\r\n" + chunked(draw, body), Piece.RIGHT),
        "CHUNKS": (
            b"transfer-encoding:" + draw.choice([b"CHUNKED", b" Chunked\t"]) + b"\r\n\r\n" + chunked(draw, body),
            Piece.RIGHT,
        ),
        "expected": (b"Expect: 100-continue\r\n" + length + b"\r\n" + body, Piece.RIGHT),
        "both": (draw.choice([length, b"Content-Length: 0\r\n"]) + coding + b"\r\n" + chunked(draw, body), Piece.LAST),
        "both again": (
            coding + draw.choice([length, b"Content-Length: 7\r\n"]) + b"\r\n" + chunked(draw, body),
            Piece.LAST,
        ),
        "twice the same": (length + length + b"\r\n" + body, Piece.RIGHT),
        "two lengths": (length + b"Content-Length: %d\r\n\r\n" % draw.randint(0, 50) + body, Piece.WRONG),
        "broken length": (b"Content-Length: " + draw.choice(BROKEN_LENGTHS) + b"\r\n\r\n" + body, Piece.WRONG),
        "broken length too": (
            length + b"Content-Length: " + draw.choice(BROKEN_LENGTHS) + b"\r\n\r\n" + body,
            Piece.WRONG,
        ),
        "coding": (
            b"Transfer-Encoding: " + draw.choice(BROKEN_CODINGS) + b"\r\n\r\n" + chunked(draw, body),
            Piece.WRONG,
        ),
        "coding and length": (
            length + b"Transfer-Encoding: " + draw.choice(BROKEN_CODINGS) + b"\r\n\r\n" + body,
            Piece.WRONG,
        ),
        "two codings": (
            coding
            + b"Transfer-Encoding: "
            + draw.choice([b"chunked", *BROKEN_CODINGS])
            + b"\r\n\r\n"
            + chunked(draw, body),
            Piece.WRONG,
        ),
        "spelled coding": (
            draw.choice([b"Transfer-Encoding :", b" Transfer-Encoding:", b"Transfer-Encoding\t:"])
            + b" chunked\r\n\r\n"
            + chunked(draw, body),
            Piece.WRONG,
        ),
        "underscore": (b"Transfer_Encoding: chunked\r\nContent_Length: 3\r\n" + length + b"\r\n" + body, Piece.RIGHT),
        "broken chunks": (coding + b"\r\n" + broken_chunks(draw, body), Piece.WRONG),
        "too long": (b"Content-Length: %d\r\n\r\n" % (len(body) + draw.randint(2000, 9000)) + body, Piece.WRONG),
    }
    rest, kind = ways[draw.choice([*ways, "broken chunks", "broken length", "coding", "two codings"])]
    return Made(start + rest + following(f"{serial}-next"), kind)


METHODS = [
    b"GET",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"TRACE",
    b"OPTIONS",
    b"post",
    b"POSTS",
    b"X",
    b"PROPFIND",
    b"M-SEARCH",
]
BROKEN_METHODS = [b"PO ST", b"P\x00ST", b"P\xd6ST", b"(POST)", b"", b"POST,", b"\x7f", b"@"]
ELSEWHERE = [
    *(
        b"/",
        b"//in/x",
        b"/in",
        b"/in/",
        b"/in//",
        b"/in/.",
        b"/in/..",
        b"/in/%2e%2e/healthz",
        b"/IN/x",
        b"/in/nobody",
        b"/in%2fx",
    ),
    *(
        TARGET + b"/",
        TARGET + b"%00",
        TARGET + b"%0d%0aX:1",
        TARGET + b"%zz",
        TARGET + b";a",
        TARGET + b".",
        b"/in/../in/x",
    ),
    *(
        TARGET.replace(b"good", b"%67ood"),
        b"/api/v1/events/../../in/x",
        b"/in/" + b"a" * 3000,
        TARGET.upper(),
        b"/in/*",
    ),
]
BROKEN_TARGETS = [
    TARGET + b"\x00",
    TARGET + b"\xff",
    TARGET + b" x",
    TARGET + b"\x7f",
    b"\xe2\x80\xa6",
    b"",
    b"/in/" + b"a" * 66_000,
]
BROKEN_VERSIONS = [
    b"HTTP/9.9",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/1.1.1",
    b"HTTP/1",
    b"HTTP/",
    b"HTTPS/1.1",
    b"",
    b"HTTP/1.\xb9",
    b"RTSP/1.0",
]
BROKEN_HOSTS = [
    b"",
    b"Host:\r\n",
    b"Host: a\r\nHost: a\r\n",
    b"Host: a/b\r\n",
    b"Host: a?b\r\n",
    b"Host: u@a\r\n",
    b"Host: a b\r\n",
    b"Host: \xe9\r\n",
    b"Host: a:b\r\n",
    b"Host: [::1\r\n",
    b"Host: a#\r\n",
]
BROKEN_LINES = [
    b"X A: 1",
    b": 1",
    b"X",
    b"X-A: \x00",
    b"X-A: 1\r\n 2",
    b"X-A: 1\rX-B: 2",
    b"X-\xe9: 1",
    b"X-A : 1",
    b"X-A: \x07",
    b"(X): 1",
    b"X-A: \x7f",
]
FINE_LINES = [
    b"X-A: \xff",
    b"X-A:",
    b"X-A:\t1 ",
    b"Connection: x",
    b"Upgrade: h2c",
    b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade",
    b"TE: trailers",
    b"Content-Encoding: gzip",
    b"X-Forwarded-Host: evil",
    b"X-HTTP-Method-Override: GET",
    b"Cookie: a=b",
    b"Sec-WebSocket-Protocol: \xff",
    b"HTTP2-Settings: AAMAAABk",
    b"Range: bytes=0-1",
    b"If-None-Match: *",
]


def request_line(draw: random.Random, serial: str) -> Made:
    """B-8: a good body, and one thing or nothing odd in the request line or the headers."""
    body = smuggled(serial)
    method, target, version, host, line, kind = b"POST", TARGET, b"HTTP/1.1", b"Host: a\r\n", b"", Piece.RIGHT
    match draw.choice(
        ["method", "methods", "target", "targets", "version", "host", "line", "fine", "fine", "many", "query"]
    ):
        case "method":
            method, kind = draw.choice(METHODS), Piece.ELSEWHERE
        case "methods":
            method, kind = draw.choice(BROKEN_METHODS), Piece.WRONG
        case "target":
            target, kind = draw.choice(ELSEWHERE), Piece.ELSEWHERE
        case "targets":
            target, kind = draw.choice(BROKEN_TARGETS), Piece.WRONG
        case "version":
            version, kind = draw.choice(BROKEN_VERSIONS), Piece.WRONG
        case "host":
            host, kind = draw.choice(BROKEN_HOSTS), Piece.WRONG
        case "line":
            line, kind = draw.choice(BROKEN_LINES) + b"\r\n", Piece.WRONG
        case "fine":
            line = b"".join(one + b"\r\n" for one in draw.sample(FINE_LINES, draw.randint(1, 5)))
            kind = Piece.EITHER if line.count(b"Connection:") > 1 else Piece.RIGHT
        case "many":
            line, kind = b"".join(b"X-%d: 1\r\n" % number for number in range(draw.randint(100, 300))), Piece.WRONG
        case "query":
            target += b"?" + draw.choice([b"", b"a=b", b"%zz", b"access_token=x", b"/../", b"a=" + b"b" * 2000])
    head = b"%b %b %b\r\n%b" % (method, target, version, host) + line + signed_lines(body)
    wire = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    # An answer to HEAD has no body, and only the first request of a connection is known to be one.
    return Made(wire + (b"" if method == b"HEAD" else following(f"{serial}-next")), kind)


# --- running them


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def corpus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Corpus]:
    async with corpus_gateway(tmp_path_factory.mktemp("framing"), body_timeout_s=1.5, header_timeout_s=2.0) as started:
        yield started


async def stored(corpus: Corpus, source: str) -> int:
    page = await corpus.running.gateway.store.events(EventFilter(source=SourceId(source)), 1, None)
    return page.rows[0].row.sequence if page.rows else 0


@pytest.mark.parametrize(("category", "make", "number"), [("B-7", framing, 620), ("B-8", request_line, 420)])
async def test_whatever_is_sent_gets_its_own_answer_and_no_other(
    corpus: Corpus, pytestconfig: pytest.Config, category: str, make: object, number: int
) -> None:
    draw = random.Random(f"hookseal {category}")
    made = [make(draw, f"{category}-{serial}") for serial in range(number)]  # type: ignore[operator]
    before = await stored(corpus, good_source("idenfy"))
    gate = asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []
    accepted = 0

    async def ask(case: Made) -> None:
        nonlocal accepted
        async with gate:
            answers = await exchange(corpus.running.url, case.wire)
            alive = await exchange(corpus.running.url, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        tally(pytestconfig).add(category, "generated")
        accepted += sum(answer.status == 200 for answer in answers)
        faults = [fault for answer in answers for fault in faults_of(answer)]
        fault = judge(case, [answer.status for answer in answers])
        wrong.extend([*faults, *([fault] if fault else [])])
        assert [answer.status for answer in alive] == [200]

    await asyncio.gather(*(ask(case) for case in made))
    assert wrong == []
    assert await stored(corpus, good_source("idenfy")) - before == accepted
    assert await stored(corpus, OTHER) == 0
    assert await corpus.good_request_is_accepted("seal_id", f"after-{category}")


async def test_a_thousand_pipelined_requests_get_a_thousand_answers(
    corpus: Corpus, pytestconfig: pytest.Config
) -> None:
    tally(pytestconfig).add("B-15", "named")
    before = await stored(corpus, good_source("idenfy"))
    parts = [b""] * 1000
    for number in range(1000):
        body = good_body("idenfy", f"pipelined-{number}")
        last = b"Connection: close\r\n" if number == 999 else b""
        head = b"POST %b HTTP/1.1\r\nHost: a\r\n" % TARGET + last + signed_lines(body)
        parts[number] = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    answers = await exchange(corpus.running.url, b"".join(parts), patience_s=60)
    assert [answer.status for answer in answers] == [200] * 1000
    assert await stored(corpus, good_source("idenfy")) - before == 1000


async def test_a_thousand_idle_connections_do_not_keep_a_request_out_and_are_closed(
    corpus: Corpus, pytestconfig: pytest.Config
) -> None:
    tally(pytestconfig).add("B-15", "named")
    idle = [asyncio.create_task(exchange(corpus.running.url, b"POST /in/", patience_s=60)) for _ in range(1000)]
    await asyncio.sleep(0)
    assert await corpus.good_request_is_accepted("seal_id", "beside-the-idle")
    for answers in await asyncio.gather(*idle):
        assert [answer.status for answer in answers] in ([], [408])
    assert corpus.running.gateway.receiving.in_flight == 0
