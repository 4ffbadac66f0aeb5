"""What asyncpg raises, in the words of `hookseal.errors`. Only the SQLSTATE is told, never the server's own text.

The DETAIL of a PostgreSQL error quotes the row that it is about; for the same reason no cause is kept. The codes:
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

import asyncpg

from hookseal.errors import StoreError, StoreMismatch, StoreUnavailable

_RETRIED = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the same transaction may go through at once."""
_READ_ONLY = "25006"
_THE_OPERATION = ("21", "22", "23")
"""Classes that one operation's value brings about: cardinality, data, integrity."""
_WILL_NOT = ("28", "3D", "42", "XX001", "XX002")
"""No right, no such database, a schema that is not ours, damaged data: waiting does not help."""
_CONNECTION_LOST = ("08", "57P0", "58", "XX", "25", _READ_ONLY, "53300")
"""The next connection may reach a server that is whole; 25006 is a primary that has become a standby."""


class Overtaken(Exception):
    """What this transaction waited for is gone again; it has to be done anew."""


_OF_OURS_OR_THE_CONNECTION = (
    StoreUnavailable,
    StoreMismatch,
    Overtaken,
    MemoryError,
    OSError,
    EOFError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


def fault_of(error: BaseException, what: str) -> StoreError:
    """Our error for one of the driver's, the socket's, or for a value that the driver could not take.

    what  the operation's name, for the operator.
    """
    if isinstance(error, StoreError):
        return type(error)(*error.args)
    code = _sqlstate(error)
    told = f"{what}: SQLSTATE {code}" if code else f"{what}: {type(error).__name__}"
    if code is not None and code.startswith(_WILL_NOT):
        return StoreMismatch(told)
    if concerns_all(error):
        return StoreUnavailable(told)
    return StoreError(told)


def code_of(error: BaseException) -> str:
    """For the log: `sqlstate_57p01`, or the name of the exception."""
    code = _sqlstate(error)
    return f"sqlstate_{code.lower()}" if code else type(error).__name__.lower()


def concerns_all(error: BaseException) -> bool:
    """Whether everything that was to be written fails, not only the operation that met the error."""
    code = _sqlstate(error)
    if code is not None:
        return not code.startswith(_THE_OPERATION)
    return isinstance(error, _OF_OURS_OR_THE_CONNECTION)


def breaks_connection(error: BaseException) -> bool:
    """Whether this connection is gone, or leads to a server that cannot write."""
    code = _sqlstate(error)
    if code is not None:
        return code.startswith(_CONNECTION_LOST)
    return concerns_all(error) and not isinstance(error, Overtaken)


def passes_at_once(error: BaseException) -> bool:
    """Whether the same transaction may go through when it is done again: also after another node's migration."""
    return isinstance(error, (Overtaken, asyncpg.InvalidCachedStatementError)) or _sqlstate(error) in _RETRIED


def _sqlstate(error: BaseException) -> str | None:
    # A value that asyncpg cannot encode is a DataError too, of class 22, though no server has seen it.
    return getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
