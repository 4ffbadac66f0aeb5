"""Is this answer to an OPTIONS call a consent to be sent events? Pure; who asks, and when again, is not known here.

Sources: BankID AntiFraud, Receiving CloudEvents: 200, both headers. CloudEvents http-webhook.md, abuse protection:
consent may also come later, by a call to the sender's own URL, where the request named one.
"""

import re
from dataclasses import dataclass

from hookseal.egress.port import Failure, Reply

_RATE = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """The receiver's answer to the handshake.

    status        None when there was no answer; `reason` then says why, as a code of failed attempts.
    rate_per_min  what was granted; None is no limit.
    problem       what keeps it from being a consent, as a sentence; "" when it is one.
    silent        a 2xx that names no origin: not a refusal where consent may come later.
    """

    status: int | None
    reason: str | None = None
    rate_per_min: int | None = None
    problem: str = ""
    silent: bool = False

    @property
    def granted(self) -> bool:
        return not self.problem


def consent_in(answer: Reply | Failure, origin: str) -> Consent:
    """Whether an answer to OPTIONS is a consent, as BankID's page asks: 200, our origin or `*`, and a rate.

    One name, not a list; DNS names compare without case. 202 and 204 are none: Event Grid does not take them.
    """
    if isinstance(answer, Failure):
        return Consent(status=None, reason=answer.reason.value, problem=answer.detail or "there was no answer")
    status = answer.status
    allowed = answer.headers.get("webhook-allowed-origin")
    silent = 200 <= status <= 299 and allowed is None
    if status != 200:
        return Consent(status=status, problem="only 200 is a consent", silent=silent)
    if allowed is None:
        return Consent(status=status, problem="WebHook-Allowed-Origin is missing", silent=silent)
    if allowed != "*" and allowed.lower() != origin.lower():
        return Consent(status=status, problem=f"WebHook-Allowed-Origin is neither {origin} nor *")
    rate = answer.headers.get("webhook-allowed-rate")
    if rate is None:
        return Consent(status=status, problem="WebHook-Allowed-Rate is missing")
    try:
        return Consent(status=status, rate_per_min=rate_in(rate))
    except ValueError:
        return Consent(status=status, problem="WebHook-Allowed-Rate is neither * nor a whole number above 0")


def rate_in(text: str) -> int | None:
    """Requests per minute; None for `*`, no limit. ValueError for all else.

    int() would take `1_000`, `+5`, blanks and the digits of other scripts.
    """
    if text == "*":
        return None
    if not _RATE.fullmatch(text):
        raise ValueError("not a rate")
    return int(text)
