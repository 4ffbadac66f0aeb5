"""A request that a source must accept: the provider's first example, proven with the source's own newest secret."""

import os

from hookseal.clock import Instant
from hookseal.errors import ConfigurationError
from hookseal.ids import RandomBytes
from hookseal.message import Request, headers_of
from hookseal.receive.source import Source
from hookseal.schemes.verdict import SigningKeys
from hookseal.simulate.examples import calls_of, examples_of


def good_request(
    source: Source, now: Instant, public_url: str | None, random_bytes: RandomBytes = os.urandom
) -> Request | None:
    """None when only the provider can make one, or its entry has no example. public_url: where it would have called."""
    secrets = source.keys.secrets
    if not secrets and not source.unsigned:
        return None
    try:
        example = next(iter(examples_of(source.provider).values()))
    except ConfigurationError:
        return None
    call = calls_of(source.provider, example, now, random_bytes)[0]
    url = None if public_url is None else f"{public_url.rstrip('/')}/in/{source.id}"
    remote = str(source.addresses[0].network_address) if source.addresses else None
    lines = [("Content-Type", call.content_type), *call.headers]
    request = Request(headers=headers_of(lines), body=call.body, url=url, remote=remote)
    if not secrets:
        return request
    proof = source.scheme.sign(request, SigningKeys(secret=secrets[0], secrets=secrets[:1]), now)
    return Request(headers=headers_of([*lines, *proof]), body=call.body, url=url, remote=remote)
