"""Providers' payloads as normalised events: outcome, claims, reasons and payload."""

import base64
import json
from copy import deepcopy
from typing import Any

import pytest
from identity_cases import BATCH, CLOUDEVENTS, RECEIVED, event, events, headers, vector

from hookseal.clock import rfc3339
from hookseal.model import Event, Flag, Json

IDENFY: dict[str, Any] = json.loads(vector("ID-1")[0])
SEAL: dict[str, Any] = json.loads(vector("SL-1")[0])


def changed(tree: dict[str, Any], pointer: str, value: Json) -> dict[str, Any]:
    copy = deepcopy(tree)
    *path, last = pointer.split("/")
    node = copy
    for part in path:
        node = node[part]
    node[last] = value
    return copy


def of(id: str, provider: str, *more: tuple[str, str]) -> Event:
    body, content_type = vector(id)
    return event(provider, body, *more, content_type=content_type)


def said(found: Event) -> tuple[str, str, bool]:
    return found.type, found.outcome.value, found.final


# --- zignsec


def test_an_authenticated_person_has_verified_claims() -> None:
    found = of("ZS-1", "zignsec")
    assert said(found) == ("identity.authentication.completed", "approved", True)
    assert rfc3339(found.time) == "2018-10-22T06:26:41.867568Z"
    assert found.subject == found.provider_id == "61d300c2-cff8-4dc1-9abc-6d59f8876d32"
    assert found.provider_type == "sbid-another"
    assert found.claims is None
    assert found.verified_claims == {
        "verification": {
            "trust_framework": "urn:hookseal:provider:zignsec",
            "time": "2018-10-22T06:26:41.867568Z",
            "evidence": [
                {
                    "type": "electronic_record",
                    "check_details": [
                        {"check_method": "auth", "organization": "BankIDSE", "time": "2018-10-22T06:26:41.867568Z"}
                    ],
                    "record": {"type": "eid", "source": {"name": "BankIDSE", "country_code": "SE"}},
                }
            ],
        },
        "claims": {
            "given_name": "LARS",
            "family_name": "SVENSSON",
            "name": "LARS SVENSSON",
            "birthdate": "1912-12-12",
            "personal_administrative_number": "191212121212",
        },
    }


@pytest.mark.parametrize("id", ["ZS-2", "ZS-3", "ZS-4", "ZS-5", "ZS-6"])
def test_one_result_in_five_spellings_and_in_xml_is_one_event(id: str) -> None:
    assert of(id, "zignsec") == of("ZS-1", "zignsec")


def test_a_failed_authentication_verifies_nobody() -> None:
    found = of("ZS-7", "zignsec")
    assert said(found) == ("identity.authentication.completed", "error", True)
    assert found.reasons == ("0", "some error")
    assert (found.claims, found.verified_claims) == (None, None)


def test_an_identity_beside_errors_is_not_verified() -> None:
    body = json.loads(vector("ZS-1")[0]) | {"errors": [{"code": "INVALID_PERSONALNUMBER", "description": "d"}]}
    found = event("zignsec", body)
    assert said(found) == ("identity.authentication.completed", "error", True)
    assert found.verified_claims is None
    assert found.claims is not None
    assert found.claims["given_name"] == "LARS"


def test_the_norwegian_shape_is_read() -> None:
    body = {
        "id": "7",
        "errors": [],
        "method": "nbid_oidc",
        "identity": {
            "FirstName": "KARI",
            "Gender": "F",
            "IdProviderName": "BankIDNO",
            "IdProviderPersonId": "9578-6000-4-1",
        },
        "BANKIdNO_OIDC": '{\r\n "sub": "x" }',
    }
    found = event("zignsec", body)
    assert found.outcome == "approved"
    assert found.verified_claims is not None
    assert found.verified_claims["claims"] == {"given_name": "KARI", "gender": "female"}
    assert found.payload["BANKIdNO_OIDC"] == body["BANKIdNO_OIDC"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "7", "status": "queued"}, ("message.status.updated", "pending", False)),
        ({"id": "7", "status": "sent"}, ("message.status.updated", "pending", False)),
        ({"id": "7", "Status": "Delivered"}, ("message.status.updated", "unknown", True)),
        ({"id": "7", "status": "failed"}, ("message.status.updated", "error", True)),
        ({"id": "7", "identity": {}}, ("other", "unknown", False)),
        ({"id": "7", "identity": "LARS"}, ("other", "unknown", False)),
        ({"id": "7", "identity": {"FirstName": None, "LastName": ""}}, ("other", "unknown", False)),
    ],
)
def test_what_zignsec_sends_besides_identities(body: Json, expected: tuple[str, str, bool]) -> None:
    found = event("zignsec", body)
    assert said(found) == expected
    assert found.subject == "7"
    assert found.verified_claims is None


