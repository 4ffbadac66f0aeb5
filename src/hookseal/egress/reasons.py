"""What went wrong in a call, told by the type of the error and by how far the call had come, never by its text.

The text of an error may hold bytes of the answer, and it changes from version to version. The HTTP library reports an
answer that it cannot parse as `ClientResponseError(status=400)`: that is no HTTP 400, and it must not become one.
"""

import errno
import ssl
from enum import IntEnum

import aiohttp

from hookseal.model import AttemptReason


class Phase(IntEnum):
    """How far a call has come, in order."""

    WAITING = 0  # for one of the connections that the pool may have
    RESOLVING = 1
    CONNECTING = 2
    SHAKING_HANDS = 3
    SENT = 4  # the request is being sent or has been; no byte of an answer
    ANSWERING = 5  # bytes of an answer came, its headers are not complete


class CallFailed(Exception):
    """Raised inside `egress`, where the reason is known at once."""

    def __init__(self, reason: AttemptReason, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(reason.value)


_WHEN_TIME_IS_UP = {
    Phase.WAITING: AttemptReason.CONNECT_TIMEOUT,
    Phase.RESOLVING: AttemptReason.DNS_TIMEOUT,
    Phase.CONNECTING: AttemptReason.CONNECT_TIMEOUT,
    Phase.SHAKING_HANDS: AttemptReason.TLS_TIMEOUT,
    Phase.SENT: AttemptReason.RESPONSE_TIMEOUT,
    Phase.ANSWERING: AttemptReason.RESPONSE_TOO_SLOW,
}

# https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_CERT_NOT_YET_VALID = 9
_CERT_HAS_EXPIRED = 10
_HOSTNAME_MISMATCH = 62
_IP_ADDRESS_MISMATCH = 64
_OF_CERTIFICATE = {
    _CERT_NOT_YET_VALID: AttemptReason.TLS_CERT_EXPIRED,  # outside its dates, like an expired one
    _CERT_HAS_EXPIRED: AttemptReason.TLS_CERT_EXPIRED,
    _HOSTNAME_MISMATCH: AttemptReason.TLS_HOSTNAME,
    _IP_ADDRESS_MISMATCH: AttemptReason.TLS_HOSTNAME,
}


def reason_of_timeout(phase: Phase) -> AttemptReason:
    return _WHEN_TIME_IS_UP[phase]


def reason_of(error: BaseException, phase: Phase) -> AttemptReason:
    """The reason for an error that ended a call before an answer's headers were complete."""
    if isinstance(error, CallFailed):
        return error.reason
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        return AttemptReason.RESPONSE_HEADERS_INVALID
    if is_of_writing(error):
        return AttemptReason.WRITE_ERROR
    if isinstance(error, ssl.SSLError):
        return reason_of_tls(error)
    if phase <= Phase.CONNECTING:
        return reason_of_connect(error)
    if isinstance(error, TimeoutError):
        return reason_of_timeout(phase)
    if phase is Phase.ANSWERING:  # it began to answer and left
        return AttemptReason.RESPONSE_HEADERS_INVALID
    return AttemptReason.CONNECT_RESET


def is_of_writing(error: BaseException) -> bool:
    """Our own write found the connection closed."""
    closed = aiohttp.ClientConnectionResetError
    if isinstance(error, closed) or isinstance(error.__cause__, closed):
        return True
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def reason_of_connect(error: BaseException) -> AttemptReason:
    """The reason for an error of dialling one address, or of dialling several one after the other."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return AttemptReason.CONNECT_REFUSED
    if isinstance(error, TimeoutError) or number in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH):
        return AttemptReason.CONNECT_TIMEOUT  # a router's word or none: nobody is there
    return AttemptReason.CONNECT_RESET


def reason_of_tls(error: ssl.SSLError) -> AttemptReason:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _OF_CERTIFICATE.get(error.verify_code, AttemptReason.TLS_UNTRUSTED)
    return AttemptReason.TLS_PROTOCOL
