"""How this store reaches its database: which of several hosts, with which settings, and which server it refuses.

A server that may lose what it committed (`fsync` or `full_page_writes` off) is refused; `synchronous_commit` is set for
our own sessions. A server that cannot write now, a standby for example, is passed over, so that after a failover the
next connection finds the new primary. Every wait has a bound: a connection 3 s, a lock 2 s, a statement 4 s.

Text goes through a codec of our own: PostgreSQL keeps no NUL character and no half surrogate pairs, senders do send
them. NUL is stored as DLE "0" and DLE as two of them; comparisons are made in the same spelling.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from hookseal.errors import StoreMismatch, StoreUnavailable
from hookseal.logs import get_logger
from hookseal.store.packing import storable
from hookseal.store.postgres.faults import code_of, fault_of
from hookseal.store.postgres.queries import QUERIES

log = get_logger(__name__)

Row = Any
"""A record of asyncpg: values by place, unpacks as a tuple does."""


class Connection(Protocol):
    """What this store uses of asyncpg's connection."""

    async def fetch(self, query: str, *args: Any) -> Sequence[Row]: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def set_type_codec(self, typename: str, **given: Any) -> None: ...
    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None: ...
    def add_termination_listener(self, callback: Callable[[Any], None]) -> None: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...
    def is_closed(self) -> bool: ...


CONNECT_S: Final = 3.0
"""For all hosts together, so that one that does not answer leaves time for the others."""

SETTINGS: Final[Mapping[str, str]] = {
    "application_name": "hookseal",
    "search_path": "hookseal",
    "statement_timeout": "4000",
    "lock_timeout": "2000",
    # A node that is frozen in a transaction holds up all others at the row of a source: not longer than this.
    "idle_in_transaction_session_timeout": "3000",
    # A node that vanished must not hold its locks until the system's own two hours are over.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
    # Compiling a statement takes longer than any of ours runs.
    "jit": "off",
}
_PREPARED = 200
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_COUNT = 10, 3, 3
_USER_TIMEOUT_MS = 5000
_OF_THE_ROLE = frozenset({"user", "database user", "client"})
"""Where a setting comes from (`pg_settings.source`) that was made for this user. One of the server or the database may
be a switch-over or a full disk, and passes."""
_SYNCED = frozenset({"on", "remote_apply"})

_DLE = "\x10"
_SPELLED = re.compile("[\0\x10]")
_SPELLING = {"\0": _DLE + "0", _DLE: _DLE + _DLE}
_ESCAPED = re.compile(_DLE + "(.)", re.DOTALL)


class Hosts:
    """Where the database is: a URL, perhaps with several hosts (`postgresql://user@h1,h2:5433/db`)."""

    def __init__(self, url: str) -> None:
        self._urls = _one_host_each(url)
        self.name = place_of(url)

    async def connect(self) -> Connection:
        """A connection that can write, to the host that was good last or to the next one that is.

        StoreMismatch when a server may lose what it commits, StoreUnavailable when none can be had.
        """
        failed: Exception | None = None
        share_s = CONNECT_S / len(self._urls)
        for url in list(self._urls):
            try:
                async with asyncio.timeout(share_s):
                    connection = await _connect(url)
            except Exception as error:  # noqa: BLE001 - mapped below, when no host is left
                failed = error
            else:
                self._urls.remove(url)
                self._urls.insert(0, url)
                return connection
        if failed is None:
            failed = StoreUnavailable("no host")
        log.warning("the database cannot be reached", code=code_of(failed))
        raise fault_of(failed, f"connecting to {self.name}") from None


async def _connect(url: str) -> Connection:
    connection: Connection = await asyncpg.connect(
        url, server_settings=dict(SETTINGS), statement_cache_size=_PREPARED, max_cached_statement_lifetime=0
    )
    try:
        _watch(connection)
        await _judge(connection)
        await connection.set_type_codec("uuid", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
        await connection.set_type_codec(
            "text", schema="pg_catalog", encoder=encode_text, decoder=decode_text, format="binary"
        )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _judge(connection: Connection) -> None:
    [(fsync, full_pages, synced, encoding, read_only, recovering, read_only_by)] = await connection.fetch(
        QUERIES["server_state"]
    )
    for setting, value in (("fsync", fsync), ("full_page_writes", full_pages)):
        if value != "on":
            raise StoreMismatch(f"the server has {setting} off and may lose what it acknowledged; turn it on")
    if encoding != "UTF8":
        raise StoreMismatch(f"the database is encoded in {encoding}; make one in UTF8")
    if read_only == "on" and not recovering and read_only_by in _OF_THE_ROLE:
        raise StoreMismatch(
            "this user is read-only (default_transaction_read_only is set for it); name one that may write"
        )
    if recovering or read_only == "on":
        raise StoreUnavailable("the server is read-only")
    if synced not in _SYNCED:
        await connection.execute(QUERIES["sync_commits"])


def _watch(connection: Connection) -> None:
    """Let the kernel notice a server that went away without a word: asyncpg has no parameter for it."""
    transport = getattr(connection, "_transport", None)
    found = None if transport is None else transport.get_extra_info("socket")
    if found is None or found.family == socket.AF_UNIX:
        return
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS),
    ):
        if hasattr(socket, option):
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def place_of(url: str) -> str:
    """Hosts and database without user, password and options, for people: `h1,h2:5433/db`."""
    parts = urlsplit(url)
    return (parts.netloc.rpartition("@")[2] or "localhost") + parts.path


def _one_host_each(url: str) -> list[str]:
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [urlunsplit(parts._replace(netloc=user + at + host)) for host in hosts.split(",")]


def spell(text: str | None) -> str | None:
    """The text as it is stored. The codec does it for single values; asyncpg knows no codec for arrays of text."""
    kept = storable(text)
    if kept is not None and ("\0" in kept or _DLE in kept):
        return _SPELLED.sub(lambda found: _SPELLING[found[0]], kept)
    return kept


def encode_text(text: str) -> bytes:
    return (spell(text) or "").encode()


def decode_text(stored: bytes) -> str:
    text = stored.decode()
    if _DLE in text:
        return _ESCAPED.sub(lambda found: "\0" if found[1] == "0" else found[1], text)
    return text
