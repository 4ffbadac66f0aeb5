"""What apsw raises, in the words of `hookseal.errors`. Never the driver's own text: it may quote what was stored.

Two questions only: does this concern everything that was to be written (the disk, the file, the lock), or the one
operation that brought a bad value? And may it pass?
"""

import apsw

from hookseal.errors import StoreError, StoreMismatch, StoreUnavailable

_MAY_PASS: tuple[type[apsw.Error], ...] = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.InterruptError,
    apsw.AbortError,
    apsw.NoLFSError,
    apsw.PermissionsError,
    apsw.AuthError,
    apsw.SchemaChangeError,
    apsw.ConnectionClosedError,
)
_WILL_NOT: tuple[type[apsw.Error], ...] = (apsw.CorruptError, apsw.NotADBError, apsw.FormatError)


def fault_of(error: Exception, what: str) -> StoreError:
    """Our error for one of the driver's, or for a value that the driver could not take.

    what  the operation's name, for the operator.
    """
    if isinstance(error, StoreError):
        return error
    told = f"{what}: {_told(error)}"
    if isinstance(error, _MAY_PASS):
        return StoreUnavailable(told)
    if isinstance(error, _WILL_NOT):
        return StoreMismatch(f"{told}: the file is damaged or not a database; restore it from a backup")
    return StoreError(told)


def concerns_all(error: Exception) -> bool:
    """Whether everything that was to be written fails, not only the operation that met the error."""
    return isinstance(error, (StoreUnavailable, StoreMismatch, MemoryError, *_MAY_PASS, *_WILL_NOT))


def breaks_connection(error: Exception) -> bool:
    """Whether what the connection believes of the file can no longer be trusted.

    After a failed sync the kernel may have dropped the pages and call them clean: nothing may go on from there
    (https://wiki.postgresql.org/wiki/Fsync_Errors).
    """
    return isinstance(
        error, (apsw.IOError, apsw.CantOpenError, apsw.NoMemError, apsw.ConnectionClosedError, *_WILL_NOT)
    )


def _told(error: Exception) -> str:
    if isinstance(error, apsw.Error):
        # Of an error that apsw has found by itself the code is 0, which is the name of a success.
        code = getattr(error, "extendedresult", 0)
        name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code)
        return str(name) if code and name else type(error).__name__
    return type(error).__name__
