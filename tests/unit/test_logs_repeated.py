"""Lines that repeat are written a few times and then counted; a pipe that nobody reads holds nobody up."""

import gc
import io
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from hookseal.clock import GivenClock, parse_rfc3339
from hookseal.logs import RepeatLimit, configure, get_logger, kind_of, would_write, write_left_out

START = parse_rfc3339("2026-11-21T08:00:00Z")
HANG_S = 20.0

log = get_logger("hookseal.test")


@contextmanager
def logging_to(stream: TextIO, clock: GivenClock) -> Iterator[None]:
    undo = configure("debug", stream=stream, clock=clock)
    try:
        yield
    finally:
        undo()


def rows(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_repeated_line_is_written_ten_times_and_then_counted() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    with logging_to(stream, clock):
        for _ in range(1000):
            log.warning("store unavailable", source="idenfy", code="store_unavailable")
        assert len(rows(stream)) == 10
        clock.advance(10.0)
        log.info("something else")
        *_, counted, last = rows(stream)
        assert counted.pop("time")
        assert counted == {
            "level": "warning",
            "event": "store unavailable",
            "logger": "hookseal.test",
            "source": "idenfy",
            "code": "store_unavailable",
            "left_out": 990,
        }
        assert last["event"] == "something else"


def test_after_a_period_a_line_is_written_again() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    with logging_to(stream, clock):
        for _ in range(3):
            for _ in range(50):
                log.info("refused", source="idenfy", reason="signature_mismatch")
            clock.advance(10.0)
        write_left_out()
        written = rows(stream)
    assert sum("left_out" not in row for row in written) == 30
    assert sum(int(str(row.get("left_out", 0))) for row in written) == 120


def test_lines_of_different_sources_endpoints_and_errors_are_counted_apart() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    with logging_to(stream, clock):
        for _ in range(20):
            log.info("refused", source="a", reason="signature_mismatch")
            log.info("refused", source="b", reason="signature_mismatch")
            log.info("refused", source="a", reason="timestamp_stale")
            log.error("delivery failed within us", endpoint="core", exc_info=ValueError())
            log.error("delivery failed within us", endpoint="core", exc_info=KeyError())
        assert len(rows(stream)) == 50


def test_a_critical_line_is_always_written() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    with logging_to(stream, clock):
        for _ in range(50):
            log.critical("a part of the gateway ended, restart the process", step="claim_loop")
        assert len(rows(stream)) == 50


def test_what_was_left_out_is_written_at_the_end() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    with logging_to(stream, clock):
        for _ in range(25):
            log.info("refused", source="a", reason="signature_mismatch")
        write_left_out()
        assert rows(stream)[-1]["left_out"] == 15
        write_left_out()
        assert len(rows(stream)) == 11


def test_a_limit_remembers_a_bounded_number_of_kinds() -> None:
    limit = RepeatLimit(lines=1, period_s=10.0, max_kinds=4)
    admitted, counted = 0, 0
    for number in range(100):
        for _ in range(3):
            counted += sum(left_out for _, left_out in limit.ended(0.0))
            admitted += limit.admit((("event", f"kind {number}"),), 0.0)
    counted += sum(left_out for _, left_out in limit.end_all())
    assert admitted >= 100
    assert admitted + counted == 300
    assert limit.end_all() == []


def test_a_full_pipe_does_not_hold_up_whoever_logs() -> None:
    """A log reader that hangs stopped the event loop at the next line."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb", buffering=0) as reader:
        with logging_to(stream, GivenClock(START)):
            logging = threading.Thread(target=lambda: [log.info("accepted") for _ in range(3)], daemon=True)
            logging.start()
            logging.join(HANG_S)
            assert not logging.is_alive(), "a full pipe held a thread up"
            while len(reader.read(65536)) == 65536:
                if not select_readable(reading):
                    break
            log.info("again")
        line = json.loads(reader.read(65536).lstrip(b"\0"))
    assert (line["event"], line["lost"]) == ("again", 3)


def select_readable(descriptor: int) -> bool:
    import select

    return bool(select.select([descriptor], [], [], 0)[0])


def test_asking_first_counts_what_is_left_out() -> None:
    stream, clock = io.StringIO(), GivenClock(START)
    kind = kind_of("hookseal.test", "info", "accepted", source="idenfy")
    with logging_to(stream, clock):
        for _ in range(100):
            if would_write(kind):
                log.info("accepted", source="idenfy", count=1)
        assert len(rows(stream)) == 10
        clock.advance(10.0)
        assert would_write(kind), "a period has ended"
        log.info("accepted", source="idenfy", count=1)
        assert [row.get("left_out") for row in rows(stream)[10:]] == [90, None]


def test_asking_first_says_no_below_the_level() -> None:
    undo = configure("warning", stream=io.StringIO(), clock=GivenClock(START))
    try:
        assert not would_write(kind_of("hookseal.test", "info", "accepted", source="idenfy"))
    finally:
        undo()


class _FailsAtItsEnd:
    def __init__(self) -> None:
        self.itself = self  # only the garbage collector ends it

    def __del__(self) -> None:
        raise ValueError


class _CollectsOnce(io.StringIO):
    """A garbage collection that runs while a line is written."""

    is_done = False

    def write(self, text: str) -> int:
        if not self.is_done:
            self.is_done = True
            _FailsAtItsEnd()
            gc.collect()
        return super().write(text)


def test_a_line_of_the_garbage_collector_inside_of_another_line_is_counted_and_blocks_nothing() -> None:
    stream = _CollectsOnce()

    def write_lines() -> None:
        log.info("first")
        log.info("second")

    with logging_to(stream, GivenClock(START)):
        thread = threading.Thread(target=write_lines, daemon=True)
        thread.start()
        thread.join(HANG_S)
        assert not thread.is_alive()
    first, second = rows(stream)
    assert (first["event"], second["event"], second["lost"]) == ("first", "second", 1)
