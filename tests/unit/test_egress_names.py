"""The lines of look-ups: who has a place, who waits, and that silent names take nobody else's."""

import asyncio
import socket
import threading
from collections.abc import Sequence

import pytest

from hookseal.egress import names
from hookseal.egress.names import Names
from hookseal.egress.reasons import CallFailed
from hookseal.model import AttemptReason

BOUND_S = 20.0
NEVER_S = 600.0
QUICK, SLOW = 4, 3


class Resolver:
    """A resolver that blocks for names that are in `held` until `gate` is opened."""

    def __init__(self, *held: str) -> None:
        self.held = set(held)
        self.gate = threading.Event()
        self.running = 0
        self.most_running = 0
        self.asked: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, host: str) -> Sequence[str]:
        with self._lock:
            self.asked.add(host)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            if host in self.held:
                self.gate.wait(BOUND_S)
            return ["127.0.0.1"]
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture(autouse=True)
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MAX_LOOKUPS", QUICK)
    monkeypatch.setattr(names, "MAX_SLOW", SLOW)


def hosts(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}.test" for number in range(count)]


async def all_found(asked: Names, *given: str) -> None:
    async with asyncio.timeout(BOUND_S):
        assert await asyncio.gather(*map(asked.addresses, given)) == [["127.0.0.1"]] * len(given)


async def reason(asked: Names, host: str) -> AttemptReason:
    with pytest.raises(CallFailed) as failed:
        await asked.addresses(host)
    return failed.value.reason


async def test_more_names_than_places_wait_for_their_turn_and_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SLOW_S", NEVER_S)
    every = hosts("held", QUICK * 20)
    resolver = Resolver(*every)
    asked = Names(resolver, NEVER_S)
    waiting = asyncio.create_task(all_found(asked, *every))
    async with asyncio.timeout(BOUND_S):
        while resolver.running < QUICK:
            await asyncio.sleep(0)
    resolver.gate.set()
    await waiting
    assert resolver.most_running == QUICK


async def test_names_that_are_silent_leave_their_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SLOW_S", 0.01)
    silent = hosts("silent", SLOW)
    resolver = Resolver(*silent)
    asked = Names(resolver, 0.05)
    assert await asyncio.gather(*(reason(asked, host) for host in silent)) == [AttemptReason.DNS_TIMEOUT] * SLOW
    await all_found(asked, *hosts("good", QUICK * 20))
    assert resolver.running == SLOW, "they are still looked up"
    resolver.gate.set()


async def test_who_asks_late_for_a_silent_name_is_told_that_it_was_silent() -> None:
    gate = threading.Event()

    def in_vain(host: str) -> Sequence[str]:
        gate.wait(BOUND_S)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    asked = Names(in_vain, 0.2)
    assert await reason(asked, "silent.test") is AttemptReason.DNS_TIMEOUT
    late = asyncio.create_task(reason(asked, "silent.test"))
    await asyncio.sleep(0)
    gate.set()
    assert await late is AttemptReason.DNS_TIMEOUT


async def test_more_silent_names_than_places_for_them_use_no_more_threads_than_there_are_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "SLOW_S", 0.01)
    silent = hosts("silent", (QUICK + SLOW) * 3)
    resolver = Resolver(*silent)
    asked = Names(resolver, NEVER_S)
    waiting = asyncio.create_task(all_found(asked, *silent))
    async with asyncio.timeout(BOUND_S):
        while resolver.running < QUICK + SLOW:
            await asyncio.sleep(0.001)
    resolver.gate.set()
    await waiting
    assert resolver.most_running == QUICK + SLOW
    await all_found(asked, *hosts("good", QUICK * 3))


async def test_a_name_that_was_slow_takes_no_place_of_the_quick_ones_until_it_has_been_quick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(names, "SLOW_S", 0.01)
    silent = hosts("silent", QUICK)
    resolver = Resolver(*silent)
    asked = Names(resolver, 0.05)
    await asyncio.gather(*(reason(asked, host) for host in silent))
    resolver.gate.set()
    async with asyncio.timeout(BOUND_S):
        while asked._asked:
            await asyncio.sleep(0)
    resolver.gate.clear()
    monkeypatch.setattr(names, "SLOW_S", NEVER_S)  # from now on none moves over
    asked._timeout_s = NEVER_S
    again = asyncio.create_task(all_found(asked, *silent))
    async with asyncio.timeout(BOUND_S):
        while resolver.running < SLOW:
            await asyncio.sleep(0)
    await all_found(asked, *hosts("good", QUICK * 3))
    resolver.gate.set()
    await again
    assert not asked._known_slow


async def test_a_thread_that_cannot_be_started_fails_its_own_look_up_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asked = Names(Resolver(), BOUND_S)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        for host in hosts("early", QUICK * 2):
            assert await reason(asked, host) is AttemptReason.DNS_ERROR
    await all_found(asked, *hosts("good", QUICK * 3))


async def test_a_name_that_nobody_waits_for_any_more_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "SLOW_S", NEVER_S)
    held = hosts("held", QUICK)
    resolver = Resolver(*held)
    asked = Names(resolver, NEVER_S)
    waiting = asyncio.create_task(all_found(asked, *held))
    async with asyncio.timeout(BOUND_S):
        while resolver.running < QUICK:
            await asyncio.sleep(0)
    leaving = asyncio.create_task(asked.addresses("left.test"))
    while "left.test" not in asked._asked:
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    resolver.gate.set()
    await waiting
    await all_found(asked, "good.test")
    assert "left.test" not in resolver.asked
