"""What hookseal says while it runs: one JSON object a line on stderr, made of an allow-list of fields.

Theory of operation. A log line has a message and fields. The message is a phrase of our own in lower-case words; digits
and anything else that could carry a value are refused. A field is known by name and by shape (`FIELDS`): what is not
in the table, or does not look as the table says, is dropped and counted in `removed`. So nothing of a request (body,
header values, query, signature, token) can be logged by mistake: there is no field that would take it. In tests the
same mistakes raise (`strict`).

Exceptions are logged by type and by the place in our own code where they passed, never by their text: the text of a
parser's or a driver's error quotes its input. Records of the standard library's logging (granian, aiohttp, asyncio)
are written by logger, level, place and exception type only, for the same reason.

Lines that repeat are limited (`RepeatLimit`): what fails a thousand times in a second, or is accepted that often, is
written a few times, and then counted in `left_out`. A line that stderr cannot take now, because a pipe is full, is
dropped and counted in `lost`: the event loop does not wait for the reader of the log.

Loggers do not look at structlog's global configuration, so that an application that mounts the gateway keeps its own.
"""

import logging
import os
import re
import select
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from hookseal.clock import Clock, SystemClock, rfc3339

_ID = re.compile(r"[a-z0-9][a-z0-9_:.-]{0,127}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_DELIVERY = re.compile(r"msg_[0-9a-f]{32}", re.ASCII)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_METHOD = re.compile(r"[A-Z]{1,16}", re.ASCII)
_LISTEN = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}:[0-9]{1,5}", re.ASCII)
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}", re.ASCII)
_TYPE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}", re.ASCII)
_PLACE = re.compile(r"[A-Za-z0-9_./<>-]{1,160}:[0-9]{1,7}", re.ASCII)
_FRAME = r"[A-Za-z0-9_./<>-]{1,160}:[0-9]{1,7}:[A-Za-z0-9_.<>]{1,80}"
_TRACE = re.compile(rf"{_FRAME}( {_FRAME}){{0,19}}", re.ASCII)
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,31}", re.ASCII)
MESSAGE = re.compile(r"[a-z][a-z_ ,;'()-]{0,119}", re.ASCII)

FIELDS: Final[dict[str, re.Pattern[str] | type]] = {
    # who and what
    "source": re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII),
    "endpoint": _ID,  # `handler:module.name` too
    "provider": re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII),
    "event_id": _UUID,
    "delivery_id": _DELIVERY,
    "refusal_id": _UUID,
    "request_id": _UUID,
    "event_type": re.compile(r"[a-z][a-z_]{0,31}(\.[a-z_]{1,31}){0,3}", re.ASCII),
    # what came of it
    "reason": _CODE,
    "code": _CODE,
    "state": _CODE,
    "outcome": _CODE,
    "flag": _CODE,
    "step": _CODE,
    "method": _METHOD,
    "status": int,
    "attempt": int,
    "count": int,
    "bytes": int,
    "duration_ms": int,
    "wait_s": float,
    "left_out": int,  # lines of this kind that were not written
    "lost": int,  # lines before this one that stderr did not take
    # the machinery
    "listen": _LISTEN,
    "remote": _ADDRESS,
    "pid": int,
    "version": _VERSION,
    "schema": int,
    "signal": re.compile(r"SIG[A-Z0-9]{1,8}", re.ASCII),
    # made here
    "error_type": _TYPE,
    "error_code": _CODE,
    "error_at": _PLACE,
    "cause_type": _TYPE,
    "trace": _TRACE,
    "foreign": _TYPE,
    "at": _PLACE,
}

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_OURS = "hookseal"
# With the separator of its own last: the folder of the package, whatever the folders above it are called. A clone of the
# project is in a folder with the package's name by default.
_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class UnfitLogLine(AssertionError):
    """A log call of ours has a message or a field that may not be logged. Raised in strict mode only."""


Kind = tuple[tuple[str, str], ...]
"""What makes two lines repetitions of each other: names and values of `_KIND_FIELDS`."""

_KIND_FIELDS: Final = ("logger", "level", "event", "source", "endpoint", "reason", "code", "step", "error_type")
_LINES, _PERIOD_S, _MAX_KINDS = 10, 10.0, 1024


