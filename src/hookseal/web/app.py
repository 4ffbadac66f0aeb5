"""The gateway put together: the one place where concrete parts meet.

It opens the parts in the order in which they need each other and closes them the other way round; what a part does is
the part's own affair. A gateway is an ASGI app: `/in/…` goes to the receiving side, all else to management. It can be
mounted in an app of the user's own, where handlers (`on`) take events in the same process.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from hookseal.api import provider_test_call
from hookseal.api.app import create_app
from hookseal.api.health import CheckState, HealthChecks
from hookseal.api.metrics import Metrics
from hookseal.clock import Clock, Instant, SystemClock
from hookseal.delivery.endpoint import Endpoint
from hookseal.delivery.endpoint import build as build_endpoint
from hookseal.delivery.engine import Engine
from hookseal.destinations.handler import Handler, endpoint_of
from hookseal.destinations.issuer import NAMESPACE as ISSUER_KEYS
from hookseal.destinations.issuer import KeptIssuer
from hookseal.destinations.registry import destinations
from hookseal.destinations.subscriptions import SHELF as CONSENTS
from hookseal.destinations.subscriptions import State, Subscription, Subscriptions
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Egress
from hookseal.errors import CannotDecide, ConfigurationError, StoreUnavailable
from hookseal.ids import RandomBytes
from hookseal.logs import get_logger
from hookseal.manage.change_feed import ChangeFeed
from hookseal.manage.configuration import load
from hookseal.manage.operations import Management
from hookseal.manage.pending import PendingExpiry
from hookseal.manage.provider_test_call import ProviderTestCall
from hookseal.manage.reading import shown
from hookseal.manage.registrations import NAMESPACES, Registrations
from hookseal.manage.release import Released, ReleaseOutcome, SourceGone, StillRefused
from hookseal.manage.retention import Ages, Retention
from hookseal.manage.rotation import KeyRotation
from hookseal.manage.stored_registrations import ShadowedRegistration, UnreadableRegistration
from hookseal.manage.tryout import Tryouts
from hookseal.message import Request
from hookseal.model import EndpointId, Flag, SourceId
from hookseal.receive import core, source
from hookseal.receive.answers import Answer, Case, answer
from hookseal.receive.keys import KeySets, Unavailable
from hookseal.receive.own_events import Publisher
from hookseal.receive.service import Receiver, Refresh
from hookseal.receive.source import Source
from hookseal.sealing import Keyring
from hookseal.settings import Settings, SourceSettings
from hookseal.settings.table import Section
from hookseal.simulate.good_request import good_request
from hookseal.store.keyfile import load_or_create
from hookseal.store.port import Refusal, Store
from hookseal.store.postgres import PostgresStore
from hookseal.store.sqlite import SqliteStore
from hookseal.time_source import EarliestClock, Evidence, TimeSource
from hookseal.web.health_answers import HEALTH_PATHS, respond_with_checks
from hookseal.web.live import Live, Parts
from hookseal.web.publishing import KeySet, Publishing, is_published
from hookseal.web.receiving import PREFIX, Limits, Receive, Receiving, Scope, Send, own_path, respond
from hookseal.web.server import parse_listen
from hookseal.web.store_probe import StoreProbe
from hookseal.web.supervision import Supervisor
from hookseal.web.timing import Timing
from hookseal.web.told import Told

log = get_logger(__name__)

_FIRST_START_PAUSE_S, _LONGEST_START_PAUSE_S = 0.25, 5.0
"""Between two attempts to reach the database at the start."""

TEST_CALL = provider_test_call.PATH.encode()
"""On both listeners: who calls it receives our deliveries and holds no key of the API."""

_NAMED_MOST = 20
"""Registrations that `/readyz` names."""

H = TypeVar("H", bound=Handler)


class Gateway:
    """An ASGI app that receives, keeps and delivers.

    settings  a configuration file, or settings made in code.
    dev       the API is open to programs of this machine when no key is configured.
    Parts that tests hand in: clock, random (jitter), random_bytes (ids of deliveries, leases), egress.
    """

    def __init__(
        self,
        settings: Settings | str | Path,
        *,
        dev: bool = False,
        clock: Clock | None = None,
        random: random.Random | None = None,
        random_bytes: RandomBytes = os.urandom,
        egress: Egress | None = None,
    ) -> None:
        self.settings = settings if isinstance(settings, Settings) else load(Path(settings), dev=dev)
        self._dev = dev
        self._clock = clock or SystemClock()
        # A clock that is given may show any time, so that nothing of the world contradicts it.
        self.time = TimeSource(self._clock, compare=clock is None and self.settings.server.check_clock)
        self._random = random or _system_random()
        self._random_bytes = random_bytes
        self._given_egress = egress
        self._handlers: dict[EndpointId, tuple[Endpoint, Handler]] = {}
        self._stack: AsyncExitStack | None = None
        self._store: Store | None = None
        self._management: Any = None
        self._publishing: Publishing | None = None
        self._start_cancelled = asyncio.Event()
        self.store_is_suspect = False
        """Whether the start created a new store for keys that were there before: its volume may not be mounted."""
        self._subscriptions: Subscriptions | None = None
        self._warned = False
        server = self.settings.server
        self.metrics = Metrics(
            [row.id for row in self.settings.sources], [row.id for row in self.settings.endpoints], self._clock
        )
        self.receiving = Receiving(
            limits=Limits(
                max_headers=server.max_headers,
                max_header_bytes=server.max_header_bytes,
                body_timeout_s=server.body_timeout_s,
                max_reading=server.max_reading,
                max_in_flight=server.max_in_flight,
            ),
            trusted_proxies=[ip_network(proxy) for proxy in server.trusted_proxies],
            public_url=server.public_url,
            answered=self.metrics.answered,
        )
        self._live: Live | None = None
        for row in self.settings.sources:
            self._check_source(row)
        for endpoint in self.settings.endpoints:
            build_endpoint(endpoint)
        self.metrics.in_flight(lambda: self.receiving.in_flight)
        self.health = HealthChecks()
        """The checks behind `/healthz` and `/readyz`. Each part adds its own when it starts."""
        self.supervisor = Supervisor(self.health)
        self.health.add_readiness("receiving", self._receiving_state)

    def on(self, type: str = "*", *, source: str = "*") -> Callable[[H], H]:
        """Hand events to an async function of this process, after the answer was sent and from the durable store.

        type, source  globs over the normalised type and the source's id.
        An exception makes the delivery fail; it is tried again as for any endpoint. Register before the start.
        """
        if callable(type):
            raise TypeError("write @gateway.on(), with parentheses")
        for name, glob in (("type", type), ("source", source)):
            if not isinstance(glob, str):
                raise TypeError(f"{name} is one glob, a str; for several globs, decorate the handler several times")

        def register(handler: H) -> H:
            if self._stack is not None:
                raise RuntimeError("register handlers before the gateway is started")
            known = self._handlers.get(endpoint_of(handler).id)
            types = (type,) if known is None else (*known[0].types, type)
            sources = (source,) if known is None else (*known[0].sources, source)
            endpoint = endpoint_of(handler, types, sources)
            self._handlers[endpoint.id] = (endpoint, handler)
            return handler

        return register

    # --- life -------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> "Gateway":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """For `FastAPI(lifespan=gateway.lifespan)`: a mounted app gets no lifespan from its parent."""
        async with self:
            yield

    @property
    def store(self) -> Store:
        """The open store, for whoever looks into it from the same process. RuntimeError before the start."""
        if self._store is None:
            raise RuntimeError("the gateway is not started")
        return self._store

    @property
    def subscriptions(self) -> Subscriptions:
        """Which endpoints have consented. RuntimeError before the start."""
        if self._subscriptions is None:
            raise RuntimeError("the gateway is not started")
        return self._subscriptions

    async def start(self) -> None:
        """Open the store, void what a dead process left leased, begin to deliver, then to receive.

        A database that cannot be reached is waited for, `[store] start_timeout_s` long: StoreUnavailable after that,
        or after `cancel_start`.
        """
        row, started_at, pause_s = self.settings.store, self._clock.monotonic(), _FIRST_START_PAUSE_S
        while True:
            try:
                await self._start()
                return
            except StoreUnavailable as error:
                remaining_s = row.start_timeout_s - (self._clock.monotonic() - started_at)
                # A file that cannot be opened is the operator's to repair; nothing is won by waiting.
                if row.is_embedded or remaining_s <= 0 or self._start_cancelled.is_set():
                    raise
                log.warning("the store cannot be reached, the start waits for it", code=error.code)
            await self._clock.wait(self._start_cancelled, min(pause_s, remaining_s))
            pause_s = min(pause_s * 2, _LONGEST_START_PAUSE_S)

    def cancel_start(self) -> None:
        """A `start` that waits for the database gives up."""
        self._start_cancelled.set()

    async def _start(self) -> None:
        self.supervisor.begin_start()
        async with AsyncExitStack() as stack:
            store, keys_are_new = self._open_store()
            await store.open()
            stack.push_async_callback(store.close)
            self.store_is_suspect = store.created and not keys_are_new
            if self.store_is_suspect:
                log.warning("the store is new and empty, but its keys are not; is this the right volume or database")
            voided = await self._void_leases(store)
            egress = self._open_egress()
            stack.push_async_callback(egress.close)
            timing = Timing(self.time, store, self._clock, lambda: key_sets.refresh())
            await timing.open()
            dated = timing.dated(egress, Evidence.ENDPOINT)
            feed = ChangeFeed(store, self._clock, shared=not self.settings.store.is_embedded)
            # The earliest time: a clock that is wrong must not delete a key whose tokens are still valid elsewhere.
            issuer = KeptIssuer(
                store,
                EarliestClock(self.time),
                key_days=self.settings.server.issuer_key_days,
                view_age_s=feed.view_age_s,
            )
            handlers = {id: handler for id, (_, handler) in self._handlers.items()}
            live = self._live = Live(
                store,
                issuer,
                self.metrics,
                [endpoint for endpoint, _ in self._handlers.values()],
                lambda endpoints: destinations(endpoints, dated, handlers, issuer.keys),
                self.settings.server.max_body_bytes,
            )
            registrations = self._register(store, live)
            await registrations.open()
            # Before the registrations: an endpoint that needs tokens finds the key that another node made for it.
            feed.subscribe((ISSUER_KEYS,), issuer.update)
            feed.subscribe(NAMESPACES, registrations.update)
            read = live.read
            await live.begin(registrations)
            endpoints = live.endpoints
            engine = Engine(
                store,
                endpoints,
                live.destinations,
                normalise=read,
                read_ahead=read.read_ahead,
                clock=self._clock,
                random=self._random,
                random_bytes=self._random_bytes,
                observer=Told(self.metrics),
            )

            def fetched(url: str, succeeded: bool) -> None:
                timing.key_set_fetched(url)
                self._key_set_fetched(url, succeeded)

            key_sets = KeySets(timing.dated(egress, Evidence.KEY_SET), self._clock, fetched=fetched)
            stack.push_async_callback(key_sets.close)
            receiver = Receiver(
                sources=live.sources,
                store=store,
                planner=engine,
                key_sets=key_sets,
                clock=self._clock,
                time=self.time,
                observer=self.metrics,
                answer_timeout_s=self.settings.server.answer_timeout_s,
                egress=egress,
                refresh=_refresh_source(registrations, feed),
                unreadable=live.unreadable_sources,
            )
            await engine.start()
            stack.push_async_callback(engine.stop, self.settings.server.drain_s)
            stack.push_async_callback(receiver.drain)
            subscriptions = Subscriptions(
                store, egress, engine, self._clock, public_url=self.settings.server.public_url, refresh=feed.refresh
            )
            feed.subscribe((CONSENTS,), subscriptions.update)
            await subscriptions.start(endpoints)
            stack.push_async_callback(subscriptions.stop)
            self._subscriptions = subscriptions
            self._publishing = Publishing(_key_set_of(live, issuer, feed), subscriptions.call_back)
            rotation = self._rotation(store)
            rotation.start()
            stack.push_async_callback(rotation.stop)
            pending = PendingExpiry(
                store, engine.called_endpoints, self.settings.store.pending_days, self._clock, self.metrics
            )
            retention = Retention(
                store,
                Ages.of(self.settings.store),
                self._clock,
                time=self.time,
                counted=timing.counted,
                pending=pending,
            )
            retention.start()
            stack.push_async_callback(retention.stop)
            timing.expect_key_sets(live.key_set_urls)
            key_sets.start(live.key_set_urls)
            timing.watch.start()
            stack.push_async_callback(timing.watch.stop)
            timing.measured_by(self.metrics)
            self.health.add_readiness("clock", timing.state)
            self.supervisor.watch("clock_watch", timing.watch.loop)
            live.connect(Parts(receiver=receiver, engine=engine, subscriptions=subscriptions, key_sets=key_sets))
            registrations.start()
            stack.push_async_callback(registrations.stop)
            issuer.start()
            stack.push_async_callback(issuer.stop)
            self.supervisor.watch("issuer", issuer.loop)
            feed.start()
            stack.push_async_callback(feed.stop)
            if feed.loop is not None:
                self.supervisor.watch("change_feed", feed.loop)
            self._management = self._manage(store, egress, receiver, engine, registrations, rotation, issuer)
            self._supervise(store, engine, registrations, subscriptions, retention, key_sets)
            probe = StoreProbe(store, self._clock)
            stack.push_async_callback(probe.stop)
            self.health.add_readiness("store", probe.check)
            self.receiving.receiver = receiver
            self._store = store
            self._stack = stack.pop_all()
        log.info("started, leases of a former process voided", count=voided)

    def leave(self) -> None:
        """We will stop soon: go on, but tell balancers to look elsewhere, and clients not to keep their connections."""
        self.receiving.leaving = True

    async def stop(self) -> None:
        """Drain: finish what is being delivered within the grace, give the rest back, close the store."""
        self.supervisor.begin_stop()
        stack, self._stack = self._stack, None
        self.receiving.receiver = None
        self._store = None
        if stack is not None:
            await stack.aclose()
            log.info("stopped")

    # --- ASGI -------------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
        elif (path := own_path(scope)).startswith(PREFIX):
            self._warn_if_unstarted()
            await self.receiving(scope, receive, send)
        elif is_published(path):
            await self._publish(scope, path, receive, send)
        elif self.settings.server.manage_listen is not None and path != TEST_CALL:
            await respond(send, answer(Case.UNKNOWN_SOURCE))
        else:
            await self.management(scope, receive, send)

    async def management(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI app of the API, metrics and health, for a listener of their own."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http" and is_published(path := own_path(scope)):
            await self._publish(scope, path, receive, send)
        elif self._stack is None or self._management is None:
            if scope["type"] == "http" and (probed := HEALTH_PATHS.get(own_path(scope))) is not None:
                await respond_with_checks(await probed(self.health), scope, receive, send)
                return
            self._warn_if_unstarted()
            await respond(send, answer(Case.STARTING))
        else:
            await self._management(scope, receive, _last_of_its_connection(send) if self.receiving.leaving else send)

    async def _publish(self, scope: Scope, path: bytes, receive: Receive, send: Send) -> None:
        """The same on both listeners: these are for the receivers of our deliveries, who hold no key."""
        if self._stack is None or self._publishing is None:
            self._warn_if_unstarted()
            await respond(send, answer(Case.STARTING))
        else:
            await self._publishing(scope, path, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _warn_if_unstarted(self) -> None:
        if self._stack is None and not self._warned:
            self._warned = True
            log.warning("asked before the start")

    # --- parts ------------------------------------------------------------------------------------------------------

    def _check_source(self, row: SourceSettings) -> None:
        try:
            source.build(row, self.settings.server.max_body_bytes)
        except ConfigurationError as error:
            raise ConfigurationError(
                str(self.settings.file or ""), f'[[source]] "{row.id}" {error.key}', error.remedy
            ) from error

    def _register(self, store: Store, live: Live) -> Registrations:
        row = self.settings.egress
        return Registrations(
            store,
            sources=self.settings.sources,
            endpoints=self.settings.endpoints,
            clock=EarliestClock(self.time),
            egress=EgressPolicy(allow=row.allow, allow_http=row.allow_http),
            public_url=self.settings.server.public_url,
            apply=live.use,
            shared=not self.settings.store.is_embedded,
        )

    def _open_store(self) -> tuple[Store, bool]:
        """The store, not open yet, and whether its keyring was created just now."""
        row = self.settings.store
        key_path, observer = row.key_path, _StoreObserver(self)
        keys_are_new = key_path is not None and not key_path.exists()
        # A key file belongs to a store: without one that may be created, none is created for it.
        exists = not row.is_embedded or not row.create or (row.path.exists() and row.path.stat().st_size > 0)
        keyring = Keyring.parse(row.keyring) if key_path is None else load_or_create(key_path, exists)
        store: Store
        if row.is_embedded:
            store = SqliteStore(row.path, keyring, clock=self._clock, observer=observer, create=row.create)
        else:
            store = PostgresStore(row.url, keyring, clock=self._clock, observer=observer, create=row.create)
        return store, keys_are_new

    def _supervise(
        self,
        store: Store,
        engine: Engine,
        registrations: Registrations,
        subscriptions: Subscriptions,
        retention: Retention,
        key_sets: KeySets,
    ) -> None:
        for part in store.parts:
            self.supervisor.expect(part)
        for name, task in engine.loops.items():
            self.supervisor.watch(name, task)
        self.supervisor.watch("registrations", registrations.loop)
        self.health.add_readiness("registrations_readable", lambda: _named("unreadable", registrations.unreadable))
        self.health.add_readiness("registrations_unique", lambda: _named("id of the file", registrations.shadowed))
        self.supervisor.watch("subscriptions", subscriptions.loop)
        self.supervisor.watch("retention", retention.loop)
        self.supervisor.watch("key_sets", key_sets.loop)

    def _receiving_state(self) -> CheckState:
        if self.receiving.leaving:
            return CheckState(False, "leaving")
        is_started = self.receiving.receiver is not None
        return CheckState(is_started, "" if is_started else "starting")

    def _consent(self, endpoint: EndpointId) -> Subscription | None:
        return None if self._subscriptions is None else self._subscriptions.states().get(endpoint)

    async def _ask(self, endpoint: EndpointId) -> State | None:
        """Where its consent stands; one that has not consented is asked now."""
        known = self._consent(endpoint)
        if known is None or known.state is State.ACTIVE:
            return None if known is None else known.state
        return (await self.subscriptions.ask(endpoint)).state

    async def _void_leases(self, store: Store) -> int:
        """How many were voided. A full disk does not keep us from starting: leases lapse by themselves in a minute."""
        try:
            return await store.void_leases(self._clock.now())
        except StoreUnavailable as error:
            log.warning("leases of a former process not voided, they will lapse", code=error.code)
            return 0

    def _key_set_fetched(self, url: str, succeeded: bool) -> None:
        for one in self._live.sources.values() if self._live is not None else ():
            if one.jwks_url == url:
                self.metrics.key_set_fetched(one.id, succeeded)

    def _open_egress(self) -> Egress:
        if self._given_egress is not None:
            return self._given_egress
        row = self.settings.egress
        listeners = [text for text in (self.settings.server.listen, self.settings.server.manage_listen) if text]
        own = tuple(parse_listen(text) for text in listeners if _is_address(parse_listen(text)[0]))
        return GuardedClient(EgressPolicy(allow=row.allow, allow_http=row.allow_http, own=own))

    def _rotation(self, store: Store) -> KeyRotation:
        row = self.settings.store
        return KeyRotation(store, row.key_path, self._clock, is_shared=not row.is_embedded)

    def _manage(
        self,
        store: Store,
        egress: Egress,
        receiver: Receiver,
        engine: Engine,
        registrations: Registrations,
        rotation: KeyRotation,
        issuer: KeptIssuer,
    ) -> Any:
        assert self._live is not None
        live, server, read = self._live, self.settings.server, shown(self._live.read)

        async def judge_again(refusal: Refusal) -> ReleaseOutcome:
            return await release(receiver, refusal)

        def example(of: Source, now: Instant) -> Request | None:
            return good_request(of, now, server.public_url)

        management = Management(
            store,
            registrations=registrations,
            read=read,
            judge_again=judge_again,
            clock=self._clock,
            public_url=server.public_url,
            wake=engine.wake,
            handlers=[endpoint for endpoint, _ in self._handlers.values()],
            consent=self._consent,
            publish=Publisher(store, engine, self.time, self.metrics).publish,
            tryouts=Tryouts(
                receiver=receiver,
                read=read,
                example=example,
                ask=self._ask,
                begin=engine.begin,
                clock=self._clock,
            ),
            destination_of=live.destination_of,
            test_call=ProviderTestCall("zignsec", lambda: registrations.endpoints, egress, self._clock),
            rotation=rotation,
            suspended=live.suspended,
            rotate_issuer=issuer.rotate,
        )
        return create_app(
            management,
            self.settings.api.keys,
            self._dev and not self.settings.api.keys,
            self.health,
            self.metrics,
            metrics_need_key=server.manage_listen is None,
        )


class _StoreObserver:
    """What the store reports, to the metrics and to the supervisor."""

    def __init__(self, gateway: Gateway) -> None:
        self.committed = gateway.metrics.committed
        self.part_ended = gateway.supervisor.note_end


async def release(receiver: Receiver, refusal: Refusal) -> ReleaseOutcome:
    """Judge a quarantined request with today's secrets as of the time it was received; store it when it holds."""
    # As it is now: another node may have given the source the secret that the request is signed with.
    source = await receiver.look_up(refusal.source)
    if isinstance(source, Answer):
        if source.case is Case.UNKNOWN_SOURCE:
            return SourceGone()
        if source.case is Case.SOURCE_UNREADABLE:
            raise CannotDecide("the source's registration cannot be read by this version")
        raise CannotDecide("changes of other nodes cannot be read now; try again")
    request = Request(
        method=refusal.method, headers=refusal.headers, body=refusal.body, url=refusal.url, remote=refusal.remote
    )
    match await receiver.judge(source, request, refusal.received_at):
        case Unavailable() | core.Undecided():
            raise CannotDecide("the issuer's keys cannot be had now")
        case core.Refusal(reason):
            return StillRefused(reason)
        case core.Genuine() as genuine:
            flags = (Flag.STALE.value, Flag.RELEASED.value) if genuine.is_stale else (Flag.RELEASED.value,)
            return Released(await receiver.store(source, request, genuine, refusal.received_at, flags))


