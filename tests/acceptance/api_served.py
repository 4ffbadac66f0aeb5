"""A management API on a real socket, over a real store, for the tests of it. Shared by `test_api_*.py`.

The doubles stand at the outermost rim: what judges a refused request again, and the checks of health.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from starlette.applications import Starlette

from hookseal.api.app import create_app
from hookseal.api.health import Check
from hookseal.api.metrics import Metrics
from hookseal.clock import GivenClock, Instant, from_unix, plus
from hookseal.destinations.issuer import IssuerRotation, KeptIssuer
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.ids import new_delivery_id, new_event_id, new_refusal_id
from hookseal.manage.operations import Management
from hookseal.manage.provider_test_call import ProviderTestCall
from hookseal.manage.reading import EventReader
from hookseal.manage.release import Released, ReleaseOutcome, StillRefused
from hookseal.manage.rotation import KeyRotation
from hookseal.message import Headers
from hookseal.model import (
    DeliveryId,
    DeliveryState,
    EndpointId,
    EventId,
    ProviderId,
    Reason,
    RefusalId,
    SourceId,
)
from hookseal.receive.own_events import Publisher
from hookseal.sealing import Keyring
from hookseal.settings import EndpointSettings, SigningSettings, SourceSettings
from hookseal.store.port import (
    AttemptRow,
    Lease,
    NewDelivery,
    NewEvent,
    NewRequest,
    Refusal,
    Result,
    Store,
    StoredEvent,
)
from hookseal.store.sqlite import SqliteStore
from hookseal.web.server import serving

KEY = "key-canary-5d0c1b7e93"
SECRET = "secret-canary-c41f0a6d22"
PERSON = "191212121212"
"""The personal number of the seed documents: it stands in every body, and may stand in no error and no figure."""

KEYRING = Keyring((("k1", b"k" * 32),))
NOW = from_unix(1_763_712_000)
IDENFY, GONE = SourceId("idenfy-prod"), SourceId("gone")
CORE, NARROW = EndpointId("core"), EndpointId("narrow")

SOURCES = (
    SourceSettings(id=IDENFY, provider=ProviderId("idenfy"), secrets=(SECRET.encode(),)),
    SourceSettings(id=SourceId("zs"), provider=ProviderId("zignsec"), secrets=(SECRET.encode(),)),
)
SIGNING = SigningSettings(scheme="standard_webhooks", secrets=(SECRET.encode(),))
ENDPOINTS = (
    EndpointSettings(id=CORE, url=f"https://core.example.com/hooks?token={SECRET}", signing=SIGNING),
    EndpointSettings(id=NARROW, url="https://narrow.example.com/", signing=SIGNING, types=("identity.*",)),
)

COMPLETED = "identity.verification.completed"


@dataclass
class Judge:
    """Stands for the receiving side: says what it is told to, and stores through the store's own accept."""

    store: Store
    still: Reason | None = None
    error: Exception | None = None
    outcome: ReleaseOutcome | None = None

    async def __call__(self, refusal: Refusal) -> ReleaseOutcome:
        if self.error is not None:
            raise self.error
        if self.outcome is not None:
            return self.outcome
        if self.still is not None:
            return StillRefused(self.still)
        request = NewRequest(
            source=refusal.source,
            received_at=refusal.received_at,
            headers=refusal.headers,
            body=refusal.body,
            events=(new_event(refusal.body, refusal.received_at),),
        )
        return Released(await self.store.accept(request))


class Unplanned:
    """Stands for the delivery engine: there is nobody to deliver to."""

    def plan(self, source: SourceId, types: Sequence[str]) -> tuple[tuple[NewDelivery, ...], ...]:
        return tuple(() for _ in types)

    def stored(self, event: StoredEvent, deliveries: Sequence[NewDelivery]) -> None:
        return None

    def abandoned(self, deliveries: Sequence[NewDelivery]) -> None:
        return None


@dataclass
class GivenHealth:
    checks: Sequence[Check] = (Check("store", True),)
    error: Exception | None = None

    async def live(self) -> Sequence[Check]:
        return [Check("process", True)]

    async def ready(self) -> Sequence[Check]:
        if self.error is not None:
            raise self.error
        return self.checks


