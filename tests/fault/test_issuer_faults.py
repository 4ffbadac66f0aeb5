"""The issuer of the tokens is down, slow, broken, rotating, or flooded for: a running gateway, real sockets.

Oracles: statuses, the number of fetches the issuer counted, and the events that the API tells. Without a key set every
token is a doubt (503), with one at hand nothing the issuer does matters, and 401 is said only of what is certainly bad.
The gateway's clock is given; a fetch has a real deadline, so that a silent issuer costs a few real seconds.
"""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from issuers import Issuer, alarm, issuer, key_set, new_key, public, token
from local import NOW, Running, SteppedClock, running
from tiers import tier

pytestmark = pytest.mark.fault

KEY, NEXT, STRANGER, WEAK = new_key(), new_key(), new_key(), new_key(1024)
GOOD = key_set(public(KEY, "k1"))
FLOOD = tier(ci=600, full=100_000)


@dataclass(slots=True)
class Scene:
    gateway: Running
    issuer: Issuer
    clock: SteppedClock
    accepted: set[str] = field(default_factory=set)
    numbers: int = 0

    async def send(self, key: object = KEY, kid: str = "k1", source: str = "bankid") -> int:
        self.numbers += 1
        number = self.numbers
        body, headers = alarm(number, token(key, kid, self.clock.now()))
        status = (await self.gateway.post(f"/in/{source}", body, headers)).status
        if status < 300:
            self.accepted.add(f"subject-{number}")
        return status

    async def stored_what_it_accepted(self) -> None:
        events = await self.gateway.all("/events")
        assert {event["subject"] for event in events} == self.accepted
        assert len(events) == len(self.accepted)

    async def sends_until(self, status: int, key: object = KEY, kid: str = "k1") -> set[int]:
        """Send and let time pass until the answer is this one; the other answers on the way."""
        seen: set[int] = set()
        for _ in range(100):
            told = await self.send(key, kid)
            if told == status:
                return seen
            seen.add(told)
            self.clock.advance(1)
        raise AssertionError(f"never {status}, only {seen}")


@asynccontextmanager
async def a_scene(folder: Path, *, body: bytes = GOOD, more: str = "") -> AsyncIterator[Scene]:
    clock = SteppedClock(NOW)
    async with issuer() as keys:
        keys.body = body
        async with running(folder, keys.settings() + more, clock) as gateway:
            yield Scene(gateway, keys, clock)


def many_keys(count: int) -> bytes:
    one = public(STRANGER, "x")
    return key_set(*({**one, "kid": f"k-{number}"} for number in range(count)))