# --- idenfy


def test_an_approved_document_is_evidence() -> None:
    found = of("ID-1", "idenfy", ("idenfy-event-type", "IDENTIFICATION_AUTO_FINISHED"))
    assert said(found) == ("identity.verification.completed", "approved", True)
    assert found.provider_type == "IDENTIFICATION_AUTO_FINISHED"
    assert found.subject == "00000000-0000-4000-8000-000000000001"
    assert found.verified_claims == {
        "verification": {
            "trust_framework": "urn:hookseal:provider:idenfy",
            "time": "2019-04-08T12:36:42.000000Z",
            "evidence": [
                {
                    "type": "document",
                    "check_details": [
                        {
                            "check_method": "vri",
                            "organization": "iDenfy",
                            "check_id": "00000000-0000-4000-8000-000000000001",
                            "time": "2019-04-08T12:36:42.000000Z",
                        }
                    ],
                    "document_details": {"type": "passport", "document_number": "X0000000"},
                }
            ],
        },
        "claims": {
            "given_name": "JONAS",
            "family_name": "PETRAITIS",
            "nationalities": ["LT"],
            "place_of_birth": {"locality": "ŠILUVA"},
        },
    }


@pytest.mark.parametrize("id", ["ID-2", "ID-4", "ID-6"])
def test_one_identification_in_other_bytes_is_the_same_event(id: str) -> None:
    assert of(id, "idenfy") == of("ID-1", "idenfy")


@pytest.mark.parametrize(
    ("overall", "outcome"),
    [
        ("APPROVED", "approved"),
        ("DENIED", "declined"),
        ("SUSPECTED", "review"),
        ("REVIEWING", "review"),
        ("EXPIRED", "expired"),
        ("EXPIRED-DELETED", "expired"),
        ("ACTIVE", "pending"),
        ("NEW_STATUS", "unknown"),
    ],
)
def test_the_overall_status_is_the_outcome(overall: str, outcome: str) -> None:
    found = event("idenfy", changed(IDENFY, "status/overall", overall))
    assert said(found) == ("identity.verification.completed", outcome, True)
    assert (found.verified_claims is not None) == (overall == "APPROVED")
    assert (found.claims is not None) == (overall != "APPROVED")


def test_what_a_machine_approved_is_not_verified_before_it_is_final() -> None:
    found = event("idenfy", changed(IDENFY, "final", False))
    assert said(found) == ("identity.verification.updated", "approved", False)
    assert found.verified_claims is None
    assert found.claims is not None


@pytest.mark.parametrize("header", ["DOCUMENT_EXPIRATION", "IDENTIFICATION_CANCELLED", "SOS_REPORT", "bogus", ""])
def test_the_unsigned_header_changes_nothing_that_the_body_says(header: str) -> None:
    found = event("idenfy", IDENFY, ("idenfy-event-type", header))
    without = event("idenfy", IDENFY)
    assert said(found) == said(without)
    assert found.verified_claims == without.verified_claims
    assert found.provider_type == (header or None)


@pytest.mark.parametrize(
    ("header", "type"),
    [
        ("DOCUMENT_EXPIRATION", "identity.document.updated"),
        ("FACIAL_AUTHENTICATION", "identity.authentication.completed"),
        ("AML_MONITORING_EXPIRATION", "identity.screening.updated"),
        ("COMPANY_SUBMIT", "company.verification.updated"),
        ("COMPANY_REVIEW", "company.verification.completed"),
        ("SOS_REPORT", "other"),
        ("A_NEW_ONE", "other"),
    ],
)
def test_the_header_names_what_the_body_does_not_show_but_decides_nothing(header: str, type: str) -> None:
    found = event("idenfy", {"scanRef": "r", "clientId": "c"}, ("idenfy-event-type", header))
    assert said(found) == (type, "unknown", False)


@pytest.mark.parametrize(
    ("body", "expected", "subject"),
    [
        ({"monitoringId": "m", "alertStatus": "ALERT"}, ("identity.screening.updated", "review", False), "m"),
        (
            {"amlReviewSubjectType": "COMPANY", "id": "i", "companyId": "c", "overallStatus": "FLAGS_FOUND"},
            ("identity.screening.updated", "review", False),
            "c",
        ),
        ({"id": "i", "companyName": "UAB"}, ("company.verification.completed", "unknown", True), "i"),
    ],
)
def test_other_bodies_are_known_without_the_header(body: Json, expected: tuple[str, str, bool], subject: str) -> None:
    found = event("idenfy", body)
    assert said(found) == expected
    assert found.subject == subject


