"""`verified_claims` of our events against the published JSON schemas of OpenID Identity Assurance.

The two schema files are the OpenID Foundation's and are not kept here; OPENID_IDA_SCHEMAS names a folder that has
`verified_claims.json` and `claims_schema.json`. Judged is the object `{"verified_claims": ...}`: the schema says nothing
of a bare value, so that everything would pass.
"""

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import hookseal
from hookseal import catalogue
from hookseal.clock import SystemClock
from hookseal.model import ProviderId
from hookseal.simulate.examples import calls_of, examples_of

FOLDER = os.environ.get("OPENID_IDA_SCHEMAS")
REQUESTS = "https://bitbucket.org/openid/ekyc-ida/raw/master/schema/verified_claims_request.json"
SECRET = "a secret of the tests"
SIGNED = ("zignsec", "idenfy", "seal_id")

pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="OPENID_IDA_SCHEMAS is not set: the published schemas are not here"
)


@pytest.fixture(scope="module")
def schema() -> Any:
    assert FOLDER is not None
    documents = {
        name: json.loads((Path(FOLDER) / name).read_text()) for name in ("verified_claims.json", "claims_schema.json")
    }
    resources = [(document["$id"], document) for document in documents.values()]
    # Named once, for requests for claims, which an event never is: nothing of ours may match it.
    resources.append((REQUESTS, {"$defs": {"verified_claims_def": False}}))
    return jsonschema_rs.Draft202012Validator(
        documents["verified_claims.json"], registry=jsonschema_rs.Registry(resources)
    )


def events() -> list[tuple[str, dict[str, Any]]]:
    now = SystemClock().now()
    made = []
    for provider in SIGNED:
        for example in examples_of(catalogue.provider(ProviderId(provider))).values():
            for call in calls_of(catalogue.provider(ProviderId(provider)), example, now, os.urandom):
                headers = [*hookseal.sign(provider, call.body, secret=SECRET), *call.headers]
                headers.append(("Content-Type", call.content_type))
                event = hookseal.verify(provider, call.body, headers, secrets=[SECRET]).as_cloudevent()
                made.append((f"{provider} {example.name} {call.number}", event))
    return made


def test_every_verified_claim_of_the_examples_is_valid(schema: Any) -> None:
    judged = []
    for name, event in events():
        claims = event["data"].get("verified_claims")
        if claims is not None:
            judged.append(name)
            assert [error.message for error in schema.iter_errors({"verified_claims": claims})] == [], name
    assert {name.split()[0] for name in judged} == {"zignsec", "idenfy"}


def test_the_schema_is_really_applied(schema: Any) -> None:
    _, event = next((name, event) for name, event in events() if "verified_claims" in event["data"])
    claims = event["data"]["verified_claims"]
    assert schema.is_valid({"verified_claims": claims})
    for broken in (
        {"claims": claims["claims"]},
        {**claims, "verification": {}},
        {**claims, "verification": {"trust_framework": 5}},
        {**claims, "claims": {**claims["claims"], "birthdate": "12.12.1912"}},
    ):
        assert not schema.is_valid({"verified_claims": broken}), broken
