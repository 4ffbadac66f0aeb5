"""Consent to a subscription: the OPTIONS handshake of CloudEvents' HTTP web hooks (abuse protection), our side of it.

Source: https://github.com/cloudevents/spec, http-webhook.md §4. The request names who will send; we grant it with a
rate, or answer as if the method did not exist. Authorization is not looked at: the sender has no token yet.

Where the operator has named hosts for it, consent goes to the callback URL that the request names, later, and the
answer itself consents to nothing. Without such hosts that header is not looked at: calling a stranger's URL is a risk.
"""

import re

from hookseal.message import Request
from hookseal.receive import answers
from hookseal.receive.answers import Answer, Case
from hookseal.receive.source import Source

_MAX_URL = 2048
# No user name, no address, nothing that two parsers read differently; the egress judges the address behind the name.
_CALLBACK = re.compile(rb"https://(?P<host>[A-Za-z0-9.-]{1,253})(?::[0-9]{1,5})?(?:/[!$-;=?-Z_a-z~%]*)?", re.IGNORECASE)
_ORIGIN = re.compile(rb"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def allowed_methods(source: Source) -> bytes:
    return b"OPTIONS, POST" if source.provider.handshake is not None else b"POST"


def consent(source: Source, request: Request) -> Answer:
    """200 with the WebHook headers for an origin that the provider's entry names; else 405 without them.

    The origin is sent back as it was asked, but only after it has been found on the list, so that nothing unchecked is
    echoed. A rate is always granted; `*` means no limit.
    """
    handshake = source.provider.handshake
    origins = request.values(b"webhook-request-origin")
    if handshake is None or len(set(origins)) != 1 or not _ORIGIN.fullmatch(origins[0]):
        return not_allowed(source)
    if origins[0].decode("ascii").lower() not in handshake.origins:
        return not_allowed(source)
    allow = (b"allow", allowed_methods(source))
    if callback_in(source, request) is not None:
        return Answer(case=Case.HANDSHAKE, status=200, headers=(allow,))
    granted = ((b"webhook-allowed-origin", origins[0]), (b"webhook-allowed-rate", rate_of(source).encode()))
    return Answer(case=Case.HANDSHAKE, status=200, headers=(*granted, allow))


def rate_of(source: Source) -> str:
    """What is granted, requests per minute; `*` is no limit."""
    return "*" if source.allowed_rate is None else str(source.allowed_rate)


def callback_in(source: Source, request: Request) -> str | None:
    """The URL to consent by, where the request names one under a host that the operator has listed. https only."""
    named = request.values(b"webhook-request-callback")
    if not source.callback_hosts or len(named) != 1 or len(named[0]) > _MAX_URL:
        return None
    found = _CALLBACK.fullmatch(named[0])
    if found is None:
        return None
    host = found["host"].decode("ascii").lower()
    if any(host == listed or host.endswith("." + listed) for listed in source.callback_hosts):
        return named[0].decode("ascii")
    return None


def not_allowed(source: Source) -> Answer:
    return answers.answer(Case.METHOD, headers=((b"allow", allowed_methods(source)),))