BROKEN: dict[str, dict[str, object]] = {
    "500": {"status": 500},
    "404": {"status": 404},
    "html": {"body": b"<html>Sign in</html>", "headers": "Content-Type: text/html\r\n"},
    "two megabytes": {"body": b" " * 2_097_152 + GOOD},
    "ten thousand keys": {"body": many_keys(10_000)},
    "redirect": {"status": 302, "headers": "Location: http://127.0.0.1:1/\r\n"},
    "redirect with keys": {"status": 301, "headers": "Location: /keys2\r\n", "body": GOOD},
    "closed at once": {"raw": b""},
    "not http": {"raw": b"SSH-2.0-OpenSSH_9.2\r\n"},
    "cut off": {"raw": b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + GOOD[:100]},
    "not an object": {"body": b"[]"},
    "deep": {"body": b"[" * 100_000},
    "not text": {"body": b"\xff\xfe\x00"},
    "chunks without end": {"raw": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
}


def misbehave(keys: Issuer, how: dict[str, object]) -> None:
    for name, value in {"status": 200, "headers": "", "body": GOOD, "raw": None, **how}.items():
        setattr(keys, name, value)


@pytest.mark.parametrize("name", BROKEN)
async def test_without_a_key_set_a_broken_issuer_is_a_doubt_of_ours_and_heals(name: str, tmp_path: Path) -> None:
    clock = SteppedClock(NOW)
    async with issuer() as keys:
        misbehave(keys, BROKEN[name])
        async with running(tmp_path, keys.settings(), clock) as gateway:
            scene = Scene(gateway, keys, clock)
            for key in (KEY, STRANGER):
                assert await scene.send(key) == 503
            misbehave(keys, {})
            assert await scene.sends_until(202) <= {503}
            assert await scene.send(STRANGER) == 401, "with the keys at hand a forged token is certainly bad"
            await scene.stored_what_it_accepted()


@pytest.mark.parametrize("name", BROKEN)
async def test_with_a_key_set_at_hand_a_broken_issuer_is_nothing(name: str, tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.send() == 202
        misbehave(scene.issuer, BROKEN[name])
        for _ in range(24):
            scene.clock.advance(3600)
            assert await scene.send() == 202
            assert await scene.send(STRANGER, "k1") == 401
            assert await scene.send(STRANGER, "k-unknown") == 503, "no fetch succeeded: the key may be new"
        await scene.stored_what_it_accepted()


async def test_an_issuer_that_never_answers_is_a_doubt(tmp_path: Path) -> None:
    clock = SteppedClock(NOW)
    async with issuer() as keys:
        keys.silent = True
        async with running(tmp_path, keys.settings() + "\n", clock) as gateway:
            scene = Scene(gateway, keys, clock)
            assert await asyncio.gather(*(scene.send() for _ in range(20))) == [503] * 20
            keys.end()
            assert keys.fetches <= 2


async def test_an_issuer_that_is_down_is_a_doubt(tmp_path: Path) -> None:
    async with issuer() as keys:
        down = keys.settings(url="http://127.0.0.1:1/keys")
        async with running(tmp_path, down, SteppedClock(NOW)) as gateway:
            assert await Scene(gateway, keys, SteppedClock(NOW)).send() == 503


async def test_an_issuer_with_a_certificate_of_its_own_making_is_a_doubt(tmp_path: Path) -> None:
    where = tmp_path / "tls"
    where.mkdir()
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    make += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{where}/key.pem", "-out", f"{where}/cert.pem"]
    subprocess.run(make, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(where / "cert.pem", where / "key.pem")
    async with issuer() as keys:
        keys.body = GOOD
        server = await asyncio.start_server(keys.answer, "127.0.0.1", 0, ssl=tls)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
        async with running(tmp_path, keys.settings(url=url), SteppedClock(NOW)) as gateway:
            assert await Scene(gateway, keys, SteppedClock(NOW)).send() == 503
        assert keys.fetches == 0, "a key set was asked for over a connection that proves nothing"
        server.close()


async def test_an_empty_key_set_refuses_after_a_fetch_and_not_before(tmp_path: Path) -> None:
    async with a_scene(tmp_path, body=key_set()) as scene:
        assert await scene.send() in (401, 503)
        before = scene.issuer.fetches
        scene.clock.advance(31)
        assert await scene.send() in (401, 503)
        assert scene.issuer.fetches > before
        scene.issuer.body = GOOD
        scene.clock.advance(31)
        assert await scene.send() == 202
        await scene.stored_what_it_accepted()


async def test_a_rotation_refuses_no_good_token(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.send(KEY, "k1") == 202
        scene.issuer.body = key_set(public(KEY, "k1"), public(NEXT, "k2"))
        told = await asyncio.gather(*(scene.send(*pair) for pair in [(KEY, "k1"), (NEXT, "k2")] * 30))
        assert set(told) == {202}
        assert scene.issuer.fetches == 2
        await scene.stored_what_it_accepted()


async def test_a_key_that_the_issuer_took_away_is_refused_after_an_hour_at_the_latest(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.send(KEY, "k1") == 202
        scene.issuer.body = key_set(public(NEXT, "k2"))
        before = scene.issuer.fetches
        scene.clock.advance(3601)
        await scene.issuer.fetched(before + 1)
        assert await scene.sends_until(401, KEY, "k1") <= {202, 503}
        assert await scene.send(NEXT, "k2") == 202
        await scene.stored_what_it_accepted()


async def test_two_keys_under_one_id_are_both_tried(tmp_path: Path) -> None:
    async with a_scene(tmp_path, body=key_set(public(STRANGER, "k1"), public(KEY, "k1"))) as scene:
        assert await scene.send(KEY, "k1") == 202
        assert await scene.send(STRANGER, "k1") == 202
        assert await scene.send(NEXT, "k1") == 401
        await scene.stored_what_it_accepted()


async def test_a_weak_key_in_the_set_proves_nothing_and_spoils_nothing(tmp_path: Path) -> None:
    async with a_scene(tmp_path, body=key_set(public(WEAK, "weak"), public(KEY, "k1"))) as scene:
        assert await scene.send(KEY, "k1") == 202
        with pytest.warns(UserWarning, match="key"):  # the library that signs here warns of it too
            assert await scene.send(WEAK, "weak") in (401, 503)
        await scene.stored_what_it_accepted()


async def test_a_flood_of_unknown_keys_is_one_fetch_and_holds_up_nobody(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        assert await scene.send() == 202
        before = scene.issuer.fetches
        told: set[int] = set()

        async def flood(first: int) -> None:
            for number in range(first, first + FLOOD // 20):
                told.add(await scene.send(STRANGER, f"random-{number}"))

        async def legitimate() -> None:
            for _ in range(FLOOD // 20):
                assert await scene.send() == 202

        await asyncio.gather(legitimate(), *(flood(20_000 * some) for some in range(20)))
        assert scene.issuer.fetches == before + 1
        assert told <= {401, 503}
        scene.clock.advance(31)
        await asyncio.gather(legitimate(), *(flood(1_000_000 + 20_000 * some) for some in range(20)))
        assert scene.issuer.fetches == before + 2
        await scene.stored_what_it_accepted()


async def test_a_source_without_keys_does_not_hinder_one_with_a_secret(tmp_path: Path) -> None:
    from plug import IDENFY_SECRET, letter

    more = f'[[source]]\nid = "idenfy"\nprovider = "idenfy"\nsecrets = ["{IDENFY_SECRET}"]\n'
    clock = SteppedClock(NOW)
    async with issuer() as keys:
        keys.silent = True
        async with running(tmp_path, keys.settings() + more, clock) as gateway:
            doubtful = asyncio.create_task(Scene(gateway, keys, clock).send())
            await keys.fetched(1)
            one = letter(2)
            for _ in range(50):
                assert (await gateway.post(one.path, one.body, {one.header: one.signature})).status == 200
            assert not doubtful.done()
            assert await doubtful == 503
            keys.end()
