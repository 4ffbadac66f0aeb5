"""`POST /v2/webhook/test` as ZignSec's document describes it: its key, its errors, its four members in the answer.

The caller holds no key of ours but the secret of an endpoint that acts as the provider, bare in `Authorization`. It is
asked for before anything of the request is read. Errors are the provider's `{"errors": [...]}`, and no call is made.
"""

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from hookseal.api.gate import Gate
from hookseal.api.operation import Body, Operation
from hookseal.api.problem import INVALID_WEBHOOK
from hookseal.api.schemas import ref
from hookseal.egress.policy import MAX_URL
from hookseal.manage.operations import Management
from hookseal.manage.provider_test_call import Outcome

PATH = "/v2/webhook/test"
MAX_BYTES = 16_384
BODY_TIMEOUT_S = 10.0
_AT_ONCE = 16
_SCHEMES = ("https://", "http://")


def operation(management: Management) -> Operation:
    async def answer(request: Request) -> Response:
        caller = management.test_call
        keys = request.headers.getlist("authorization")
        holder = caller.holder(keys[0].encode("latin-1")) if len(keys) == 1 and keys[0] else None
        if holder is None:
            return _refused(401, "UNAUTHORIZED", "Authorization must hold the web hook's key and nothing else.")
        body = await _body(request)
        if body is None:
            return _refused(413, INVALID_WEBHOOK, "The body is too large.")
        url = _url_in(body)
        if url is None:
            return _refused(400, INVALID_WEBHOOK, "Url must be an absolute http or https URL.")
        return _told(await caller.call(holder, url))

    return Operation(
        name="testWebhook",
        method="POST",
        path=PATH,
        summary="ZignSec's test call: one signed POST to Url, with the key in Authorization. Authorization: the bare key.",
        answered_by=answer,
        body=Body(lambda given: given, ref("WebhookTest")),
        schema=ref("WebhookTested"),
        faulty=((400, 401, 413), ref("WebhookErrors")),
        needs_key=False,
        is_strict=False,
        gate=Gate(_AT_ONCE),
    )


async def _body(request: Request) -> bytes | None:
    """The body, b"" when it is too slow; None when it is too large."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    return None
    except TimeoutError:
        return b""
    return bytes(body)


def _url_in(body: bytes) -> str | None:
    """What the body names, where it is an absolute URL. Whether it may be called is for the egress to judge."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    url = document.get("Url", document.get("url"))
    if not isinstance(url, str) or len(url) > MAX_URL:
        return None
    scheme = next((one for one in _SCHEMES if url.lower().startswith(one)), None)
    return url if scheme is not None and url[len(scheme) :].strip("/") else None


def _refused(status: int, code: str, description: str) -> Response:
    headers = {"WWW-Authenticate": 'Key realm="hookseal"'} if status == 401 else None
    document = {"errors": [{"code": code, "description": description}]}
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def _told(outcome: Outcome) -> Response:
    document = {
        "elapsed": outcome.elapsed_ms,
        "statusCode": outcome.status,
        "error": outcome.error,
        "errorMessage": outcome.message,
    }
    return Response(msgspec.json.encode(document), media_type="application/json")