@dataclass
class Served:
    """One running API and what stands behind it."""

    url: str
    http: aiohttp.ClientSession
    app: Starlette
    store: Store
    management: Management
    clock: GivenClock
    judge: Judge
    health: GivenHealth
    metrics: Metrics
    woken: list[None] = field(default_factory=list)

    async def ask(
        self, path: str, method: str = "GET", key: str | None = KEY, **named: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        headers = dict(named.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        async with self.http.request(
            method, self.url + path, headers=headers, allow_redirects=False, **named
        ) as response:
            return response, await response.read()

    async def get(self, path: str, **named: Any) -> Any:
        response, body = await self.ask(path, **named)
        assert response.status == 200, body
        return json.loads(body)

    async def accept(
        self,
        body: bytes,
        *,
        source: SourceId = IDENFY,
        type: str = COMPLETED,
        subject: str | None = None,
        after_s: float = 0,
        endpoints: Sequence[EndpointId] = (),
        headers: Headers = ((b"content-type", b"application/json"),),
        lease: Lease | None = None,
    ) -> tuple[EventId, list[DeliveryId]]:
        """Store one request of one event as the receiving side does."""
        at = plus(NOW, after_s)
        deliveries = tuple(
            NewDelivery(
                id=new_delivery_id(at),
                endpoint=endpoint,
                due_at=at,
                lease=lease,
                lease_until=None if lease is None else plus(at, 60),
            )
            for endpoint in endpoints
        )
        event = new_event(body, at, type=type, subject=subject, deliveries=deliveries)
        [stored] = await self.store.accept(
            NewRequest(source=source, received_at=at, headers=headers, body=body, events=(event,))
        )
        return stored.event, [one.id for one in deliveries]

    async def try_once(self, delivery: DeliveryId, lease: Lease, state: DeliveryState, reason: str | None) -> None:
        result = Result(
            delivery=delivery,
            lease=lease,
            attempt=AttemptRow(number=1, started_at=NOW, duration_ms=12, status=500 if reason else 200, reason=reason),
            state=state,
            due_at=None,
        )
        assert await self.store.record(result)

    async def refuse(self, body: bytes, *, source: SourceId = IDENFY, after_s: float = 0) -> RefusalId:
        at = plus(NOW, after_s)
        refusal = Refusal(
            id=new_refusal_id(at),
            source=source,
            received_at=at,
            reason=Reason.SIGNATURE_MISMATCH.value,
            method="POST",
            url=f"https://hooks.example.com/in/{source}?access_token={SECRET}",
            remote="203.0.113.9",
            headers=((b"content-type", b"application/json; charset=utf-8"), (b"idenfy-signature", SECRET.encode())),
            body=body,
        )
        await self.store.quarantine(refusal)
        return refusal.id


def new_event(
    body: bytes,
    at: Instant,
    *,
    type: str = COMPLETED,
    subject: str | None = None,
    deliveries: tuple[NewDelivery, ...] = (),
    item: int = 0,
) -> NewEvent:
    digest = hashlib.sha256(body + bytes([item])).digest()
    return NewEvent(
        id=new_event_id(at),
        item=item,
        type=type,
        dedupe_key=digest,
        content=digest,
        subject=subject,
        deliveries=deliveries,
    )


def a_body(number: int = 0, **more: Any) -> bytes:
    return json.dumps(
        {
            "scanRef": f"scan-{number}",
            "clientId": "c",
            "status": {"overall": "APPROVED"},
            "data": {"docFirstName": "LARS", "docPersonalCode": PERSON},
            **more,
        }
    ).encode()


@asynccontextmanager
async def served(
    folder: Path,
    *,
    keys: tuple[bytes, ...] = (KEY.encode(),),
    open_access: bool = False,
    metrics_need_key: bool = True,
    body_timeout_s: float = 10.0,
) -> AsyncIterator[Served]:
    clock = GivenClock(NOW)
    store = SqliteStore(folder / "hookseal.db", KEYRING)
    await store.open()
    try:
        judge, health = Judge(store), GivenHealth()
        metrics = Metrics([one.id for one in SOURCES], [one.id for one in ENDPOINTS], clock)
        woken: list[None] = []
        keyfile = folder / "hookseal.key"
        keyfile.write_text(KEYRING.dump())
        keyfile.chmod(0o600)

        async def rotate_issuer() -> IssuerRotation:
            issuer = KeptIssuer(store, clock, key_days=90)
            await issuer.open(make=True)
            return await issuer.rotate()

        management = Management(
            store,
            sources=SOURCES,
            endpoints=ENDPOINTS,
            read=EventReader(SOURCES),
            judge_again=judge,
            clock=clock,
            public_url="https://hooks.example.com",
            wake=lambda: woken.append(None),
            rotation=KeyRotation(store, keyfile, clock, is_shared=False),
            rotate_issuer=rotate_issuer,
            publish=Publisher(store, Unplanned(), clock, metrics).publish,
            test_call=ProviderTestCall("zignsec", lambda: (), GuardedClient(EgressPolicy()), clock),
        )
        app = create_app(
            management,
            keys,
            open_access,
            health,
            metrics,
            metrics_need_key=metrics_need_key,
            body_timeout_s=body_timeout_s,
        )
        async with serving(app, "127.0.0.1:0") as address, aiohttp.ClientSession() as http:
            yield Served(address.url, http, app, store, management, clock, judge, health, metrics, woken)
    finally:
        await store.close()
