"""What leaves in each format, from the bytes that came in."""

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from identity_cases import BATCH, CLOUDEVENTS, headers, stored, vector

from hookseal import catalogue
from hookseal.destinations.formats import Format, Rendered, render
from hookseal.errors import CannotFormat
from hookseal.identity.body import parse
from hookseal.message import Headers
from hookseal.model import ProviderId

ODD = b'{ "id" : "7", "n": 1.0, "e": 1e2, "big": 18446744073709551617, "d": 0.12345678901234567890,\n "u": "\\u00fc\\/", "z": null, "a": " two  blanks " }'  # noqa: E501
ODD_MINIFIED = b'{"id":"7","n":1.0,"e":1e2,"big":18446744073709551617,"d":0.12345678901234567890,"u":"\\u00fc\\/","z":null,"a":" two  blanks "}'  # noqa: E501


def rendered(
    format: str, provider: str, body: bytes, given: Headers | None = None, index: int = 0, xml_root: str = "event"
) -> Rendered:
    event, record = stored(provider, body, headers() if given is None else given, index)
    return render(format, event, record, catalogue.provider(provider), xml_root=xml_root)


def test_cloudevents_is_the_normalised_event_in_structured_mode() -> None:
    body, content_type = vector("ZS-1")
    event, record = stored("zignsec", body, headers(content_type))
    found = render("cloudevents", event, record, catalogue.provider("zignsec"))
    assert found.headers == (("Content-Type", "application/cloudevents+json; charset=utf-8"),)
    assert json.loads(found.body) == event.as_cloudevent()


@pytest.mark.parametrize("format", ["cloudevents", "json"])
def test_the_providers_own_numbers_and_escapes_are_passed_on(format: str) -> None:
    found = rendered(format, "zignsec", ODD)
    assert ODD_MINIFIED in found.body
    if format == "json":
        assert found == Rendered(ODD_MINIFIED, (("Content-Type", "application/json"),))


def test_json_keeps_order_and_nulls() -> None:
    body, content_type = vector("SL-1")
    pretty = json.dumps(json.loads(body), indent=4).encode()
    assert rendered("json", "seal_id", pretty, headers(content_type)).body == body


def test_json_drops_a_byte_order_mark() -> None:
    body, content_type = vector("ID-4")
    assert rendered("json", "idenfy", body, headers(content_type)).body == body[3:]


def test_json_of_an_xml_body_is_its_tree() -> None:
    body, content_type = vector("ZS-6")
    assert json.loads(rendered("json", "zignsec", body, headers(content_type)).body) == json.loads(vector("ZS-1")[0])


@pytest.mark.parametrize("format", ["cloudevents", "json"])
def test_keys_named_twice_are_not_passed_on_to_the_next_reader(format: str) -> None:
    found = rendered(format, "zignsec", b'{"id":"7","status":"sent","id":"8","n":1e2}').body
    assert b'"id":"7"' not in found
    assert b'{"id":"8","status":"sent","n":100.0}' in found


def test_each_item_of_a_batch_is_its_own_text() -> None:
    one, two = (
        b'{"specversion": "1.0", "type": "t", "source": "s", "id": "%d", "data": 1e%d}' % (n, n) for n in (1, 2)
    )
    batch = b"[ " + one + b" , " + two + b" ]"
    for index, item in enumerate((one, two)):
        found = rendered("json", "bankid_antifraud", batch, headers(BATCH), index)
        assert found.body == item.replace(b" ", b"")


def test_xml_is_the_normalised_event_under_the_root_event() -> None:
    body, content_type = vector("ZS-1")
    event, record = stored("zignsec", body, headers(content_type))
    found = render("xml", event, record, catalogue.provider("zignsec"))
    assert found.headers == (("Content-Type", "application/xml; charset=utf-8"),)
    assert found.body.startswith(b'<?xml version="1.0" encoding="utf-8"?><event>')
    assert parse(found.body, b"application/xml").tree == event.as_cloudevent()
    assert ElementTree.fromstring(found.body).findtext("data/payload/identity/PersonalNumber") == "191212121212"


def test_xml_of_the_payload_alone_has_the_root_result() -> None:
    body, content_type = vector("ZS-1")
    found = rendered("xml", "zignsec", body, headers(content_type), xml_root="result")
    assert found.body.startswith(b'<?xml version="1.0" encoding="utf-8"?><result><identity>')
    assert parse(found.body, b"application/xml").tree == json.loads(body)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"<!DOCTYPE a><a/>"], ids=repr)
def test_a_body_that_did_not_parse_goes_whole_or_not_at_all(body: bytes) -> None:
    for root, format in (("event", "json"), ("result", "xml")):
        with pytest.raises(CannotFormat):
            rendered(format, "zignsec", body, xml_root=root)
    event = json.loads(rendered("cloudevents", "zignsec", body).body)
    assert "payload" not in event["data"]
    assert parse(rendered("xml", "zignsec", body).body, None).tree == event
    assert rendered("original", "zignsec", body).body == body


def test_original_is_the_request_with_its_proof() -> None:
    body, _ = vector("ID-5")
    given = headers(
        "application/json; charset=x",
        ("idenfy-signature", "abc"),
        ("idenfy-event-type", "IDENTIFICATION"),
        ("user-agent", "x"),
        ("cookie", "secret"),
        ("authorization", "Bearer secret"),
        ("x-zignsec-hmac-sha256", "another provider's"),
    )
    assert rendered("original", "idenfy", body, given) == Rendered(
        body,
        (
            ("Content-Type", "application/json; charset=x"),
            ("idenfy-signature", "abc"),
            ("idenfy-event-type", "IDENTIFICATION"),
        ),
    )


def test_original_never_forwards_a_credential_even_if_it_was_stored() -> None:
    body, _ = vector("CE-ok")
    given = headers(CLOUDEVENTS, ("authorization", "Bearer secret"))
    assert rendered("original", "bankid_antifraud", body, given).headers == (("Content-Type", CLOUDEVENTS),)


def test_an_event_of_ones_own_needs_no_provider() -> None:
    event, record = stored("zignsec", b'{"id": "7"}', headers())
    own = replace(event, provider=ProviderId("hookseal"), payload={"own": 1e2})
    record = replace(record, headers=headers(None))
    assert render("json", own, record, None).body == b'{"own":100.0}'
    assert json.loads(render("cloudevents", own, record, None).body)["data"]["payload"] == {"own": 100}
    assert render("original", own, record, None) == Rendered(b'{"id": "7"}', ())


@pytest.mark.parametrize("format", list(Format))
def test_a_format_gives_the_same_bytes_at_every_try(format: Format) -> None:
    body, content_type = vector("ZS-3")
    given = headers(content_type)
    assert rendered(format, "zignsec", body, given) == rendered(format, "zignsec", body, given)