@pytest.mark.parametrize(
    ("body", "header", "expected", "reasons"),
    [
        ({"monitoringId": "m", "alertStatus": "ACCEPTED"}, "", ("identity.screening.updated", "approved", False), ()),
        ({"monitoringId": "m", "alertStatus": "DECLINED"}, "", ("identity.screening.updated", "declined", False), ()),
        (
            {"id": "i", "companyName": "UAB", "approvalStatus": "APPROVED"},
            "",
            ("company.verification.completed", "approved", True),
            (),
        ),
        (
            {"id": "i", "companyName": "UAB", "approvalStatus": "DENIED", "denyReason": "R"},
            "",
            ("company.verification.completed", "declined", True),
            ("R",),
        ),
        (
            {"id": "i", "companyName": "UAB", "approvalStatus": None},
            "",
            ("company.verification.completed", "unknown", True),
            (),
        ),
        (
            {"companyId": "c", "status": "CANCELED"},
            "COMPANY_INFO_REQUEST",
            ("company.verification.updated", "cancelled", False),
            (),
        ),
        (
            {"token": "t", "failReason": "F", "riskTags": ["UNTRUSTED_ENVIRONMENT"]},
            "FACIAL_AUTHENTICATION",
            ("identity.authentication.completed", "declined", True),
            ("F", "UNTRUSTED_ENVIRONMENT"),
        ),
        (
            {"token": "t", "failReason": None},
            "FACIAL_AUTHENTICATION",
            ("identity.authentication.completed", "unknown", False),
            (),
        ),
    ],
)
def test_an_outcome_is_read_in_the_body_of_each_kind_that_tells_one(
    body: Json, header: str, expected: tuple[str, str, bool], reasons: tuple[str, ...]
) -> None:
    found = event("idenfy", body, ("idenfy-event-type", header))
    assert (said(found), found.reasons) == (expected, reasons)
    assert found.subject != "t"  # a session's token is a secret and no subject


def test_tags_are_the_reasons_each_once() -> None:
    body = changed(IDENFY, "status/fraudTags", ["FACE_IN_BLACKLIST", "FACE_IN_BLACKLIST"])
    body["status"]["mismatchTags"] = ["NAME", 7, None, {"a": 1}]
    assert event("idenfy", body).reasons == ("FACE_IN_BLACKLIST", "NAME", "7")


def test_a_long_list_of_reasons_is_cut() -> None:
    assert len(event("idenfy", changed(IDENFY, "status/fraudTags", [str(n) for n in range(5000)])).reasons) == 50


def test_an_unknown_document_still_makes_valid_evidence() -> None:
    found = event("idenfy", changed(IDENFY, "data/docType", "SPACE_PASS"))
    assert found.verified_claims is not None
    (evidence,) = found.verified_claims["verification"]["evidence"]
    assert evidence["document_details"] == {"type": "other", "document_number": "X0000000"}


# --- seal.ID


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("SCHEDULED", ("identity.verification.started", "pending", False)),
        ("OUTSTANDING", ("identity.verification.updated", "pending", False)),
        ("VERIFICATION_PENDING", ("identity.verification.updated", "pending", False)),
        ("VERIFICATION_CONFIRMED", ("identity.verification.updated", "pending", False)),
        ("IDENTIFICATION_SUCCESSFUL", ("identity.verification.completed", "approved", True)),
        ("SIGNED", ("identity.signature.completed", "approved", True)),
        ("DOWNLOADED", ("identity.signature.updated", "approved", True)),
        ("A_NEW_STATUS", ("other", "unknown", False)),
    ],
)
def test_seal_id_statuses(status: str, expected: tuple[str, str, bool]) -> None:
    found = event("seal_id", SEAL | {"status": status, "qTSPstatus": "SIGNED"})
    assert said(found) == expected
    assert (found.claims, found.verified_claims) == (None, None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("SIGNED", ("identity.signature.completed", "approved", True)),
        ("DOWNLOADED", ("identity.signature.updated", "approved", True)),
        ("OUTSTANDING", ("identity.verification.updated", "pending", False)),
    ],
)
def test_a_signing_notification_is_about_its_basket(status: str, expected: tuple[str, str, bool]) -> None:
    body = {
        "id": "n",
        "tenantId": "t",
        "extCaseId": None,
        "documentBasketId": "basket",
        "documentBasketStatus": status,
        "signers": None,
        "documents": None,
    }
    found = event("seal_id", body)
    assert found.subject == "basket"
    assert found.provider_type == status
    expected = ("identity.signature.updated", *expected[1:]) if status == "OUTSTANDING" else expected
    assert said(found) == expected


