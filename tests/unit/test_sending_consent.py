"""Asking for consent: what is asked, when it is asked again, what is kept, and that no event goes out before it.

The asked side is a socket; the store is real; the gate is the engine's seam.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from delivery_parts import START, endpoint
from sending_capture import TABLES, Capture, Caught, capturing

from hookseal import probe
from hookseal.clock import GivenClock
from hookseal.delivery.endpoint import Endpoint
from hookseal.destinations.subscriptions import CALLBACK_S, WAITS_S, Callback, State, Subscriptions
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.errors import NotFound
from hookseal.model import EndpointId
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.settings import HandshakeSettings
from hookseal.store.sqlite import SqliteStore

ORIGIN = "eventgrid.azure.net"
CONSENT = HandshakeSettings(kind="cloudevents", origin=ORIGIN)
YES = (200, [("WebHook-Allowed-Origin", ORIGIN), ("WebHook-Allowed-Rate", "100")])
LOOPBACK = EgressPolicy(allow=("127.0.0.0/8",), allow_http=True)
ID = EndpointId("bankid")
KEYRING = Keyring.generate()
TOKEN = "a-token-of-the-tests"


@dataclass
class Gate:
    open: dict[EndpointId, int | None] = field(default_factory=dict)
    ever_open: set[EndpointId] = field(default_factory=set)

    def admit(self, endpoint: EndpointId, per_minute: int | None) -> None:
        self.open[endpoint] = per_minute
        self.ever_open.add(endpoint)

    async def close(self, endpoint: EndpointId) -> None:
        self.open.pop(endpoint, None)


@dataclass
class Asking:
    clock: GivenClock
    gate: Gate
    subscriptions: Subscriptions
    store: SqliteStore

    async def until(self, state: State) -> None:
        async with asyncio.timeout(20):
            while self.subscriptions.state(ID) is not state:
                await asyncio.sleep(0)


@asynccontextmanager
async def asking(
    folder: Path, *endpoints: Endpoint, clock: GivenClock | None = None, public_url: str | None = None
) -> AsyncIterator[Asking]:
    clock = clock or GivenClock(START)
    store = SqliteStore(folder / "hookseal.db", KEYRING, clock=clock)
    await store.open()
    client, gate = GuardedClient(LOOPBACK), Gate()
    subscriptions = Subscriptions(store, client, gate, clock, public_url=public_url, new_token=lambda: TOKEN)
    try:
        await subscriptions.start(endpoints)
        yield Asking(clock, gate, subscriptions, store)
    finally:
        await subscriptions.stop()
        await client.close()
        await store.close()


def at(capture: Capture, **changes: Any) -> Endpoint:
    return endpoint(ID, **{"url": capture.url(), "handshake": CONSENT, **changes})


@pytest.mark.requirement("B03")
async def test_the_very_url_is_asked_with_our_name_and_without_a_credential(tmp_path: Path) -> None:
    async with capturing(lambda one: YES) as capture, asking(tmp_path, at(capture)) as made:
        one = await capture.next()
        assert one.line == "OPTIONS /a?b=1 HTTP/1.1"
        assert one.one("WebHook-Request-Origin") == ORIGIN
        assert one.all("authorization") == []
        assert one.body == b""
        assert one.all("transfer-encoding") == []
        assert [name for name, _ in one.headers if name.lower().startswith("webhook-")] == ["WebHook-Request-Origin"]
        await made.until(State.ACTIVE)
        assert made.gate.open == {ID: 100}


@pytest.mark.requirement("B05", "B07", "B08")
@pytest.mark.parametrize("row", TABLES["handshake_sender"], ids=lambda row: row["id"])
async def test_only_a_consent_opens_the_gate(tmp_path: Path, row: dict[str, Any]) -> None:
    given = {"WebHook-Allowed-Origin": row["allowed_origin"], "WebHook-Allowed-Rate": row["allowed_rate"]}
    headers: Sequence[tuple[str, str]] = [(name, value) for name, value in given.items() if value is not None]
    async with (
        capturing(lambda one: (row["response_status"], headers)) as capture,
        asking(tmp_path, at(capture)) as made,
    ):
        await made.until(State.ACTIVE if row["handshake_ok"] else State.FAILED)
        expected = {ID: None if row["allowed_rate"] == "*" else int(row["allowed_rate"])} if row["handshake_ok"] else {}
        assert made.gate.open == expected
        assert [one.line.split()[0] for one in capture.caught] == ["OPTIONS"]


@pytest.mark.requirement("B08")
async def test_a_failed_endpoint_is_asked_again_by_schedule(tmp_path: Path) -> None:
    async with capturing(lambda one: (405, [])) as capture, asking(tmp_path, at(capture)) as made:
        await capture.next()
        await made.until(State.FAILED)
        for wait_s in (*WAITS_S, WAITS_S[-1]):
            await quiet(capture)
            made.clock.advance(wait_s - 1)
            await quiet(capture)
            assert capture.arrived.empty(), "asked too early"
            made.clock.advance(1)
            await capture.next()
            await failures(made, capture)
        capture.answer = lambda one: YES
        made.clock.advance(WAITS_S[-1])
        await made.until(State.ACTIVE)
        made.clock.advance(WAITS_S[-1] * 10)
        await quiet(capture)
        assert len(capture.caught) == len(WAITS_S) + 3, "an active endpoint is not asked again"


async def quiet(capture: Capture) -> None:
    """Let whatever is ready run: the event loop, threads, and what lies on the sockets."""
    for _ in range(10):
        await asyncio.to_thread(len, capture.caught)
        for _ in range(10):
            await asyncio.sleep(0)


async def failures(made: Asking, capture: Capture) -> None:
    async with asyncio.timeout(20):
        while made.subscriptions.states()[ID].failures != len(capture.caught):
            await asyncio.sleep(0)


@pytest.mark.requirement("B08")
async def test_it_may_be_asked_again_at_any_time_and_a_no_shuts_the_gate(tmp_path: Path) -> None:
    async with capturing(lambda one: YES) as capture, asking(tmp_path, at(capture)) as made:
        await made.until(State.ACTIVE)
        capture.answer = lambda one: (404, [])
        answered = await made.subscriptions.ask(ID)
        assert (answered.state, answered.status, answered.problem) == (State.FAILED, 404, "only 200 is a consent")
        assert made.gate.open == {}
        capture.answer = lambda one: YES
        assert (await made.subscriptions.ask(ID)).state is State.ACTIVE
        assert made.gate.open == {ID: 100}
        with pytest.raises(NotFound):
            await made.subscriptions.ask(EndpointId("another"))


async def test_a_restart_asks_nobody_who_has_consented(tmp_path: Path) -> None:
    async with capturing(lambda one: YES) as capture:
        async with asking(tmp_path, at(capture)) as made:
            await made.until(State.ACTIVE)
        async with asking(tmp_path, at(capture)) as made:
            assert made.gate.open == {ID: 100}
            await quiet(capture)
        assert len(capture.caught) == 1


@pytest.mark.parametrize("change", [{"url": "/other"}, {"origin": "someone.example"}])
async def test_another_url_or_name_needs_a_consent_of_its_own(tmp_path: Path, change: dict[str, str]) -> None:
    async with capturing(lambda one: YES) as capture:
        async with asking(tmp_path, at(capture)) as made:
            await made.until(State.ACTIVE)
        capture.answer = lambda one: (403, [])
        handshake = HandshakeSettings(kind="cloudevents", origin=change.get("origin", ORIGIN))
        changed = at(capture, url=capture.url(change.get("url", "/a?b=1")), handshake=handshake)
        async with asking(tmp_path, changed) as made:
            await made.until(State.FAILED)
            assert made.gate.open == {}
        assert len(capture.caught) == 2


async def test_a_restart_keeps_to_the_schedule_of_a_failure(tmp_path: Path) -> None:
    clock = GivenClock(START)
    async with capturing(lambda one: (500, [])) as capture:
        async with asking(tmp_path, at(capture), clock=clock) as made:
            await made.until(State.FAILED)
        async with asking(tmp_path, at(capture), clock=clock) as made:
            await quiet(capture)
            assert len(capture.caught) == 1
            clock.advance(WAITS_S[0])
            await capture.next()
            await capture.next()


async def test_our_public_host_is_the_name_where_none_is_given(tmp_path: Path) -> None:
    own = HandshakeSettings(kind="cloudevents")
    async with (
        capturing(lambda one: YES) as capture,
        asking(tmp_path, at(capture, handshake=own), public_url="https://hooks.example.com/gw"),
    ):
        assert (await capture.next()).one("WebHook-Request-Origin") == "hooks.example.com"


async def test_without_any_name_nobody_is_asked(tmp_path: Path) -> None:
    own = HandshakeSettings(kind="cloudevents")
    async with capturing(lambda one: YES) as capture, asking(tmp_path, at(capture, handshake=own)) as made:
        await made.until(State.FAILED)
        assert "public_url" in made.subscriptions.states()[ID].problem
        assert capture.caught == []


async def test_an_endpoint_that_answers_nobody_holds_up_no_other(tmp_path: Path) -> None:
    never = asyncio.Event()

    async def hang(caught: Caught) -> None:
        if caught.line.split()[1] == "/hangs":
            await never.wait()

    async with capturing(lambda one: YES) as capture:
        capture.before_answer = hang
        slow = endpoint("slow", url=capture.url("/hangs"), handshake=CONSENT)
        async with asking(tmp_path, slow, at(capture)) as made:
            await made.until(State.ACTIVE)
            assert made.subscriptions.state(EndpointId("slow")) is State.VALIDATING
            assert made.gate.open == {ID: 100}
        never.set()


async def test_an_endpoint_that_is_deleted_while_it_waits_to_be_asked_is_not_found(tmp_path: Path) -> None:
    """Eight are asked at a time. The ninth was deleted while it waited, and the caller got a KeyError."""
    answer = asyncio.Event()
    asked_lines: list[str] = []

    async def hang(caught: Caught) -> None:
        asked_lines.append(caught.line)
        await answer.wait()

    async with capturing(lambda one: YES) as capture:
        capture.before_answer = hang
        slow = [endpoint(f"slow-{number}", url=capture.url("/slow"), handshake=CONSENT) for number in range(8)]
        async with asking(tmp_path, *slow) as made:
            async with asyncio.timeout(20):
                while len(asked_lines) < len(slow):
                    await asyncio.sleep(0)
            await made.subscriptions.reconfigure([*slow, at(capture)])
            asked = asyncio.create_task(made.subscriptions.ask(ID))
            await asyncio.sleep(0)
            await made.subscriptions.reconfigure(slow)
            answer.set()
            with pytest.raises(NotFound):
                await asyncio.wait_for(asked, 20)
            assert ID not in made.subscriptions.states()


async def test_a_consent_that_is_stored_while_the_url_changes_does_not_open_the_gate(tmp_path: Path) -> None:
    """The receiver at the former URL consented. The URL changed before that was stored, and the gate was opened."""
    is_answered, is_held, go_on = threading.Event(), threading.Event(), threading.Event()

    def hold(step: Step) -> None:
        if step is Step.WRITE_BEGUN and is_answered.is_set():
            is_held.set()
            go_on.wait(20)

    async def note(caught: Caught) -> None:
        is_answered.set()

    async with capturing(lambda one: YES if one.line.split()[1] == "/former" else (500, [])) as capture:
        capture.before_answer = note
        leave = probe.listen(hold)
        try:
            async with asking(tmp_path, at(capture, url=capture.url("/former"))) as made:
                await capture.next()
                async with asyncio.timeout(20):
                    while not is_held.is_set():
                        await asyncio.sleep(0)
                await made.subscriptions.reconfigure([at(capture, url=capture.url("/latter"))])
                go_on.set()
                await capture.next()
                assert ID not in made.gate.ever_open
        finally:
            go_on.set()
            leave()


# --- consent by callback --------------------------------------------------------------------------------------------

LATER = HandshakeSettings(kind="cloudevents", origin=ORIGIN, request_rate=120, callback=True)
OURS = "https://hooks.example.com"


@asynccontextmanager
async def asked_for_later(tmp_path: Path, status: int = 200) -> AsyncIterator[tuple[Asking, Capture]]:
    async with (
        capturing(lambda one: (status, [("Allow", "POST")])) as capture,
        asking(tmp_path, at(capture, handshake=LATER), public_url=OURS) as made,
    ):
        await capture.next()
        yield made, capture


@pytest.mark.requirement("B10")
async def test_rate_and_callback_are_named_only_where_they_are_wanted(tmp_path: Path) -> None:
    async with asked_for_later(tmp_path) as (_, capture):
        one = capture.caught[0]
        assert one.one("WebHook-Request-Rate") == "120"
        assert one.one("WebHook-Request-Callback") == f"{OURS}/handshake/{TOKEN}"


@pytest.mark.requirement("B10", "B08")
@pytest.mark.parametrize("status", [200, 202, 204])
@pytest.mark.parametrize(("rate", "granted"), [(None, 120), ("60", 60), ("*", None)])
async def test_a_call_of_the_callback_is_the_consent_and_a_rate_may_ride_on_it(
    tmp_path: Path, status: int, rate: str | None, granted: int | None
) -> None:
    async with asked_for_later(tmp_path, status) as (made, _):
        assert made.subscriptions.state(ID) is State.VALIDATING
        assert made.gate.open == {}
        assert await made.subscriptions.call_back(TOKEN, rate) is Callback.GRANTED
        assert made.subscriptions.state(ID) is State.ACTIVE
        assert made.gate.open == {ID: granted}


@pytest.mark.requirement("B10")
async def test_a_token_counts_once_and_only_as_it_is(tmp_path: Path) -> None:
    async with asked_for_later(tmp_path) as (made, _):
        for other in ("", TOKEN[:-1], TOKEN.upper(), TOKEN + "a"):
            assert await made.subscriptions.call_back(other, None) is Callback.UNKNOWN
        assert await made.subscriptions.call_back(TOKEN, "0") is Callback.RATE_MALFORMED
        assert made.gate.open == {}, "a rate that is none consents to nothing, and uses nothing up"
        assert await made.subscriptions.call_back(TOKEN, None) is Callback.GRANTED
        assert await made.subscriptions.call_back(TOKEN, None) is Callback.UNKNOWN


@pytest.mark.requirement("B10")
async def test_a_token_ends_and_then_it_is_asked_anew(tmp_path: Path) -> None:
    async with asked_for_later(tmp_path) as (made, capture):
        await quiet(capture)
        made.clock.advance(CALLBACK_S)
        assert await made.subscriptions.call_back(TOKEN, None) is Callback.UNKNOWN
        assert made.gate.open == {}
        await capture.next()


@pytest.mark.requirement("B10")
async def test_a_token_outlives_a_restart_and_does_not_lie_in_the_store(tmp_path: Path) -> None:
    async with asked_for_later(tmp_path) as (made, capture):
        await quiet(capture)
        assert TOKEN.encode() not in (await made.store.kept("subscriptions"))[ID]
        changed = at(capture, handshake=LATER)
        clock = made.clock
    async with asking(tmp_path, changed, clock=clock, public_url=OURS) as again:
        assert await again.subscriptions.call_back(TOKEN, None) is Callback.GRANTED
        assert again.gate.open == {ID: 120}
    assert len(capture.caught) == 1


async def test_a_callback_that_is_quicker_than_the_answer_counts(tmp_path: Path) -> None:
    made: list[Asking] = []

    async def at_once(caught: Caught) -> None:
        while not made:
            await asyncio.sleep(0)
        assert await made[0].subscriptions.call_back(TOKEN, "7") is Callback.GRANTED

    async with capturing(lambda one: (200, [])) as capture:
        capture.before_answer = at_once
        async with asking(tmp_path, at(capture, handshake=LATER), public_url=OURS) as asked:
            made.append(asked)
            await capture.next()
            await quiet(capture)
            assert asked.subscriptions.state(ID) is State.ACTIVE
            assert asked.gate.open == {ID: 7}


@pytest.mark.parametrize("answer", [(403, []), (200, [("WebHook-Allowed-Origin", "evil.example")]), (500, [])])
async def test_a_clear_no_is_a_no_and_ends_the_token(tmp_path: Path, answer: tuple[int, list[tuple[str, str]]]) -> None:
    async with (
        capturing(lambda one: answer) as capture,
        asking(tmp_path, at(capture, handshake=LATER), public_url=OURS) as made,
    ):
        await made.until(State.FAILED)
        assert await made.subscriptions.call_back(TOKEN, None) is Callback.UNKNOWN


async def test_another_nodes_news_is_read_from_the_store(tmp_path: Path) -> None:
    async with asked_for_later(tmp_path) as (made, capture):
        await quiet(capture)
        client, gate = GuardedClient(LOOPBACK), Gate()
        other = Subscriptions(made.store, client, gate, made.clock, public_url=OURS)
        await other.start([at(capture, handshake=LATER)])
        assert await other.call_back(TOKEN, None) is Callback.GRANTED
        made.clock.advance(31.0)
        await made.until(State.ACTIVE)
        assert made.gate.open == gate.open == {ID: 120}
        await other.stop()
        with contextlib.suppress(Exception):
            await client.close()
