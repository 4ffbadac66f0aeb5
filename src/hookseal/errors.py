"""Every error that hookseal raises, and nothing else.

    HooksealError
    ├── ConfigurationError      the operator's files or arguments are wrong         exit 2
    │   └── CatalogueError      a provider file is wrong
    ├── Refused                 `hookseal.verify` judged a request to be not genuine   exit 1
    ├── CannotDecide            a request cannot be judged now (no keys at hand)    503, exit 2
    ├── PartEnded               a thread or task that the process needs has ended   exit 1
    ├── StoreError              503
    │   ├── StoreUnavailable    full, locked, broken or gone; may pass
    │   ├── StoreBusy           its queue is full; may pass
    │   ├── StoreLocked         another process has the store                       exit 2
    │   └── StoreMismatch       another keyring, a newer schema, an unsafe library  exit 2
    ├── SealBroken              a stored value does not open with the keyring
    ├── NotFound                404 of the management API
    ├── Invalid                 422 of the management API
    │   └── UnfitRegistration   a source or endpoint that cannot be, with all its faults
    ├── Conflict                409 of the management API
    └── CannotFormat            an event has nothing that this format could carry     delivery ends dead

Whatever a stranger can cause is a value, not an exception: see `schemes.verdict.Verdict` and `receive.core.Decision`.
`Refused` is an exception only at the Python face, where a caller who forgets to look must not go on.
"""

from collections.abc import Sequence
from typing import ClassVar

from hookseal.model import Finding, Reason


class HooksealError(Exception):
    """Something went wrong in hookseal."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 503


class ConfigurationError(HooksealError):
    """The configuration cannot be used. The message names the place, the key and the remedy, in one sentence."""

    code = "configuration"

    def __init__(self, place: str, key: str, remedy: str) -> None:
        """place: the file or command line; key: the setting, "" for the whole file; remedy: what to do, no full stop."""
        self.place = place
        self.key = key
        self.remedy = remedy
        super().__init__(": ".join(part for part in (place, key, remedy) if part))


class CatalogueError(ConfigurationError):
    """A provider file cannot be used."""

    code = "catalogue"


class Refused(HooksealError):
    """The request is not proven to be genuine."""

    code = "refused"
    status = 401

    def __init__(self, reason: Reason, diagnosis: Sequence[Finding] = ()) -> None:
        self.reason = reason
        self.diagnosis = tuple(diagnosis)
        super().__init__(reason.value)


class CannotDecide(HooksealError):
    """The request cannot be judged now: what it takes is not at hand."""

    code = "cannot_decide"


class PartEnded(HooksealError):
    """A thread or task that the gateway needs has ended. Only a restart of the process helps."""

    code = "part_ended"

    def __init__(self, part: str) -> None:
        self.part = part
        super().__init__(f"{part} ended unexpectedly; this process cannot continue and must be restarted")


class StoreError(HooksealError):
    """The store did not do what was asked."""

    code = "store"


class StoreUnavailable(StoreError):
    """The store cannot be used at the moment; nothing was written."""

    code = "store_unavailable"


class StoreBusy(StoreUnavailable):
    """More is waiting to be written than the store's queue may hold."""

    code = "store_busy"


class StoreLocked(StoreError):
    """Another process has this store open."""

    code = "store_locked"


class StoreMismatch(StoreError):
    """This store belongs to another key, a newer hookseal, or cannot be kept safely on this machine."""

    code = "store_mismatch"


class SealBroken(HooksealError):
    """A stored value does not open with the keyring: it was altered, or sealed under a key that is gone."""

    code = "seal_broken"


class NotFound(HooksealError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class Invalid(HooksealError):
    """The request to the management API asks for something that cannot be."""

    code = "invalid"
    status = 422

    def __init__(self, pointer: str, problem: str) -> None:
        """pointer: JSON pointer or parameter name of what is wrong; problem: a short sentence without the value."""
        self.pointer = pointer
        self.problem = problem
        super().__init__(f"{pointer}: {problem}")


class UnfitRegistration(Invalid):
    """A source or an endpoint cannot be registered so."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        """faults: key as in the configuration file (`signing.secret`, `types[2]`) and remedy of each; at least one."""
        self.faults = tuple(faults)
        super().__init__(*self.faults[0])


class Conflict(HooksealError):
    """The request to the management API does not go with how things stand."""

    code = "conflict"
    status = 409

    def __init__(self, kind: str, problem: str) -> None:
        """kind: a code of the API's problems; problem: a sentence without any value of the request."""
        self.kind = kind
        self.problem = problem
        super().__init__(problem)


class CannotFormat(HooksealError):
    """The event has nothing that this format could carry."""

    code = "cannot_format"
