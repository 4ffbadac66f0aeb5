"""The OpenAPI document and the server say the same: routes, parameters, answers.

Oracles: the routes of the running app, and the answers that it gives, judged by the document's own schemas.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_served import CORE, PERSON, SECRET, Served, a_body, served
from stamp_parts import a_pdf
from starlette.routing import Route

from hookseal.model import DeliveryState
from hookseal.store.port import Lease

_TYPES = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}
_KEYWORDS = (
    {"$ref", "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "pattern"}
    | {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}
    | {"format", "description", "examples", "default", "contentEncoding"}
)


CALLS_OUT = {"testEndpoint", "testSource", "testWebhook"}
"""What needs a whole gateway; `test_registering.py` holds their answers to the document."""


def faults(schema: dict[str, Any], value: Any, document: Any, place: str = "") -> Iterator[str]:
    """Where a value breaks a schema: the part of JSON Schema 2020-12 that the document uses."""
    assert schema.keys() <= _KEYWORDS, schema.keys() - _KEYWORDS
    if "$ref" in schema:
        yield from faults(resolved(schema["$ref"], document), value, document, place)
        return
    if "anyOf" in schema and all(list(faults(one, value, document)) for one in schema["anyOf"]):
        yield f"{place}: none of anyOf"
    kind = schema.get("type")
    if kind == "null":
        if value is not None:
            yield f"{place}: not null"
        return
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{place}: not {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: not in enum"
    if "const" in schema and value != schema["const"]:
        yield f"{place}: not const"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{place}: not of pattern"
    if isinstance(value, int) and value < schema.get("minimum", value):
        yield f"{place}: too small"
    if isinstance(value, list):
        for position, one in enumerate(value):
            yield from faults(schema.get("items", {}), one, document, f"{place}/{position}")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{place}/{name}: missing" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            if name in properties:
                yield from faults(properties[name], one, document, f"{place}/{name}")
            elif schema.get("additionalProperties") is False:
                yield f"{place}/{name}: unknown"


def asked_path(template: str, id: str) -> str:
    return template.replace("{id}", id).replace("{source}", "idenfy-prod").replace("{subject}", "s")


def resolved(reference: str, document: Any) -> dict[str, Any]:
    node = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    assert isinstance(node, dict)
    return node


async def documented(api: Served) -> Any:
    document = await api.get("/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1.")
    return document


async def test_every_route_is_documented_and_everything_documented_is_a_route(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await documented(api)
        routes = {route.path.replace(":path}", "}") for route in api.app.routes if isinstance(route, Route)}
        assert set(document["paths"]) == routes
        for path, item in document["paths"].items():
            response, _ = await api.ask(path.replace("{id}", "x"), "OPTIONS")
            allowed = set(response.headers["Allow"].split(", ")) - {"HEAD"}
            assert {method.upper() for method in item} == allowed


async def test_the_document_keeps_the_rules_of_openapi(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await documented(api)
        assert {"title", "version"} <= document["info"].keys()
        assert document.keys() <= {"openapi", "info", "servers", "security", "paths", "components"}
        names = []
        for path, item in document["paths"].items():
            for operation in item.values():
                names.append(operation["operationId"])
                assert operation["responses"]
                for parameter in operation["parameters"]:
                    assert parameter["in"] in ("path", "query", "header")
                    assert parameter["required"] is (parameter["in"] == "path")
                    assert parameter["schema"]
                in_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
                assert in_path == set(re.findall(r"{(\w+)}", path))
                every = [(one["name"], one["in"]) for one in operation["parameters"]]
                assert len(every) == len(set(every))
                for status, response in operation["responses"].items():
                    assert re.fullmatch(r"[1-5]\d\d", status)
                    assert response["description"]
        assert len(names) == len(set(names))
        for reference in re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(document)):
            assert resolved(reference, document)


async def test_every_schema_is_used(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await documented(api)
        used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
        assert used == set(document["components"]["schemas"])


async def test_every_good_answer_is_as_documented(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        document = await documented(api)
        lease = Lease(5)
        event, (delivery,) = await api.accept(a_body(), endpoints=[CORE], subject="s", lease=lease)
        await api.try_once(delivery, lease, DeliveryState.DEAD, "http_500")
        await api.accept(b"\xff", after_s=1)
        refusal = await api.refuse(a_body(7))
        ids = {
            "getEvent": event,
            "getEventRaw": event,
            "getDelivery": delivery,
            "getSource": "zs",
            "getEndpoint": "core",
            "changeEndpoint": "mine",
            "changeSource": "mine",
            "rotateEndpointSecret": "mine",
            "rotateSourceSecret": "mine",
            "deleteEndpoint": "gone",
            "deleteSource": "gone",
            "getRefusal": refusal,
            "getRefusalRaw": refusal,
            "releaseFromQuarantine": refusal,
        }
        an_endpoint = {"url": "https://mine.example.com/", "signing": {"scheme": "standard_webhooks"}}
        a_source = {"provider": "idenfy", "secrets": ["a secret of the tests"]}
        for id in ("mine", "gone"):
            assert (await api.ask("/api/v1/endpoints", "POST", json={"id": id, **an_endpoint}))[0].status == 201
            assert (await api.ask("/api/v1/sources", "POST", json={"id": id, **a_source}))[0].status == 201
        bodies: dict[str, Any] = {
            "createEndpoint": {"id": "new", **an_endpoint},
            "createSource": {"id": "new", **a_source},
            "changeEndpoint": {"timeout_s": 3},
            "changeSource": {"addresses": ["192.0.2.0/24"]},
            "rotateEndpointSecret": {"overlap_s": 60},
            "publishEvent": {"type": "order.paid", "data": {"n": 1}, "subject": None},
            "replay": {"endpoint": "core", "events": [event], "state": None},
            "placeVisualSignature": {
                "document": b64encode(a_pdf()).decode(),
                "page": 1,
                "box": [40, 60, 280, 120],
                "signer": {"kind": "initial", "name": "Ada"},
                "timestamp": "2022-11-15T09:09:14Z",
                "time_zone": "UTC",
                "image": None,
            },
        }
        asked = set()
        for path, item in document["paths"].items():
            for method, operation in item.items():
                name = operation["operationId"]
                if name in CALLS_OUT:
                    continue
                given = bodies.get(name)
                if given is not None:
                    schema = operation["requestBody"]["content"]["application/json"]["schema"]
                    assert list(faults(schema, given, document)) == []
                response, body = await api.ask(asked_path(path, ids.get(name, "")), method.upper(), json=given)
                good = operation["responses"][str(response.status)]
                assert response.status < 300, (name, body)
                asked.add(name)
                if response.status == 204:
                    assert (body, "content" in good) == (b"", False)
                    continue
                [(media_type, content)] = good["content"].items()
                assert response.headers["Content-Type"].split(";")[0] == media_type
                if media_type == "application/json":
                    assert list(faults(content["schema"], json.loads(body), document)) == []
        assert {"listEvents", "getDelivery", "replay", "releaseFromQuarantine", "getReadiness"} <= asked


async def test_every_problem_is_as_documented(tmp_path: Path) -> None:
    from hookseal.api.health import Check
    from hookseal.model import Reason

    async with served(tmp_path) as api:
        document = await documented(api)
        problem = document["components"]["schemas"]["Problem"]
        refusal = await api.refuse(a_body())
        api.judge.still = Reason.SIGNATURE_MISMATCH
        api.health.checks = [Check("store", False, "store_unavailable")]
        for path, method, template in (
            ("/api/v1/events?limit=0", "GET", "/api/v1/events"),
            ("/api/v1/events/x", "GET", "/api/v1/events/{id}"),
            ("/api/v1/sources", "PUT", None),
            ("/api/v1/sources/zs", "DELETE", "/api/v1/sources/{id}"),
            (f"/api/v1/quarantine/{refusal}/release", "POST", "/api/v1/quarantine/{id}/release"),
            ("/api/v1/replays", "POST", "/api/v1/replays"),
            ("/readyz", "GET", "/readyz"),
        ):
            response, body = await api.ask(path, method)
            assert response.status >= 400
            assert list(faults(problem, json.loads(body), document)) == []
            if template is not None:
                responses = document["paths"][template][method.lower()]["responses"]
                assert "application/problem+json" in responses[str(response.status)]["content"]


async def test_the_document_holds_nothing_of_this_gateway(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        await api.accept(a_body())
        text = json.dumps(await documented(api))
        for canary in (SECRET, PERSON, "core.example.com", "idenfy-prod"):
            assert canary not in text


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 5),
        ({"type": "object", "properties": {}, "additionalProperties": False}, {"a": 1}),
        ({"type": "object", "required": ["a"]}, {}),
        ({"type": "array", "items": {"enum": ["x"]}}, ["y"]),
    ],
)
def test_the_judge_of_schemas_finds_what_is_wrong(schema: dict[str, Any], value: Any) -> None:
    assert list(faults(schema, value, {}))
