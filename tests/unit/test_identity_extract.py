import hashlib
import json

import pytest
from identity_cases import headers, items, vector

from hookseal.clock import rfc3339
from hookseal.model import Flag


@pytest.mark.parametrize("id", ["ZS-1", "ZS-8", "ID-1", "ID-3", "ID-4", "ID-5"])
def test_the_key_is_the_bodys_digest_where_the_body_is_what_was_signed(id: str) -> None:
    body, content_type = vector(id)
    provider = {"ZS": "zignsec", "ID": "idenfy"}[id[:2]]
    (item,) = items(provider, body, headers(content_type))
    assert item.dedupe_key == item.content == hashlib.sha256(body).digest()
    assert item.index == 0


def test_the_key_of_seal_id_is_the_digest_of_the_minified_body() -> None:
    body, content_type = vector("SL-1")
    pretty = json.dumps(json.loads(body), indent=2).encode()
    expected = hashlib.sha256(body).digest()
    assert items("seal_id", body, headers(content_type))[0].dedupe_key == expected
    assert items("seal_id", pretty, headers(content_type))[0].dedupe_key == expected
    assert items("seal_id", pretty, headers(content_type), content=body)[0].dedupe_key == expected


def test_the_key_is_of_the_bytes_that_the_proof_covers() -> None:
    stripped = b'{"name":"AnnaMaria"}'
    (item,) = items("seal_id", b'{"name": "Anna Maria"}', headers(), content=stripped)
    assert item.dedupe_key == hashlib.sha256(stripped).digest()


def test_what_storing_needs_is_read_from_the_body() -> None:
    body, content_type = vector("SL-1")
    (item,) = items("seal_id", body, headers(content_type))
    assert item.type == "identity.verification.completed"
    assert item.provider_type == "IDENTIFICATION_SUCCESSFUL"
    assert item.provider_id == "4619d136-7fac-41fa-9755-49dd7648ff85"
    assert item.subject == "4e9aae75-1f9f-4179-abe5-449a72b4da52"
    assert rfc3339(item.time) == "2022-11-15T09:09:14.000000Z"
    assert item.flags == ()


@pytest.mark.parametrize("provider", ["zignsec", "idenfy", "seal_id"])
@pytest.mark.parametrize(
    ("body", "flags"),
    [
        (b"", (Flag.BODY_UNPARSED,)),
        (b"\x00\xff", (Flag.BODY_UNPARSED,)),
        (b"<!DOCTYPE x><x/>", (Flag.BODY_DTD,)),
        (b"[" * 2000 + b"]" * 2000, (Flag.BODY_TOO_DEEP,)),
        (b"null", ()),
        (b"[]", ()),
        (b'"text"', ()),
        (b"{}", ()),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_proven_body_without_an_envelope_is_always_one_event(provider: str, body: bytes, flags: tuple[Flag]) -> None:
    found = items(provider, body, headers(None, ("idenfy-event-type", "DOCUMENT_EXPIRATION")))
    assert isinstance(found, tuple)
    (item,) = found
    assert item.flags == flags
    assert item.subject is None
    assert item.type == ("identity.document.updated" if provider == "idenfy" and body in (b"{}", b"[]") else "other")


def test_attributes_that_are_no_short_text_are_absent() -> None:
    body = {"id": "x" * 513, "ubiIdCaseId": {"a": 1}, "documentBasketId": "b", "status": ["SIGNED"], "createdTime": 5}
    (item,) = items("seal_id", json.dumps(body).encode(), headers())
    assert (item.provider_id, item.provider_type, item.time) == (None, None, None)
    assert item.subject == "b"
