"""The management API reads: events, raw bytes, deliveries, quarantine, registrations; over a socket and a real store."""

import json
from pathlib import Path

import pytest
from api_served import (
    CORE,
    ENDPOINTS,
    GONE,
    IDENFY,
    NARROW,
    PERSON,
    SECRET,
    SOURCES,
    Served,
    a_body,
    served,
)

from hookseal.model import DeliveryState
from hookseal.store.port import Lease


async def pages(api: Served, path: str, limit: int) -> list[list[object]]:
    """All pages of a listing, following `next` as it is given."""
    joint = "&" if "?" in path else "?"
    got, cursor = [], ""
    while True:
        page = await api.get(f"{path}{joint}limit={limit}&cursor={cursor}")
        got.append(page["data"])
        if page["next"] is None:
            return got
        cursor = page["next"]


async def test_events_are_whole_and_newest_first(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        ids = [(await api.accept(a_body(number), subject=f"scan-{number}", after_s=number))[0] for number in range(3)]
        page = await api.get("/api/v1/events")
        assert [event["id"] for event in page["data"]] == ids[::-1]
        assert page["next"] is None
        newest = page["data"][0]
        assert newest["specversion"] == "1.0"
        assert newest["source"] == "/sources/idenfy-prod"
        assert newest["provider"] == "idenfy"
        assert newest["subject"] == "scan-2"
        assert newest["sequence"] == f"{3:020d}"
        assert newest["data"]["payload"] == json.loads(a_body(2))
        assert await api.get(f"/api/v1/events/{ids[2]}") == newest


async def test_pages_hold_every_event_once_and_stay_whole_while_new_ones_come(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        ids = [(await api.accept(a_body(number), after_s=number))[0] for number in range(60)]
        first = await api.get("/api/v1/events?limit=40")
        assert len(first["data"]) == 40
        await api.accept(a_body(999), after_s=999)
        second = await api.get(f"/api/v1/events?limit=40&cursor={first['next']}")
        assert [event["id"] for event in first["data"] + second["data"]] == ids[::-1]
        assert second["next"] is None
        assert len((await api.get("/api/v1/events"))["data"]) == 50


async def test_filters_leave_what_they_name(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        old, _ = await api.accept(a_body(1), subject="s1")
        new, _ = await api.accept(a_body(2), subject="s2", type="other", after_s=60)
        gone, _ = await api.accept(a_body(3), source=GONE, after_s=120)

        async def found(query: str) -> list[str]:
            return [event["id"] for event in (await api.get(f"/api/v1/events?{query}"))["data"]]

        assert await found(f"source={IDENFY}") == [new, old]
        assert await found("source=gone") == [gone]
        assert await found("source=&type=&subject=") == [gone, new, old]
        assert await found("type=other") == [new]
        assert await found("subject=s1") == [old]
        assert await found("since=2025-11-21T08:01:00Z") == [gone, new]
        assert await found("until=2025-11-21T08:01:00Z") == [old]
        assert await found("since=2025-11-21T09:01:00+01:00&until=2025-11-21T08:02:00Z") == [new]
        assert await found("subject=nobody") == []


async def test_a_cursor_goes_with_its_filters_only(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        for number in range(3):
            await api.accept(a_body(number), after_s=number)
        cursor = (await api.get(f"/api/v1/events?limit=1&source={IDENFY}"))["next"]
        assert (await api.ask(f"/api/v1/events?limit=1&source={IDENFY}&cursor={cursor}"))[0].status == 200
        for path in ("events?", "deliveries?", "events?source=zs&"):
            response, body = await api.ask(f"/api/v1/{path}cursor={cursor}")
            assert response.status == 422
            [fault] = json.loads(body)["errors"]
            assert (fault["pointer"], fault["code"]) == ("cursor", "invalid")
            assert "same filters" in fault["detail"]


async def test_raw_gives_the_exact_bytes_and_no_page_for_a_browser(tmp_path: Path) -> None:
    body = b"\x00\xff<script>alert(1)</script>\r\n" + bytes(range(256))
    async with served(tmp_path) as api:
        event, _ = await api.accept(body, headers=((b"content-type", b"text/html; charset=utf-8"),))
        response, given = await api.ask(f"/api/v1/events/{event}/raw")
        assert given == body
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Content-Disposition"] == f'attachment; filename="{event}.bin"'
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Hookseal-Content-Type"] == "text/html; charset=utf-8"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert (await api.get(f"/api/v1/events/{event}"))["data"]["flags"] == ["body_unparsed"]


@pytest.mark.parametrize("content_type", [b"text/\xff", b"a" * 300, b"text/plain\x0bx"])
async def test_a_content_type_that_fits_no_header_is_left_out(tmp_path: Path, content_type: bytes) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(b"x", headers=((b"content-type", content_type),))
        response, given = await api.ask(f"/api/v1/events/{event}/raw")
        assert (response.status, given) == (200, b"x")
        assert "X-Hookseal-Content-Type" not in response.headers


async def test_an_event_of_a_source_that_is_gone_is_shown_with_its_bytes(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(b'{"a":1}', source=GONE)
        shown = await api.get(f"/api/v1/events/{event}")
        assert shown["provider"] == "unknown"
        assert shown["data"]["payload_base64"] == "eyJhIjoxfQ=="


async def test_long_events_make_a_page_short_and_lose_none(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        body = a_body(filler="x" * 700_000)
        ids = [(await api.accept(body + b" " * number, after_s=number))[0] for number in range(30)]
        got = await pages(api, "/api/v1/events", 1000)
        assert len(got) == 2
        assert [event["id"] for page in got for event in page] == ids[::-1]  # type: ignore[index]


async def test_a_body_with_what_json_libraries_stumble_over_is_shown(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        event, _ = await api.accept(b'{"big": 123456789012345678901234567890, "text": "\\u0000"}')
        assert (await api.get(f"/api/v1/events/{event}"))["data"]["payload"] == {
            "big": 123456789012345678901234567890,
            "text": "\x00",
        }


async def test_deliveries_are_listed_by_endpoint_state_and_event_and_shown_with_attempts(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        lease = Lease(77)
        first, (to_core, to_narrow) = await api.accept(a_body(1), endpoints=[CORE, NARROW], lease=lease)
        _, (second,) = await api.accept(a_body(2), endpoints=[CORE], after_s=1)
        await api.try_once(to_core, lease, DeliveryState.DEAD, "http_500")
        await api.try_once(to_narrow, lease, DeliveryState.DELIVERED, None)

        async def found(query: str) -> set[str]:
            return {row["id"] for row in (await api.get(f"/api/v1/deliveries?{query}"))["data"]}

        assert await found("") == {to_core, to_narrow, second}
        assert await found("endpoint=core") == {to_core, second}
        assert await found("state=pending") == {second}
        assert await found("state=dead") == {to_core}
        assert await found(f"event={first}") == {to_core, to_narrow}
        assert await found("since=2025-11-21T08:00:01Z") == {second}
        dead = await api.get(f"/api/v1/deliveries/{to_core}")
        assert (dead["state"], dead["event"], dead["endpoint"]) == ("dead", first, "core")
        assert (dead["last_status"], dead["last_reason"], dead["due_at"]) == (500, "http_500", None)
        assert dead["attempts"] == [
            {
                "number": 1,
                "started_at": "2025-11-21T08:00:00.000000Z",
                "duration_ms": 12,
                "status": 500,
                "reason": "http_500",
            }
        ]


async def test_the_quarantine_tells_why_and_neither_proof_nor_body(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        refusal = await api.refuse(a_body())
        other = await api.refuse(a_body(), source=GONE, after_s=1)
        page = await api.get(f"/api/v1/quarantine?source={IDENFY}")
        assert page == {
            "data": [
                {
                    "id": refusal,
                    "source": "idenfy-prod",
                    "received_at": "2025-11-21T08:00:00.000000Z",
                    "reason": "signature_mismatch",
                    "method": "POST",
                    "url": "https://hooks.example.com/in/idenfy-prod",
                    "remote": "203.0.113.9",
                    "content_type": "application/json",
                    "body_bytes": len(a_body()),
                    "released_at": None,
                    "held": False,
                }
            ],
            "next": None,
        }
        got = await pages(api, "/api/v1/quarantine", 1)
        assert [row["id"] for page in got for row in page] == [other, refusal]  # type: ignore[index]


@pytest.mark.parametrize(
    ("what", "ids"), [("sources", [one.id for one in SOURCES]), ("endpoints", [one.id for one in ENDPOINTS])]
)
async def test_registrations_are_shown_with_their_origin_and_without_secrets(
    tmp_path: Path, what: str, ids: list[str]
) -> None:
    async with served(tmp_path) as api:
        page = await api.get(f"/api/v1/{what}")
        assert [row["id"] for row in page["data"]] == ids
        assert {row["origin"] for row in page["data"]} == {"file"}
        assert SECRET not in json.dumps(page)
        assert await api.get(f"/api/v1/{what}/{ids[1]}") == page["data"][1]
        got = await pages(api, f"/api/v1/{what}", 1)
        assert [len(page) for page in got] == [1, 1]


async def test_health_needs_no_key_and_tells_which_check_failed(tmp_path: Path) -> None:
    from hookseal.api.health import Check

    async with served(tmp_path) as api:
        for path in ("/healthz", "/readyz"):
            response, body = await api.ask(path, key=None)
            assert (response.status, json.loads(body)["status"]) == (200, "ok")
        api.health.checks = [Check("store", False, "store_unavailable"), Check("keys", True)]
        response, body = await api.ask("/readyz", key=None)
        assert response.status == 503
        assert int(response.headers["Retry-After"]) > 0
        assert json.loads(body)["checks"] == [
            {"name": "store", "ok": False, "detail": "store_unavailable"},
            {"name": "keys", "ok": True, "detail": ""},
        ]
        assert (await api.ask("/healthz", key=None))[0].status == 200


async def test_metrics_need_a_key_unless_management_has_a_listener_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        assert (await api.ask("/metrics", key=None))[0].status == 401
        api.metrics.answered(IDENFY, 200)
        await api.accept(a_body(), endpoints=[CORE])
        response, body = await api.ask("/metrics")
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain")
        assert b'hookseal_received_total{source="idenfy-prod",status="200"} 1.0' in body
        assert b'hookseal_deliveries_pending{endpoint="core"} 1.0' in body
        assert PERSON.encode() not in body
    async with served(tmp_path, metrics_need_key=False) as api:
        assert (await api.ask("/metrics", key=None))[0].status == 200


async def test_head_has_the_headers_of_get_and_no_body(tmp_path: Path) -> None:
    async with served(tmp_path) as api:
        response, body = await api.ask("/api/v1/events", "HEAD")
        assert (response.status, body) == (200, b"")
        assert response.headers["Content-Type"] == "application/json"
