"""Sources and endpoints made, changed, deleted and given new secrets over the API of a running gateway.

Oracles: the API's answers, what arrives at receivers of the test's own, and the store's file for secrets in the clear.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from gateways import running
from registered_live import SECRET, Api, api, receiver, settings
from stores import STORES, store_settings
from test_api_document import faults

import hookseal
from hookseal.clock import GivenClock, from_unix
from hookseal.ids import new_delivery_id, new_event_id
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import EgressSettings, EndpointSettings, SigningSettings, SourceSettings
from hookseal.store.port import NewDelivery, NewEvent, NewRequest

SIGNING = {"scheme": "standard_webhooks", "secret": SECRET}
NOW = from_unix(1_763_712_000)
IDENFY = "your-signing-secret"


async def publish(to: Api, type: str = "order.paid", data: Any = None) -> Any:
    said = await to("POST", "/api/v1/events", {"type": type, "data": {"n": 1} if data is None else data})
    assert said.status == 202, said.body
    return said.body


def standard_signatures(secret: str, post: Any) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    [ident], [stamp] = post.values("webhook-id"), post.values("webhook-timestamp")
    text = f"{ident}.{stamp}.".encode() + post.body
    return "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()


@pytest.mark.parametrize("kind", STORES)
async def test_an_endpoint_is_in_force_at_once_and_after_a_restart_until_it_is_deleted(
    tmp_path: Path, kind: str
) -> None:
    async with receiver() as target, store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as first:
            shown = await first.made("endpoints", {"id": "core", "url": target.url + "/a?b=1", "signing": SIGNING})
            assert (shown["origin"], shown["secret"], shown["secrets"]) == ("api", None, 1)
            assert (await publish(first))["id"] in (await target.next()).body.decode()
        async with api(made) as second:
            assert (await second("GET", "/api/v1/endpoints/core")).body["url"] == target.url + "/a?b=1"
            await publish(second)
            post = await target.next()
            assert post.path == "/a?b=1"
            assert post.values("webhook-signature") == [standard_signatures(SECRET, post)]
            changed = await second("PATCH", "/api/v1/endpoints/core", {"types": ["other.*"], "timeout_s": 3})
            assert (changed.status, changed.body["types"], changed.body["timeout_s"]) == (200, ["other.*"], 3.0)
            await publish(second)
            await publish(second, "other.one")
            assert json.loads((await target.next()).body)["type"] == "other.one"
            back = await second("PATCH", "/api/v1/endpoints/core", {"types": None})
            assert back.body["types"] == ["*"]
            assert (await second("DELETE", "/api/v1/endpoints/core")).status == 204
            assert (await second("GET", "/api/v1/endpoints/core")).status == 404
            await publish(second)
            assert target.got.empty()
        async with api(made) as third:
            assert (await third("GET", "/api/v1/endpoints")).body["data"] == []


@pytest.mark.parametrize("kind", STORES)
async def test_a_source_receives_at_once_and_after_a_restart_until_it_is_deleted(tmp_path: Path, kind: str) -> None:
    body = b'{"scanRef": "s-1", "status": {"overall": "APPROVED"}}'
    headers = [("Content-Type", "application/json"), *hookseal.sign("idenfy", body, secret=IDENFY)]
    async with store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as first:
            assert (await first.gateway.post("/in/idf", body, headers)).status == 404
            shown = await first.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [IDENFY]})
            assert (shown["path"], shown["origin"], shown["secrets"]) == ("/in/idf", "api", 1)
            assert (await first.gateway.post("/in/idf", body, headers)).status == 200
        async with api(made) as second:
            assert (await second.gateway.post("/in/idf", body, headers)).status == 200
            [event] = await second.gateway.events("idf")
            assert event["provider"] == "idenfy"
            await second("PATCH", "/api/v1/sources/idf", {"secrets": ["another secret entirely"]})
            assert (await second.gateway.post("/in/idf", body, headers)).status == 403
            assert (await second("DELETE", "/api/v1/sources/idf")).status == 204
            assert (await second.gateway.post("/in/idf", body, headers)).status == 404
            [event] = await second.gateway.events("idf")
            assert event["provider"] == "idenfy", "events of a deleted source are read by its provider's rules"


async def test_another_node_on_the_same_store_takes_a_registration_over(tmp_path: Path) -> None:
    body = b'{"scanRef": "s-1"}'
    headers = [("Content-Type", "application/json"), *hookseal.sign("idenfy", body, secret=IDENFY)]
    async with store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, running(made) as there:
            await here.made("sources", {"id": "idf", "provider": "idenfy", "secrets": [IDENFY]})
            async with asyncio.timeout(20):
                while (await there.post("/in/idf", body, headers)).status == 404:
                    await asyncio.sleep(0.1)
            assert (await there.post("/in/idf", body, headers)).status == 200


async def test_what_came_from_the_file_is_read_only_and_its_ids_are_taken(tmp_path: Path) -> None:
    source = SourceSettings(id=SourceId("idf"), provider=ProviderId("idenfy"), secrets=(IDENFY.encode(),))
    endpoint = EndpointSettings(
        id=EndpointId("core"), url="https://core.example.com/", signing=SigningSettings(scheme="none")
    )
    async with api(settings(tmp_path, sources=(source,), endpoints=(endpoint,))) as of:
        for path in ("sources/idf", "endpoints/core"):
            assert (await of("GET", f"/api/v1/{path}")).body["origin"] == "file"
            for method, sub, body in (("PATCH", "", {}), ("DELETE", "", None), ("POST", "/rotate", {})):
                said = await of(method, f"/api/v1/{path}{sub}", body)
                assert said.status == 409
                assert "configuration file" in said.body["detail"]
        taken = await of("POST", "/api/v1/endpoints", {"id": "core", "url": "https://x.example/", "signing": SIGNING})
        assert (taken.status, taken.body["type"]) == (409, "/problems/exists")
        taken = await of("POST", "/api/v1/sources", {"id": "idf", "provider": "zignsec", "secrets": ["s" * 20]})
        assert taken.status == 409
        assert (await of("GET", "/api/v1/endpoints/core")).body["url"] == "https://core.example.com/"


async def test_of_many_that_make_one_id_at_once_one_does(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        table = {"id": "core", "url": "https://x.example/", "signing": SIGNING}
        said = await asyncio.gather(*(of("POST", "/api/v1/endpoints", table) for _ in range(8)))
        assert sorted(one.status for one in said) == [201, *[409] * 7]


# --- what may be registered -----------------------------------------------------------------------------------------


@pytest.mark.requirement("Z01", "B01")
async def test_a_registered_url_is_kept_exactly_and_must_be_public_https(tmp_path: Path) -> None:
    made = settings(tmp_path, egress=EgressSettings())
    async with api(made) as of:
        exact = "https://h.example/a?b=1"
        assert (await of.made("endpoints", {"id": "exact", "url": exact, "signing": SIGNING}))["url"] == exact
        assert (await of("GET", "/api/v1/endpoints/exact")).body["url"] == exact
        refused = ["http://h.example/", "ftp://h", "//h", "https://", "", "h.example", "https://u:p@h.example/"]
        refused += ["https://h.example/" + "x" * 5000, "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/"]
        refused += ["https://169.254.169.254/latest", "https://192.168.1.1/x", "https://2130706433/"]
        for url in refused:
            said = await of("POST", "/api/v1/endpoints", {"id": "bad", "url": url, "signing": SIGNING})
            assert (said.status, said.faults) == (422, [("/url", "INVALID_WEBHOOK")]), url
            said = await of("PATCH", "/api/v1/endpoints/exact", {"url": url})
            assert (said.status, said.faults) == (422, [("/url", "INVALID_WEBHOOK")]), url
        assert [one["id"] for one in (await of("GET", "/api/v1/endpoints")).body["data"]] == ["exact"]
        assert (await of("GET", "/api/v1/endpoints/exact")).body["url"] == exact
    switched = replace(made, egress=EgressSettings(allow_http=True))
    async with api(switched) as of:
        await of.made("endpoints", {"id": "plain", "url": "http://h.example/", "signing": SIGNING})


@pytest.mark.parametrize(
    ("kind", "table", "faults"),
    [
        ("endpoints", {}, {"/id", "/url", "/signing"}),
        ("endpoints", {"id": "A B", "url": "https://x.example/", "signing": SIGNING}, {"/id"}),
        ("endpoints", {"id": "e", "url": "https://x.example/", "signing": {"scheme": "nothing"}}, {"/signing/scheme"}),
        ("endpoints", {"id": "e", "url": 5, "types": ["a", 5], "signing": SIGNING}, {"/url", "/types/1"}),
        ("endpoints", {"id": "e", "url": "https://x.example/", "signing": SIGNING, "retry": "often"}, {"/retry"}),
        ("endpoints", {"id": "e", "url": "https://x.example/", "signing": SIGNING, "format": "yaml"}, {"/format"}),
        ("endpoints", {"id": "e", "url": "https://x.example/", "signing": SIGNING, "surprise": 1}, {""}),
        ("endpoints", {"id": "e", "url": "https://x.example/", "as": "bankid_antifraud"}, {"/signing"}),
        ("endpoints", {"id": "e", "url": "http://10.0.0.1:99999/"}, {"/url", "/signing"}),
        (
            "endpoints",
            {"id": "e", "url": "https://x.example/", "signing": {"scheme": "none", "secret": "s"}},
            {"/signing/secret"},
        ),
        ("sources", {}, {"/id", "/provider"}),
        ("sources", {"id": "s", "provider": "nobody", "secrets": ["x" * 20]}, {"/provider"}),
        ("sources", {"id": "api", "provider": "idenfy", "secrets": ["x" * 20]}, {"/id"}),
        ("sources", {"id": "s", "provider": "idenfy", "unsigned": True}, {"/unsigned"}),
        ("sources", {"id": "s", "provider": "bankid_antifraud", "options": {}}, {"/options/audience"}),
        ("sources", {"id": "s", "provider": "idenfy", "secrets": [" blank "]}, {"/secrets/0"}),
    ],
)
async def test_a_registration_that_the_check_would_refuse_is_422_at_each_fault(
    tmp_path: Path, kind: str, table: dict[str, Any], faults: set[str]
) -> None:
    async with api(settings(tmp_path)) as of:
        said = await of("POST", f"/api/v1/{kind}", table)
        assert said.status == 422, said.body
        assert {pointer for pointer, _ in said.faults} == faults
        assert all(one["detail"] for one in said.body["errors"])
        assert (await of("GET", f"/api/v1/{kind}")).body["data"] == []


async def test_a_secret_over_the_api_reads_neither_variables_nor_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "canary-of-the-environment")
    (tmp_path / "canary").write_text("canary-of-a-file")
    async with api(settings(tmp_path)) as of:
        base = {"id": "e", "url": "https://x.example/"}
        for given in ("env:CANARY", f"file:{tmp_path}/canary"):
            for more, pointer in (
                ({"signing": {"scheme": "idenfy", "secret": given}}, "/signing/secret"),
                ({"signing": SIGNING, "headers": {"X-A": given}}, "/headers/X-A"),
            ):
                said = await of("POST", "/api/v1/endpoints", {**base, **more})
                assert (said.status, said.faults) == (422, [(pointer, "invalid")])
            said = await of("POST", "/api/v1/sources", {"id": "s", "provider": "idenfy", "secrets": [given]})
            assert (said.status, said.faults) == (422, [("/secrets/0", "invalid")])
        await of.made("endpoints", {**base, "signing": SIGNING})
        said = await of("POST", "/api/v1/endpoints/e/rotate", {"secret": "env:CANARY"})
        assert (said.status, said.faults) == (422, [("/secret", "invalid")])


# --- secrets --------------------------------------------------------------------------------------------------------


async def test_a_secret_is_written_and_never_read_again(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        made = await of.made("endpoints", {"id": "e", "url": "https://x.example/", "signing": {"scheme": "idenfy"}})
        given = await of.made("sources", {"id": "s", "provider": "idenfy", "secrets": [SECRET]})
        assert len(base64.urlsafe_b64decode(made["secret"] + "=")) == 32
        assert given["secret"] is None
        whsec = await of.made(
            "endpoints", {"id": "w", "url": "https://x.example/", "signing": {"scheme": "standard_webhooks"}}
        )
        assert len(base64.b64decode(whsec["secret"].removeprefix("whsec_"))) == 32
        told = ""
        for path in ("endpoints", "endpoints/e", "sources", "sources/s", "openapi.json"):
            told += json.dumps((await of("GET", f"/api/v1/{path}")).body)
        told += json.dumps((await of("PATCH", "/api/v1/endpoints/e", {"timeout_s": 5})).body)
        for secret in (made["secret"], SECRET, whsec["secret"]):
            assert secret not in told
    at_rest = b"".join(path.read_bytes() for path in tmp_path.glob("hookseal.db*"))
    for secret in (made["secret"], SECRET, whsec["secret"]):
        assert secret.encode() not in at_rest


async def test_both_secrets_sign_until_the_overlap_is_over(tmp_path: Path) -> None:
    clock = GivenClock(NOW)
    async with receiver() as target, api(settings(tmp_path), clock=clock) as of:
        await of.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING})
        rotated = (await of("POST", "/api/v1/endpoints/e/rotate")).body
        new = rotated["secret"]
        assert rotated["overlap_until"] == "2025-11-22T08:00:00.000000Z"
        await publish(of)
        post = await target.next()
        both = {standard_signatures(new, post), standard_signatures(SECRET, post)}
        assert set(post.values("webhook-signature")[0].split(" ")) == both
        assert (await of("GET", "/api/v1/endpoints/e")).body["secrets"] == 2
        clock.advance(86_400)
        async with asyncio.timeout(10):
            while (await of("GET", "/api/v1/endpoints/e")).body["secrets"] == 2:
                await asyncio.sleep(0.01)
        await publish(of)
        post = await target.next()
        assert post.values("webhook-signature") == [standard_signatures(new, post)]


async def test_a_source_takes_both_secrets_until_the_overlap_is_over(tmp_path: Path) -> None:
    clock = GivenClock(NOW)
    body = b'{"scanRef": "s-1"}'

    async with api(settings(tmp_path), clock=clock) as of:

        async def status(secret: str) -> int:
            return (await of.gateway.post("/in/s", body, hookseal.sign("idenfy", body, secret=secret))).status

        await of.made("sources", {"id": "s", "provider": "idenfy", "secrets": [IDENFY]})
        given = {"secret": "a second secret for idenfy", "overlap_s": 60}
        assert (await of("POST", "/api/v1/sources/s/rotate", given)).body["secret"] is None
        assert [await status(IDENFY), await status(given["secret"])] == [200, 200]
        clock.advance(60)
        async with asyncio.timeout(10):
            while (await of("GET", "/api/v1/sources/s")).body["secrets"] == 2:
                await asyncio.sleep(0.01)
        assert [await status(IDENFY), await status(given["secret"])] == [403, 200]
        assert (await of("GET", "/api/v1/sources/s")).body["retired_secrets"] == 1


async def test_an_endpoint_that_says_none_is_sent_no_signature_and_given_no_secret(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        made = await of.made("endpoints", {"id": "e", "url": target.url, "signing": {"scheme": "none"}})
        assert (made["signing"], made["secrets"], made["secret"]) == ("none", 0, None)
        await publish(of)
        assert (await target.next()).values("webhook-signature") == []
        signed = await of("PATCH", "/api/v1/endpoints/e", {"signing": {"scheme": "standard_webhooks"}})
        assert signed.body["secret"].startswith("whsec_")
        await publish(of)
        post = await target.next()
        assert post.values("webhook-signature") == [standard_signatures(signed.body["secret"], post)]
        again = await of("PATCH", "/api/v1/endpoints/e", {"signing": {"scheme": "standard_webhooks"}})
        assert again.body["secret"] is None, "the same scheme named again keeps its secret"
        unsigned = await of("PATCH", "/api/v1/endpoints/e", {"signing": {"scheme": "none"}})
        assert (unsigned.status, unsigned.body["secrets"]) == (200, 0)


@pytest.mark.requirement("I02")
async def test_each_registration_signs_with_its_own_key_and_one_without_a_key_sends_no_signature(
    tmp_path: Path,
) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        for id, signing in (("a", {"secret": "key of a"}), ("b", {"secret": "key of b"}), ("c", None)):
            await of.made("endpoints", {"id": id, "url": f"{target.url}/{id}", "as": "idenfy", "signing": signing})
        await publish(of, data={"scanRef": "s"})
        posts = {post.path: post for post in [await target.next() for _ in range(3)]}
        assert len({post.body for post in posts.values()}) == 1
        for id in "ab":
            key = f"key of {id}".encode()
            digest = hmac.digest(key, posts[f"/{id}"].body, hashlib.sha256).hex()
            assert posts[f"/{id}"].values("Idenfy-Signature") == [digest]
        assert posts["/c"].values("Idenfy-Signature") == []


# --- each registration's own way ------------------------------------------------------------------------------------


@pytest.mark.requirement("Z12")
async def test_each_registration_names_its_policy_and_the_newest_text_is_zignsecs_default(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        for id, retry, name in (
            ("newest", None, "zignsec_3_retries"),
            ("older", "zignsec_20_in_48h", "zignsec_20_in_48h"),
            ("three", "zignsec_3_tries", "zignsec_3_tries"),
        ):
            table = {"id": id, "url": "https://x.example/", "as": "zignsec", "retry": retry}
            assert (await of.made("endpoints", table))["retry"] == name


@pytest.mark.requirement("Z02")
async def test_each_registration_chooses_json_or_xml(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        for format in ("json", "xml"):
            await of.made(
                "endpoints", {"id": format, "url": f"{target.url}/{format}", "as": "zignsec", "format": format}
            )
        await publish(of, data={"PersonalNumber": "191212121212", "Empty": "", "Age": 5})
        posts = {post.path: post for post in [await target.next() for _ in range(2)]}
        assert posts["/json"].values("Content-Type") == ["application/json; charset=utf-8"]
        assert posts["/xml"].values("Content-Type") == ["application/xml; charset=utf-8"]
        assert json.loads(posts["/json"].body) == {"PersonalNumber": "191212121212", "Empty": "", "Age": 5}
        assert b"<PersonalNumber>191212121212</PersonalNumber>" in posts["/xml"].body


# --- consent --------------------------------------------------------------------------------------------------------


async def state_of(of: Api, id: str, *, other_than: str) -> str:
    async with asyncio.timeout(20):
        while (state := (await of("GET", f"/api/v1/endpoints/{id}")).body["consent"]) == other_than:
            await asyncio.sleep(0.02)
    return str(state)


def consent(**headers: str) -> Any:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=200, headers=headers if request.method == "OPTIONS" else {})

    return answer


@pytest.mark.requirement("B08")
async def test_an_endpoint_that_has_not_consented_is_sent_nothing_until_it_does(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        target.answer = consent()
        table = {"id": "b", "url": target.url, "signing": SIGNING, "handshake": "cloudevents"}
        assert (await of.made("endpoints", table))["consent"] in ("validating", "failed")
        assert await state_of(of, "b", other_than="validating") == "failed"
        shown = (await of("GET", "/api/v1/endpoints/b")).body
        assert shown["consent_problem"] == "WebHook-Allowed-Origin is missing"
        assert (shown["consent_rate_per_min"], shown["consent_next_at"] is None) == (None, False)
        await publish(of)
        said = await of("POST", "/api/v1/endpoints/b/test")
        assert (said.status, said.body["type"]) == (409, "/problems/not-consented")
        assert target.got.empty()
        target.answer = consent(**{"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "120"})
        said = await of("POST", "/api/v1/endpoints/b/test")
        assert said.body["delivered"] is True
        assert await state_of(of, "b", other_than="failed") == "active"
        shown = (await of("GET", "/api/v1/endpoints/b")).body
        told = [shown[f"consent_{name}"] for name in ("problem", "rate_per_min", "next_at")]
        assert told == [None, 120, None]
        bodies = {json.loads((await target.next()).body)["type"] for _ in range(2)}
        assert bodies == {"hookseal.test", "order.paid"}, "what had waited for the consent is delivered after it"


async def test_a_new_url_needs_a_new_consent(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        target.answer = consent(**{"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"})
        await of.made("endpoints", {"id": "b", "url": target.url, "signing": SIGNING, "handshake": "cloudevents"})
        assert await state_of(of, "b", other_than="validating") == "active"
        target.answer = consent()
        await of("PATCH", "/api/v1/endpoints/b", {"url": target.url + "/elsewhere"})
        assert await state_of(of, "b", other_than="validating") == "failed"


# --- trying out -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "delivered", "reason"), [(204, True, None), (503, False, "http_503"), (302, False, "redirect_refused")]
)
async def test_a_test_of_an_endpoint_is_one_call_whose_outcome_is_told(
    tmp_path: Path, status: int, delivered: bool, reason: str | None
) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        target.answer = lambda request: web.Response(status=status, headers={"Location": target.url + "/other"})
        await of.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING})
        said = await of("POST", "/api/v1/endpoints/e/test")
        assert said.status == 200
        assert (said.body["delivered"], said.body["status"], said.body["reason"]) == (delivered, status, reason)
        post = await target.next()
        assert json.loads(post.body)["type"] == "hookseal.test"
        assert post.values("webhook-signature") == [standard_signatures(SECRET, post)]
        assert target.got.empty()
        assert (await of("GET", "/api/v1/events")).body["data"] == []
        assert (await of("GET", "/api/v1/deliveries")).body["data"] == []


async def test_a_test_of_an_endpoint_that_is_not_there_says_why(tmp_path: Path) -> None:
    async with receiver() as target:
        url = target.url
    async with api(settings(tmp_path)) as of:
        await of.made("endpoints", {"id": "e", "url": url, "signing": SIGNING})
        said = (await of("POST", "/api/v1/endpoints/e/test")).body
        assert (said["delivered"], said["status"], said["reason"]) == (False, None, "connect_refused")
        assert (await of("POST", "/api/v1/endpoints/nobody/test")).status == 404


@pytest.mark.parametrize("provider", ["zignsec", "idenfy", "seal_id", "standard_webhooks"])
async def test_a_test_of_a_source_tells_what_a_good_request_would_become_and_stores_nothing(
    tmp_path: Path, provider: str
) -> None:
    async with api(settings(tmp_path)) as of:
        await of.made("sources", {"id": "s", "provider": provider, "secrets": [SECRET]})
        said = await of("POST", "/api/v1/sources/s/test")
        assert (said.status, said.body["result"], said.body["reason"]) == (200, "accepted", None), said.body
        assert said.body["events"][0]["source"] == "/sources/s"
        assert SECRET not in json.dumps(said.body)
        assert await of.gateway.events("s") == []


async def test_a_source_that_only_its_provider_can_call_is_not_testable(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        options = {"audience": "11111111-2222-4333-8444-555555555555"}
        await of.made("sources", {"id": "b", "provider": "bankid_antifraud", "options": options})
        said = await of("POST", "/api/v1/sources/b/test")
        assert (said.status, said.body["type"]) == (409, "/problems/not-testable")
        assert (await of("POST", "/api/v1/sources/b/rotate")).body["type"] == "/problems/no-secret"


async def test_deleting_an_endpoint_cancels_what_is_pending_for_it(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        target.status = 500
        await of.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING})
        await publish(of)
        await target.next()
        await of("DELETE", "/api/v1/endpoints/e")
        async with asyncio.timeout(10):
            while [one["state"] for one in (await of("GET", "/api/v1/deliveries")).body["data"]] != ["cancelled"]:
                await asyncio.sleep(0.02)


async def test_what_was_left_pending_for_a_deleted_endpoint_is_cancelled_after_a_restart(tmp_path: Path) -> None:
    clock = GivenClock(NOW)
    made = settings(tmp_path)
    async with receiver() as target:
        async with api(made, clock=clock) as of:
            target.status = 500
            await of.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING})
            id = (await publish(of))["id"]
            await target.next()
            await of("DELETE", "/api/v1/endpoints/e")
            # What another node planned before it knew: a delivery for an endpoint that is no more.
            delivery = NewDelivery(id=new_delivery_id(clock.now()), endpoint=EndpointId("e"), due_at=clock.now())
            event = NewEvent(
                id=new_event_id(clock.now()),
                item=0,
                type="late",
                dedupe_key=b"l" * 32,
                content=b"l" * 32,
                deliveries=(delivery,),
            )
            await of.gateway.gateway.store.accept(
                NewRequest(source=SourceId("api"), received_at=clock.now(), headers=(), body=b"{}", events=(event,))
            )
        clock.advance(61)
        async with api(made, clock=clock) as of:
            async with asyncio.timeout(10):
                while any(one["state"] == "pending" for one in (await of("GET", "/api/v1/deliveries")).body["data"]):
                    await asyncio.sleep(0.02)
            states = {one["state"] for one in (await of("GET", "/api/v1/deliveries")).body["data"]}
            assert states == {"cancelled"}
            assert (await of("GET", f"/api/v1/events/{id}")).status == 200


async def test_a_file_that_takes_an_id_of_the_api_counts(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        await of.made("endpoints", {"id": "core", "url": "https://of-the-api.example/", "signing": SIGNING})
    row = EndpointSettings(
        id=EndpointId("core"), url="https://of-the-file.example/", signing=SigningSettings(scheme="none")
    )
    async with api(settings(tmp_path, endpoints=(row,))) as of:
        shown, other = (await of("GET", "/api/v1/endpoints")).body["data"]
        assert (shown["url"], shown["origin"], shown["problem"]) == ("https://of-the-file.example/", "file", None)
        assert (other["url"], other["origin"]) == ("https://of-the-api.example/", "api")
        assert other["problem"]


@pytest.mark.parametrize("kind", STORES)
async def test_a_rotation_goes_on_over_a_restart(tmp_path: Path, kind: str) -> None:
    clock = GivenClock(NOW)
    async with store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made, clock=clock) as of:
            await of.made("endpoints", {"id": "e", "url": "https://x.example/", "signing": SIGNING})
            await of("POST", "/api/v1/endpoints/e/rotate", {"overlap_s": 600})
        clock.advance(300)
        async with api(made, clock=clock) as of:
            assert (await of("GET", "/api/v1/endpoints/e")).body["secrets"] == 2
        clock.advance(300)
        async with api(made, clock=clock) as of:
            assert (await of("GET", "/api/v1/endpoints/e")).body["secrets"] == 1


@pytest.mark.parametrize(("provider", "label"), [("zignsec", "Personal access token"), ("seal_id", "Shared secret")])
async def test_a_secret_that_the_provider_issues_is_never_made_here(tmp_path: Path, provider: str, label: str) -> None:
    """With a secret of ours no request would ever be accepted, and the overlap would end the secret that works."""
    table = {"id": "s", "provider": provider}
    async with api(settings(tmp_path)) as of:
        refused = await of("POST", "/api/v1/sources", table)
        assert (refused.status, refused.faults) == (422, [("/secrets", "missing")])
        assert label in refused.body["errors"][0]["detail"]
        assert (await of("GET", "/api/v1/sources/s")).status == 404
        await of.made("sources", {**table, "secrets": [SECRET]})
        for patch in ({"secrets": None}, {"secrets": []}):
            taken = await of("PATCH", "/api/v1/sources/s", patch)
            assert (taken.status, taken.faults) == (422, [("/secrets", "missing")])
        for body in (None, {"overlap_s": 60}):
            rotated = await of("POST", "/api/v1/sources/s/rotate", body)
            assert (rotated.status, rotated.faults) == (422, [("/secret", "missing")])
            assert label in rotated.body["errors"][0]["detail"]
        assert (await of("GET", "/api/v1/sources/s")).body["secrets"] == 1
        rotated = await of("POST", "/api/v1/sources/s/rotate", {"secret": SECRET + "2"})
        assert (rotated.status, rotated.body["secret"]) == (200, None)
        moved = await of("POST", "/api/v1/sources", {"id": "i", "provider": "idenfy"})
        assert moved.body["secret"], "iDenfy takes the key that it is given"
        await of.made("endpoints", {"id": "e", "url": "https://x.example/", "as": "seal_id"})


async def test_an_endpoint_is_shown_with_the_retries_and_the_token_that_are_in_force(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:

        async def shown(id: str, **keys: Any) -> Any:
            await of.made("endpoints", {"id": id, "url": "https://x.example/", "signing": SIGNING, **keys})
            return (await of("GET", f"/api/v1/endpoints/{id}")).body

        usual = await shown("usual")
        assert usual["retry"] == "standard"
        assert usual["retry_policy"] == {
            "delays_s": [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400],
            "delays_from": "last_attempt",
            "jitter": [-0.2, 0.2],
            "window_s": None,
            "success": ["200-299"],
            "permanent": ["410"],
        }
        own = await shown("own", retry={"delays_s": [1, 2.5], "success": ["200-204", 302], "permanent": ["4xx"]})
        assert own["retry"] == "own"
        assert own["retry_policy"]["delays_s"] == [1, 2.5]
        assert own["retry_policy"]["success"] == ["200-204", "302"]
        assert own["retry_policy"]["permanent"] == ["400-499"]
        acting = await shown("acting", **{"as": "idenfy"})
        assert (acting["retry"], acting["retry_policy"]["permanent"]) == ("standard", [])
        spread = await shown("spread", retry="zignsec_20_in_48h")
        assert (spread["retry_policy"]["delays_from"], spread["retry_policy"]["window_s"]) == ("first_attempt", 172800)
        assert [usual[name] for name in ("audience", "issuer", "tenant")] == [None, None, None]

        theirs = "08a02467-3604-46e9-b818-6be676cf015b"
        token = {"as": "bankid_antifraud", "handshake": "none"}
        preset = await shown("preset", signing={"audience": "our-app"}, **token)
        assert (preset["audience"], preset["tenant"]) == ("our-app", theirs)
        assert preset["issuer"] == f"https://login.microsoftonline.com/{theirs}/v2.0"
        moved = await shown("moved", signing={"audience": "our-app", "tenant": "t-1"}, **token)
        assert (moved["tenant"], moved["issuer"]) == ("t-1", "https://login.microsoftonline.com/t-1/v2.0")
        named = await shown("named", signing={"audience": "a", "issuer": "https://i.example/"}, **token)
        assert (named["tenant"], named["issuer"]) == (theirs, "https://i.example/")


async def test_a_source_is_shown_with_the_options_that_are_in_force(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        await of.made("sources", {"id": "b", "provider": "bankid_antifraud", "options": {"audience": "our-app"}})
        shown = (await of("GET", "/api/v1/sources/b")).body
        assert shown["options"] == {"audience": "our-app"}
        in_force = shown["options_in_force"]
        assert in_force["audience"] == ["our-app"]
        assert in_force["issuer"].endswith("/08a02467-3604-46e9-b818-6be676cf015b/v2.0")
        assert in_force["jwks_url"].startswith("https://login.microsoftonline.com/")
        assert (in_force["allowed_rate"], in_force["tenant"], in_force["roles"]) == ("*", None, [])
        await of.made("sources", {"id": "s", "provider": "seal_id", "secrets": [SECRET]})
        assert (await of("GET", "/api/v1/sources/s")).body["options_in_force"] == {"mode": "minified"}


async def test_a_payload_that_did_not_parse_is_dead_with_a_reason_of_its_own(tmp_path: Path) -> None:
    body = b"neither JSON nor XML"
    async with receiver() as target, api(settings(tmp_path)) as of:
        await of.made("sources", {"id": "s", "provider": "idenfy", "secrets": [IDENFY]})
        for id, keys in (
            ("json", {"format": "json"}),
            ("as", {"as": "zignsec"}),
            ("xml", {"as": "zignsec", "format": "xml"}),
        ):
            await of.made("endpoints", {"id": id, "url": target.url, "signing": {"scheme": "none"}, **keys})
        assert (await of.gateway.post("/in/s", body, hookseal.sign("idenfy", body, secret=IDENFY))).status == 200
        async with asyncio.timeout(20):
            while len(dead := (await of("GET", "/api/v1/deliveries?state=dead")).body["data"]) < 3:
                await asyncio.sleep(0.02)
        assert {one["last_reason"] for one in dead} == {"payload_unparsable"}
        assert target.got.empty()


async def test_the_word_none_alone_stands_for_no_signing(tmp_path: Path) -> None:
    table = {"id": "e", "url": "https://x.example/", "signing": "none"}
    async with api(settings(tmp_path)) as of:
        made = await of.made("endpoints", table)
        assert (made["signing"], made["secret"], made["warnings"]) == ("none", None, [])
        signed = await of("PATCH", "/api/v1/endpoints/e", {"signing": SIGNING})
        assert signed.body["signing"] == "standard_webhooks"
        assert (await of("PATCH", "/api/v1/endpoints/e", {"signing": "none"})).body["signing"] == "none"
        acting = await of.made("endpoints", {**table, "id": "acting", "as": "seal_id"})
        assert (acting["signing"], acting["secret"]) == ("none", None)
        for wrong in ("None", "standard_webhooks", ""):
            refused = await of("POST", "/api/v1/endpoints", {**table, "id": "new", "signing": wrong})
            assert (refused.status, refused.faults) == (422, [("/signing", "invalid")])


@pytest.mark.parametrize("provider", ["zignsec", "idenfy"])
async def test_an_endpoint_that_is_unsigned_for_want_of_a_key_is_told_of_in_the_answer(
    tmp_path: Path, provider: str
) -> None:
    table = {"url": "https://x.example/", "as": provider}
    async with api(settings(tmp_path)) as of:
        made = await of.made("endpoints", {"id": "without", **table})
        [warning] = made["warnings"]
        assert (made["signing"], made["secret"], warning["pointer"]) == ("none", None, "/signing")
        assert "unsigned" in warning["detail"]
        changed = await of("PATCH", "/api/v1/endpoints/without", {"timeout_s": 3})
        assert changed.body["warnings"] == [warning]
        signed = await of.made("endpoints", {"id": "with", **table, "signing": {"secret": SECRET}})
        asked = await of.made("endpoints", {"id": "asked", **table, "signing": {"scheme": "none"}})
        assert signed["warnings"] == asked["warnings"] == []
        assert "warnings" not in (await of("GET", "/api/v1/endpoints/without")).body


async def test_what_the_tests_answer_is_as_documented(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        document = (await of("GET", "/api/v1/openapi.json")).body
        table = {"id": "e", "url": target.url, "as": "zignsec", "signing": {"secret": SECRET}}
        await of.made("endpoints", table)
        await of.made("sources", {"id": "s", "provider": "zignsec", "secrets": [SECRET]})
        for path, template, body, key in (
            ("/api/v1/endpoints/e/test", "/api/v1/endpoints/{id}/test", None, {}),
            ("/api/v1/sources/s/test", "/api/v1/sources/{id}/test", None, {}),
            ("/v2/webhook/test", "/v2/webhook/test", {"Url": target.url}, {"Authorization": SECRET}),
            ("/v2/webhook/test", "/v2/webhook/test", {"Url": 5}, {"Authorization": SECRET}),
            ("/v2/webhook/test", "/v2/webhook/test", {"Url": 5}, {}),
        ):
            said = await of("POST", path, body, **key)
            answers = document["paths"][template]["post"]["responses"]
            schema = answers[str(said.status)]["content"]["application/json"]["schema"]
            assert list(faults(schema, said.body, document)) == []


async def test_a_change_of_an_endpoint_counts_on_the_other_node_and_a_deletion_too(tmp_path: Path) -> None:
    async with receiver() as target, store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, api(made) as there:
            await here.made("endpoints", {"id": "e", "url": target.url, "signing": SIGNING, "types": ["a.*"]})

            async def known(wanted: object) -> None:
                async with asyncio.timeout(20):
                    while True:
                        said = await there("GET", "/api/v1/endpoints/e")
                        if (said.body["types"] if said.status == 200 else None) == wanted:
                            return
                        await asyncio.sleep(0.1)

            await known(["a.*"])
            await publish(there, "a.one")
            assert json.loads((await target.next()).body)["type"] == "a.one"
            changed = await there("PATCH", "/api/v1/endpoints/e", {"types": ["b.*"]})
            assert changed.status == 200, "another node's registration may be changed here"
            assert (await here("PATCH", "/api/v1/endpoints/e", {"timeout_s": 3})).body["types"] == ["b.*"]
            await here("DELETE", "/api/v1/endpoints/e")
            await known(None)
            await publish(there, "b.one")
            assert target.got.empty()