def test_older_bodies_without_reasons_and_newer_with_more_keys_are_read() -> None:
    older = {key: value for key, value in SEAL.items() if not key.startswith("ubiIdStatus")}
    assert said(event("seal_id", older)) == said(event("seal_id", SEAL | {"new": 1}))
    told = SEAL | {"ubiIdStatusReason": "PHOTO", "ubiIdStatusDetails": "line one\nline two"}
    assert event("seal_id", told).reasons == ("PHOTO", "line one line two")


# --- bankid_antifraud


def alarm(data: Json, type: str = "no.bankid.antifraud.alarm.dispatch.v2") -> Event:
    body = {"specversion": "1.0", "type": type, "source": "/s", "id": "1", "subject": "case-7", "data": data}
    return event("bankid_antifraud", body, content_type=CLOUDEVENTS)


def test_an_alarm_is_raised_and_its_data_is_handed_on_untouched() -> None:
    data = {"code": "ID01", "nested": [{"IDX1_TEST": 1}, "IDX1_TESTS", " IDX1_TEST"], "big": 2**70, "none": None}
    found = alarm(data)
    assert said(found) == ("risk.alarm.raised", "review", False)
    assert found.subject == "case-7"
    assert found.payload["data"] == data
    assert (found.claims, found.verified_claims) == (None, None)


@pytest.mark.parametrize("code", ["IDX1_TEST", "IDX2_HEARTBEAT"])
@pytest.mark.parametrize(
    "shape", ['{"alarmCode":"%s"}', '{"alarm":{"code":"%s"}}', '[{"codes":["ID01","%s"]}]', '"%s"']
)
def test_tests_and_heartbeats_are_no_fraud_wherever_their_code_stands(code: str, shape: str) -> None:
    assert said(alarm(json.loads(shape % code))) == ("other", "unknown", False)


def test_other_types_are_other() -> None:
    assert said(alarm({"code": "ID01"}, "no.bankid.antifraud.alarm.dispatch.v3")) == ("other", "unknown", False)


def test_each_item_of_a_batch_is_an_event_of_its_own() -> None:
    batch = [
        {"specversion": "1.0", "type": "t", "source": "/s", "id": str(n), "time": f"2025-11-21T08:00:0{n}Z", "data": n}
        for n in range(3)
    ]
    found = events("bankid_antifraud", json.dumps(batch).encode(), headers(BATCH))
    assert [one.payload for one in found] == batch
    assert [one.provider_id for one in found] == ["0", "1", "2"]


# --- what holds for all


@pytest.mark.parametrize("provider", ["zignsec", "idenfy", "seal_id"])
@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"<!DOCTYPE a><a/>", b"{"], ids=repr)
def test_a_body_that_does_not_parse_is_kept_whole(provider: str, body: bytes) -> None:
    found = event(provider, body)
    assert said(found) == ("other", "unknown", False)
    assert found.payload is None
    assert found.payload_base64 == base64.b64encode(body).decode()
    assert found.flags in ((Flag.BODY_UNPARSED,), (Flag.BODY_DTD,))


def test_the_row_says_what_was_stored_and_when() -> None:
    found = event("zignsec", {"id": "7"})
    assert (found.sequence, found.source, found.received_at, found.time) == (17, "a-source", RECEIVED, RECEIVED)
    assert not found.superseded


def test_flags_are_those_stored_and_those_seen_each_once() -> None:
    (found,) = events("zignsec", b'{"id":"7","id":"8"}', conflicts=2)
    assert found.flags == (Flag.DUPLICATE_KEYS, Flag.CONFLICT)
    assert found.payload == {"id": "8"}


@pytest.mark.parametrize("wrong", [None, 7, 1.5, True, "text", "", [], {}, [[]], {"a": {}}], ids=repr)
@pytest.mark.parametrize(
    ("provider", "tree"),
    [("zignsec", json.loads(vector("ZS-1")[0])), ("idenfy", IDENFY), ("seal_id", SEAL)],
    ids=["zignsec", "idenfy", "seal_id"],
)
def test_a_field_of_another_type_is_absent_and_breaks_nothing(provider: str, tree: dict[str, Any], wrong: Json) -> None:
    pointers = list(tree) + [f"{key}/{sub}" for key, value in tree.items() if isinstance(value, dict) for sub in value]
    for pointer in pointers:
        body = changed(tree, pointer, wrong)
        assert event(provider, body).payload == body