def _named(state: str, registrations: Sequence[UnreadableRegistration | ShadowedRegistration]) -> CheckState:
    """Never fails: the gateway is ready for everything else, and would be out of service on every node."""
    named = [f"{one.section} {one.id}" for one in registrations]
    more = [f"and {len(named) - _NAMED_MOST} more"] if len(named) > _NAMED_MOST else []
    return CheckState(True, ", ".join([f"{state}: " + ", ".join(named[:_NAMED_MOST]), *more]) if named else "")


def _key_set_of(live: Live, issuer: KeptIssuer, feed: ChangeFeed) -> KeySet:
    async def key_set(tenant: str) -> bytes | None:
        # Another node may have made the endpoint: 404 only after a look that began after the request.
        if tenant not in live.tenants or issuer.is_stale:
            await feed.refresh()
        return issuer.key_set() if tenant in live.tenants else None

    return key_set


def _refresh_source(registrations: Registrations, feed: ChangeFeed) -> Refresh:
    async def refresh(id: SourceId) -> None:
        if registrations.may_change_elsewhere(Section.SOURCE, id):
            await feed.refresh()

    return refresh


def _last_of_its_connection(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return sending


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _system_random() -> random.Random:
    return random.Random()  # noqa: S311 - for jitter, which needs no secrecy
