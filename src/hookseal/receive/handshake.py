"""Consent to a subscription: the OPTIONS handshake of CloudEvents' HTTP web hooks (abuse protection), our side of it.

Source: https://github.com/cloudevents/spec, http-webhook.md §4. The request names who will send; we grant it with a
rate, or answer as if the method did not exist. Authorization is not looked at: the sender has no token yet.
"""

import re

from hookseal.message import Request
from hookseal.receive import answers
from hookseal.receive.answers import Answer, Case
from hookseal.receive.source import Source

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
    rate = b"*" if source.allowed_rate is None else b"%d" % source.allowed_rate
    return Answer(
        case=Case.HANDSHAKE,
        status=200,
        headers=(
            (b"webhook-allowed-origin", origins[0]),
            (b"webhook-allowed-rate", rate),
            (b"allow", allowed_methods(source)),
        ),
    )


def not_allowed(source: Source) -> Answer:
    return answers.answer(Case.METHOD, headers=((b"allow", allowed_methods(source)),))
