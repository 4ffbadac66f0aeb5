"""Asking a URL whether it wants to be sent events: the OPTIONS call of CloudEvents' web hooks, our side of it.

It makes one call and reads the answer by `delivery.consent`; when to ask, and what is kept of it, is `subscriptions`'.
No credential goes along: the server is a stranger until it has consented. Redirects are not followed.
Source: https://github.com/cloudevents/spec, http-webhook.md, "Abuse Protection".
"""

from urllib.parse import urlsplit

from hookseal.delivery.consent import Consent, consent_in
from hookseal.delivery.endpoint import Endpoint
from hookseal.egress.port import Egress

ANSWER_S = 30.0
CALLBACK_PATH = "/handshake/"


async def ask(
    egress: Egress, url: str, origin: str, *, request_rate: int | None = None, callback: str | None = None
) -> Consent:
    """Ask once.

    origin        who will send.
    request_rate  requests per minute that are asked for.
    callback      a URL of ours by which consent may come later.
    """
    headers = [("WebHook-Request-Origin", origin)]
    if request_rate is not None:
        headers.append(("WebHook-Request-Rate", str(request_rate)))
    if callback is not None:
        headers.append(("WebHook-Request-Callback", callback))
    return consent_in(await egress.call("OPTIONS", url, headers=headers, timeout_s=ANSWER_S), origin)


def origin_of(endpoint: Endpoint, public_url: str | None) -> str | None:
    """Who we say that we are: what the endpoint's settings say, else the host of our public URL; None without either."""
    if endpoint.handshake.origin is not None:
        return endpoint.handshake.origin
    return urlsplit(public_url).hostname if public_url else None


def problem(endpoint: Endpoint, public_url: str | None) -> tuple[str, str] | None:
    """Key and remedy of what keeps the endpoint from being asked; None when nothing does."""
    if not endpoint.needs_consent:
        return None
    if origin_of(endpoint, public_url) is None:
        return "handshake.origin", "name the host that we send as, or set [server] public_url"
    if endpoint.handshake.callback and public_url is None:
        return "handshake.callback", "set [server] public_url, under which the receiver can call us"
    return None