@dataclass(slots=True)
class _Period:
    started_at: float
    lines: int = 0
    left_out: int = 0


class RepeatLimit:
    """Admits the first lines of a kind in each period, and counts the others. The caller gives the time.

    lines      of one kind that are admitted in one period.
    max_kinds  kinds that are remembered. Beyond it all periods end at once, so that memory stays bounded.
    """

    def __init__(self, lines: int = _LINES, period_s: float = _PERIOD_S, max_kinds: int = _MAX_KINDS) -> None:
        self._lines = lines
        self._period_s = period_s
        self._max_kinds = max_kinds
        self._periods: dict[Kind, _Period] = {}

    def admit(self, kind: Kind, now: float) -> bool:
        """Whether a line of this kind may be written. now: monotonic seconds."""
        period = self._periods.get(kind)
        if period is None:
            period = self._periods[kind] = _Period(now)
        if period.lines < self._lines:
            period.lines += 1
            return True
        period.left_out += 1
        return False

    def would_admit(self, kind: Kind, now: float) -> bool:
        """Whether `admit` would say yes or a period has ended that should be reported; counts the line if not."""
        period = self._periods.get(kind)
        if period is None or period.lines < self._lines or now - period.started_at >= self._period_s:
            return True
        period.left_out += 1
        return False

    def ended(self, now: float) -> list[tuple[Kind, int]]:
        """The kinds whose period is over, with how many lines of it were left out. They begin anew."""
        if not self._periods:
            return []
        # Periods are in the order of their start. The first one that has not ended ends the search.
        first = next(iter(self._periods.values()))
        if now - first.started_at < self._period_s and len(self._periods) < self._max_kinds:
            return []
        force = len(self._periods) >= self._max_kinds
        over = [kind for kind, period in self._periods.items() if force or now - period.started_at >= self._period_s]
        counts = [(kind, self._periods.pop(kind).left_out) for kind in over]
        return [(kind, left_out) for kind, left_out in counts if left_out]

    def end_all(self) -> list[tuple[Kind, int]]:
        """End every period; as `ended`."""
        counts = [(kind, period.left_out) for kind, period in self._periods.items() if period.left_out]
        self._periods.clear()
        return counts


@dataclass(slots=True)
class _Way:
    """How lines leave this process."""

    level: int = 20
    as_json: bool = True
    strict: bool = False
    stream: TextIO | None = None  # None: whatever sys.stderr is at the moment
    clock: Clock = field(default_factory=SystemClock)
    limit: RepeatLimit = field(default_factory=RepeatLimit)
    lost: int = 0


