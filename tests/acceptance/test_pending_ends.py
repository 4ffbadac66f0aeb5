"""Deliveries of an endpoint that never consents, in a gateway that runs for more than a month.

Oracles: the API and the metrics of the running gateway. The clock is given; the month takes seconds.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from gateways import API_KEY, Running, running
from test_receiver_requirements import send, settings, source

from hookseal.clock import GivenClock, from_unix
from hookseal.model import EndpointId
from hookseal.settings import EndpointSettings, HandshakeSettings, SigningSettings

NOW = 1_780_000_000
DAY_S = 86_400
STEPS_A_DAY = 8


async def deliveries(gateway: Running) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await gateway.get("/api/v1/deliveries"))["data"]
    return rows


async def metric(gateway: Running, name: str) -> float:
    key = {"Authorization": f"Bearer {API_KEY}"}
    async with ClientSession(headers=key) as session, session.get(gateway.url + "/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return max((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name + "{")), default=0.0)


@pytest.mark.parametrize("days", [30, 3])
async def test_a_delivery_to_an_endpoint_that_never_consents_ends_dead_after_its_days_and_not_before(
    tmp_path: Path, days: int
) -> None:
    """It was pending for ever, and retention kept the person's data for as long."""
    shown = settings(tmp_path, source("idenfy", "idenfy"))
    endpoint = EndpointSettings(
        id=EndpointId("silent"),
        url="http://127.0.0.1:9/hooks",
        handshake=HandshakeSettings(kind="cloudevents"),
        signing=SigningSettings(scheme="none"),
    )
    made = replace(
        shown,
        endpoints=(endpoint,),
        store=replace(shown.store, pending_days=days),
    )
    clock = GivenClock(from_unix(NOW))
    async with running(made, clock=clock) as gateway:
        assert (await send(gateway, "idenfy", json.dumps({"scanRef": "s"}).encode())).status == 200
        ages = []
        for step in range((days + 30) * STEPS_A_DAY):
            [delivery] = await deliveries(gateway)
            if delivery["state"] != "pending":
                break
            ages.append(step / STEPS_A_DAY)
            clock.advance(DAY_S / STEPS_A_DAY)
        assert (delivery["state"], delivery["last_reason"], delivery["attempt_count"]) == ("dead", "pending_expired", 0)
        assert max(ages) >= days
        assert await metric(gateway, "hookseal_deliveries_dead") == 1
