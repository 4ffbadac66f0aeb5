"""Nothing of a request reaches the logs: no body, header, signature, token or personal number, and no text of an error."""

import asyncio
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest

from hookseal import logs
from hookseal.errors import StoreUnavailable
from hookseal.logs import FIELDS, UnfitLogLine, configure, get_logger

SECRET = "correct-horse-battery-staple"
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiIxOTEyMTIxMjEyMTIifQ.c2lnbmF0dXJl"
SIGNATURE = "z0wip7nwBtCQm45baZjn5nnoggKiFXOapaUiNvk9ay0="
HEX = "1e5c7a1c3fb9d10f2a4aa91cd1c28af80ae74e26aaafc82ca38b1ca3ad98c43f"
PERSON = "191212121212"
URL = "https://user:pass@core.example.com/hooks?token=abc"
CANARIES = (SECRET, TOKEN, SIGNATURE, HEX, PERSON, URL, "pass@core", "token=abc")


class Lines(io.StringIO):
    def read_all(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    stream = Lines()
    undo = configure("debug", stream=stream)
    yield stream
    undo()


log = get_logger("hookseal.test")


def assert_clean(lines: Lines) -> None:
    text = lines.getvalue()
    assert text
    for canary in CANARIES:
        assert canary not in text


def test_a_line_has_time_level_message_and_known_fields(lines: Lines) -> None:
    log.warning("a request was refused", source="idenfy-prod", reason="signature_mismatch", status=403)
    (line,) = lines.read_all()
    assert line.pop("time")
    assert line == {
        "level": "warning",
        "event": "a request was refused",
        "logger": "hookseal.test",
        "source": "idenfy-prod",
        "reason": "signature_mismatch",
        "status": 403,
    }


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("field", ["body", "headers", "authorization", "signature", "url", "secret", "error", "query"])
def test_a_field_that_nobody_listed_is_dropped_and_counted(field: str, canary: str, lines: Lines) -> None:
    log.error("a request was refused", **{field: canary})
    assert_clean(lines)
    assert lines.read_all()[0]["removed"] == 1


@pytest.mark.parametrize("canary", [SECRET.upper(), TOKEN, SIGNATURE, HEX.upper(), PERSON + " ", URL, f"a {SECRET}"])
@pytest.mark.parametrize("field", FIELDS)
def test_a_listed_field_takes_only_what_looks_like_it(field: str, canary: str, lines: Lines) -> None:
    if isinstance(FIELDS[field], type):
        log.error("x", **{field: canary})
        assert canary not in lines.getvalue()
    else:
        log.error("x", **{field: [canary]})
        log.error("x", **{field: canary.encode()})
        log.error("x", **{field: {"a": canary}})
        assert canary not in lines.getvalue()


@pytest.mark.parametrize(
    "field", ["source", "reason", "event_id", "delivery_id", "status", "method", "remote", "listen"]
)
def test_free_text_does_not_fit_the_fields_of_every_day(field: str, lines: Lines) -> None:
    for canary in (TOKEN, SIGNATURE, URL, f"a {SECRET}"):
        log.error("x", **{field: canary})
    assert_clean(lines)


@pytest.mark.parametrize("canary", CANARIES)
def test_a_message_with_a_value_in_it_is_removed(canary: str, lines: Lines) -> None:
    log.error(f"failed for {canary}!?")
    assert_clean(lines)
    assert lines.read_all()[0]["event"] == "message removed"


@pytest.mark.parametrize("canary", CANARIES)
def test_an_exception_is_told_by_type_and_place_and_not_by_text(canary: str, lines: Lines) -> None:
    try:
        try:
            json.loads(canary + "{")
        except ValueError as cause:
            raise StoreUnavailable(canary) from cause
    except StoreUnavailable:
        log.exception("storing failed", source="a")
    (line,) = lines.read_all()
    assert_clean(lines)
    assert line["error_type"] == "hookseal.errors.StoreUnavailable"
    assert line["error_code"] == "store_unavailable"
    assert line["cause_type"] == "json.decoder.JSONDecodeError"
    assert str(line["error_at"]).startswith("unit/test_logs.py:")


def test_the_place_of_an_exception_is_the_innermost_in_our_code(lines: Lines) -> None:
    from hookseal.clock import parse_rfc3339

    try:
        parse_rfc3339(PERSON)
    except ValueError as error:
        log.error("a time could not be read", exc_info=error)
    (line,) = lines.read_all()
    assert str(line["error_at"]).startswith("clock.py:")
    assert_clean(lines)


def fails_in(file: str) -> Callable[[int], bytes]:
    """Return a source of randomness whose code claims to be in `file`, and which raises."""
    namespace: dict[str, Callable[[int], bytes]] = {}
    exec(compile("def random_bytes(count):\n    raise ValueError(count)", file, "exec"), namespace)
    return namespace["random_bytes"]


@pytest.mark.parametrize(
    "file",
    [
        "/home/user/hookseal/.venv/lib/python3.11/site-packages/library/source.py",
        "/srv/hookseal/library/source.py",
        "/usr/lib/python3/dist-packages/library/source.py",
        "C:\\hookseal\\library\\source.py",
    ],
)
def test_a_library_below_a_folder_named_hookseal_is_not_our_code(file: str, lines: Lines) -> None:
    """A clone is in a folder called `hookseal` by default. Frames of its environment were reported as ours."""
    from hookseal.ids import new_event_id

    try:
        new_event_id(0, fails_in(file))
    except ValueError as error:
        log.error("an id could not be made", exc_info=error)
    (line,) = lines.read_all()
    assert str(line["error_at"]).startswith("ids.py:")


@pytest.mark.parametrize("name", ["granian", "granian.access", "aiohttp.server", "asyncio", "root"])
def test_records_of_libraries_keep_where_and_lose_what(name: str, lines: Lines) -> None:
    try:
        raise ValueError(SECRET)
    except ValueError:
        logging.getLogger(name).error("request %s with %s", URL, TOKEN, exc_info=True)
    (line,) = lines.read_all()
    assert_clean(lines)
    assert line["foreign"] == name
    assert line["error_type"] == "ValueError"
    assert line["level"] == "error"


def test_a_record_whose_arguments_do_not_fit_is_not_printed_by_python(
    lines: Lines, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the handlers that pytest adds for itself.
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [one for one in root.handlers if type(one).__module__ == logs.__name__])
    logging.getLogger("aiohttp").error("%d", SECRET)
    assert_clean(lines)
    assert SECRET not in capsys.readouterr().err


def test_warnings_threads_and_finalisers_say_no_text(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(SECRET, stacklevel=1)
    sys.unraisablehook(_unraisable(ValueError(SECRET)))
    assert_clean(lines)
    assert {line["event"] for line in lines.read_all()} >= {
        "a thread ended with an exception",
        "an exception could not be raised",
    }
    assert SECRET not in capsys.readouterr().err


def _unraisable(error: Exception) -> object:
    class Failed:
        exc_value = error

    return Failed()


def test_a_lost_task_says_no_text(lines: Lines) -> None:
    async def fail() -> None:
        raise ValueError(SECRET)

    async def lose() -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": SECRET, "exception": ValueError(TOKEN), "task": SIGNATURE})

    asyncio.run(lose())
    assert_clean(lines)
    assert lines.read_all()[0]["foreign"] == "asyncio"


def test_lines_below_the_level_are_not_written() -> None:
    stream = Lines()
    undo = configure("warning", stream=stream)
    log.info("too quiet")
    log.warning("loud enough")
    undo()
    assert [line["event"] for line in stream.read_all()] == ["loud enough"]


def test_people_get_the_same_fields_without_json() -> None:
    stream = Lines()
    undo = configure(json=False, stream=stream)
    log.info("listening", listen="127.0.0.1:8400", body=SECRET)
    undo()
    assert stream.getvalue().endswith("info    listening logger=hookseal.test listen=127.0.0.1:8400 removed=1\n")


def test_a_stderr_that_is_gone_stops_nothing() -> None:
    stream = Lines()
    undo = configure(stream=stream)
    stream.close()
    log.error("nobody hears this")
    undo()


def test_strict_mode_raises_for_what_may_not_be_logged() -> None:
    undo = configure(strict=True, stream=Lines())
    try:
        with pytest.raises(UnfitLogLine):
            log.info("stored", payload="x")
        with pytest.raises(UnfitLogLine):
            log.info(f"stored {PERSON}")
        with pytest.raises(UnfitLogLine):
            log.info("stored", status=TOKEN)
        log.info("stored", status=200)
    finally:
        undo()


def test_configuring_leaves_no_trace_when_undone() -> None:
    before = (logging.getLogger().handlers[:], logging.getLogger().level, threading.excepthook, sys.unraisablehook)
    configure("error", stream=Lines())()
    after = (logging.getLogger().handlers[:], logging.getLogger().level, threading.excepthook, sys.unraisablehook)
    assert before == after
    assert logs._way.level == 20