class _Exclusive:
    """Lock that its own thread can enter again. It returns False then, and the caller leaves what it guards alone.

    A garbage collection can run anywhere, and call `_unraisable` or the handler of asyncio for a failed task. Both log.
    With a plain lock that thread would wait for itself for ever, and all threads that log would wait for it.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> bool:
        self._lock.acquire()
        self._depth += 1
        return self._depth == 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()


_way = _Way()
_lock = _Exclusive()


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger for one module; `name` is its `__name__`."""
    logger = structlog.wrap_logger(
        None,
        processors=[_drop_quiet, _limit_repeats, _explain_exception, redact, _stamp, _write],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    bound: FilteringBoundLogger = logger.bind(logger=name)
    return bound


def kind_of(logger: str, level: str, event: str, *, source: str) -> Kind:
    """The kind of a line that is about a source, for `would_write`."""
    return (("logger", logger), ("level", level), ("event", event), ("source", source))


def would_write(kind: Kind) -> bool:
    """Whether a line of this kind would be written now; it is counted as left out if not.

    kind: of `kind_of`. For lines of each request: a log call that is left out costs six times as much as this.
    """
    if _LEVELS[kind[1][1]] < _way.level:
        return False
    now = _way.clock.monotonic()
    with _lock as is_first:
        return is_first and _way.limit.would_admit(kind, now)


def configure(
    level: str = "info",
    json: bool = True,
    *,
    stream: TextIO | None = None,
    strict: bool = False,
    clock: Clock | None = None,
) -> Callable[[], None]:
    """Set how this process logs, and send the standard library's logging the same way. Returns what undoes it.

    level   `debug`, `info`, `warning`, `error` or `critical`.
    json    False gives lines for people.
    strict  raise for a field or message that may not be logged, instead of dropping it.
    clock   of the lines' times, and of the limit of lines that repeat.
    For processes of our own; a gateway mounted in another application leaves that one's logging alone.
    """
    global _way
    before, root = _way, logging.getLogger()
    handlers, root_level = root.handlers[:], root.level
    hooks = (threading.excepthook, sys.unraisablehook)
    _way = _Way(level=_LEVELS[level], as_json=json, strict=strict, stream=stream, clock=clock or SystemClock())
    root.handlers[:] = [_Foreign()]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable

    def undo() -> None:
        global _way
        _way = before
        root.handlers[:] = handlers
        root.setLevel(root_level)
        logging.captureWarnings(False)
        threading.excepthook, sys.unraisablehook = hooks

    return undo


def redact(logger: Any, method: str, line: EventDict) -> EventDict:
    """Keep what `FIELDS` knows. Everything else is dropped and counted, or raises in strict mode."""
    kept: EventDict = {}
    removed = 0
    for name, value in line.items():
        if name in ("logger", "level") or (name == "event" and isinstance(value, str) and MESSAGE.fullmatch(value)):
            kept[name] = value
        elif name != "event" and _fits(name, value):
            kept[name] = str(value) if isinstance(value, str) else value
        elif value is not None:
            removed += 1
            if _way.strict:
                raise UnfitLogLine(f"{name} may not be logged, or not with such a value")
    kept.setdefault("event", "message removed")
    if removed:
        kept["removed"] = removed
    return kept


def _fits(name: str, value: object) -> bool:
    shape = FIELDS.get(name)
    if shape is None or isinstance(value, bool):
        return False
    if isinstance(shape, re.Pattern):
        return isinstance(value, str) and shape.fullmatch(value) is not None
    return isinstance(value, int | float) if shape is float else isinstance(value, shape)


def _drop_quiet(logger: Any, method: str, line: EventDict) -> EventDict:
    level = "error" if method == "exception" else "warning" if method == "warn" else method
    if _LEVELS.get(level, 0) < _way.level:
        raise structlog.DropEvent
    line["level"] = level
    return line


def _limit_repeats(logger: Any, method: str, line: EventDict) -> EventDict:
    """Drop a line that repeats too often. Early in the chain, so that a line that is left out costs little."""
    if line["level"] == "critical":
        return line
    kind = tuple((name, value) for name in _KIND_FIELDS if type(value := line.get(name)) is str)
    if isinstance(error := line.get("exc_info"), BaseException):
        kind += (("error_type", _type_name(type(error))),)
    now = _way.clock.monotonic()
    with _lock as is_first:
        if not is_first:
            _way.lost += 1
            raise structlog.DropEvent
        ended = _way.limit.ended(now)
        admitted = _way.limit.admit(kind, now)
    _write_left_out(ended)
    if not admitted:
        raise structlog.DropEvent
    return line


def write_left_out() -> None:
    """Write how many lines were left out so far: for the end of a process."""
    with _lock as is_first:
        ended = _way.limit.end_all() if is_first else []
    _write_left_out(ended)


def _write_left_out(counts: Sequence[tuple[Kind, int]]) -> None:
    for kind, left_out in counts:
        line = redact(None, "", {**dict(kind), "left_out": left_out})
        with suppress(structlog.DropEvent):
            _write(None, "", _stamp(None, "", line))


def _explain_exception(logger: Any, method: str, line: EventDict) -> EventDict:
    """Replace `exc_info` by type, our own code and the innermost place in our own code."""
    given = line.pop("exc_info", None)
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given is True else None
    if isinstance(given, tuple) and isinstance(given[1], BaseException):
        error = given[1]
    if error is not None:
        line.update(described(error))
    return line


def described(error: BaseException) -> dict[str, str]:
    """The fields that tell of an exception without its text."""
    fields = {"error_type": _type_name(type(error))}
    code = getattr(type(error), "code", None)
    if isinstance(code, str) and type(error).__module__.split(".")[0] == _OURS:
        fields["error_code"] = code
    place = place_of(error.__traceback__)
    if place is not None:
        fields["error_at"] = place
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        fields["cause_type"] = _type_name(type(cause))
    return fields


def place_of(trace: TracebackType | None) -> str | None:
    """Return `receive/core.py:120`, the innermost frame in this package, or the innermost frame if none is in it."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]
    if not frames:
        return None
    ours = [frame for frame in frames if frame[0].startswith(_PACKAGE)]
    file, line = (ours or frames)[-1]
    return f"{_short(file)}:{line}"


_TRACE_FRAMES: Final = 20
_NOT_OF_A_FRAME = re.compile(r"[^A-Za-z0-9_./<>-]", re.ASCII)


def trace_of(trace: TracebackType | None) -> str | None:
    """Return the frames of a traceback, the innermost last: `app/events.py:12:on_event app/customers.py:7:find`.

    At most 20, the innermost ones. Places in code only: no source line, no argument and no text of an exception.
    """
    frames = [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(trace)]
    return (
        " ".join(
            f"{_plain(_short(file), 160)}:{line}:{_plain(name, 80)}" for file, line, name in frames[-_TRACE_FRAMES:]
        )
        or None
    )


def _plain(text: str, length: int) -> str:
    """Return the end of a name, without characters that a trace may not have: users choose names of files."""
    return _NOT_OF_A_FRAME.sub("_", text)[-length:]


def _short(file: str) -> str:
    """Return the path below the package for a file of ours, the last two parts of any other path."""
    inner = file.removeprefix(_PACKAGE)
    parts = inner.replace("\\", "/").split("/")
    return "/".join(parts if inner != file else parts[-2:])


def _type_name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _stamp(logger: Any, method: str, line: EventDict) -> EventDict:
    return {"time": rfc3339(_way.clock.now()), "level": line.pop("level"), "event": line.pop("event"), **line}


def _write(logger: Any, method: str, line: EventDict) -> EventDict:
    """Always the last: writes the line, and hands structlog nothing more to do."""
    render = structlog.processors.JSONRenderer() if _way.as_json else _for_people
    stream = _way.stream or sys.stderr
    try:
        with _lock as is_first:
            if not is_first or not _can_take_a_line(stream):
                _way.lost += 1
                raise structlog.DropEvent
            if _way.lost:
                line["lost"], _way.lost = _way.lost, 0
            text = render(logger, method, line)
            stream.write(f"{text if isinstance(text, str) else text.decode()}\n")
            stream.flush()
    except (OSError, ValueError):
        pass  # stderr is gone or full: a gateway does not stop for that
    raise structlog.DropEvent


def _can_take_a_line(stream: TextIO) -> bool:
    """Whether a write returns at once. A pipe that polls as writable takes PIPE_BUF bytes (4096), more than a line has."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        # Only "no event" means a full pipe. On an error, such as a closed reader, the write itself fails.
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True  # not a file of the system


def _for_people(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
    first = f"{line.pop('time')} {line.pop('level'):<8}{line.pop('event')}"
    return " ".join([first, *(f"{name}={value}" for name, value in line.items())])


class _Foreign(logging.Handler):
    """Records of other libraries: that something was said, by whom and where, not what."""

    def emit(self, record: logging.LogRecord) -> None:
        given = {"foreign": record.name, "at": f"{_short(record.pathname)}:{record.lineno}"}
        line: dict[str, Any] = {name: value for name, value in given.items() if _fits(name, value)}
        if record.exc_info and record.exc_info[1] is not None:
            line["exc_info"] = record.exc_info[1]
        level = "critical" if record.levelno >= 50 else "error" if record.levelno >= 40 else "warning"
        getattr(_foreign, level)("a library reported a problem", **line)

    def handleError(self, record: logging.LogRecord) -> None:
        """Never the default, which prints the record with its arguments."""


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        _ours.error("a thread ended with an exception", exc_info=failed.exc_value)


def _unraisable(failed: Any) -> None:
    if failed.exc_value is not None:
        _ours.error("an exception could not be raised", exc_info=failed.exc_value)


_ours = get_logger(__name__)
_foreign = get_logger("foreign")
