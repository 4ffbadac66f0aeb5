"""The one door out: what a call to somebody else's server can come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hookseal.model import AttemptReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A status line and headers came. body: what was read of it, bounded; `complete` tells whether that is all of it."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes = b""
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """No answer that counts.

    detail  for the operator's eyes: what to change, where that is known. Never a byte of what the other side sent.
    status  of a redirect, which is an answer, if one that nothing is done with; None for everything else.
    """

    reason: AttemptReason
    detail: str = ""
    status: int | None = None


class Egress(Protocol):
    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_s: float = 30.0,
        max_bytes: int = 65536,
    ) -> Reply | Failure:
        """One request, no redirect followed, never raises for what the other side does.

        timeout_s  for everything: name, connection, TLS, sending, the answer's headers and its body.
        max_bytes  how much of the answer's body is read. A success counts once its headers are there: a body that is
                   longer, slower or broken leaves `complete` False and the status standing.
        A 3xx is `redirect_refused`. A URL that cannot be called (scheme, port, userinfo, ...) is `config_error`,
        an address on the deny list `denied_address`; nothing is connected to in either case.
        """
        ...

    async def close(self) -> None: ...
