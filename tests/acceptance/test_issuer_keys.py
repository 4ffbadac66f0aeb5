"""The key of our own issuer: who may fetch its key set, and how one key follows another.

Oracles: key sets as fetched over HTTP, and tokens as they arrive at a receiver of the test's own, verified with PyJWT.
The clock is given, so that a life of months takes milliseconds.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from gateways import API_KEY
from registered_live import Api, Receiver, api, receiver, settings
from stores import STORES, store_settings

from hookseal.clock import GivenClock, Instant, from_unix, plus

AUDIENCE = "11111111-2222-4333-8444-555555555555"
OF_BANKID = "08a02467-3604-46e9-b818-6be676cf015b"
TENANT = "99999999-3604-46e9-b818-6be676cf015b"
DAY_S = 86_400
START_S = 1_763_712_000
ALARM = {"specversion": "1.0", "type": "no.bankid.antifraud.alarm.dispatch.v2", "source": "/a", "id": "a", "data": {}}


def an_endpoint(target: Receiver, id: str = "bank", **signing: str) -> dict[str, Any]:
    table = {"id": id, "url": target.url, "as": "bankid_antifraud", "handshake": "none", "format": "json"}
    return {**table, "signing": {"audience": AUDIENCE, **signing}}


async def key_set(of: Api, tenant: str = OF_BANKID) -> dict[str, Any] | None:
    """The keys by their ids; None where there is no key set."""
    async with of.session.get(f"{of.gateway.url}/issuer/{tenant}/discovery/v2.0/keys") as answer:
        if answer.status == 404:
            return None
        assert answer.status == 200
        document = await answer.json()
    assert {member for key in document["keys"] for member in key} == {"use", "kid", "kty", "n", "e"}
    return {key["kid"]: key for key in document["keys"]}


async def published(of: Api, wanted: int) -> dict[str, Any]:
    """The key set once it has so many keys: the node looks after the clock was moved."""
    async with asyncio.timeout(20):
        while len(keys := await key_set(of) or {}) != wanted:
            await asyncio.sleep(0.01)
    return keys


async def token_of(of: Api, target: Receiver, at_s: float) -> tuple[str, str]:
    """The id of the key that signs now, and a token of it; the token holds by the key set of this moment."""
    assert (await of("POST", "/api/v1/events", {"type": "alarm", "data": ALARM})).status == 202
    [bearer] = (await target.next()).values("Authorization")
    token = bearer.removeprefix("Bearer ")
    await must_hold(of, token, at_s)
    return jwt.get_unverified_header(token)["kid"], token


async def must_hold(of: Api, token: str, at_s: float) -> None:
    keys = await key_set(of)
    assert keys is not None
    key = keys[jwt.get_unverified_header(token)["kid"]]
    lives = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    claims = jwt.decode(token, jwt.PyJWK({**key, "alg": "RS256"}).key, ["RS256"], audience=AUDIENCE, options=lives)
    assert claims["exp"] > at_s


async def test_a_key_set_is_there_for_tenants_of_configured_endpoints_only(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        assert await key_set(of) is None
        await of.made("endpoints", an_endpoint(target))
        keys = await key_set(of)
        assert keys is not None
        assert len(keys) == 1
        assert await key_set(of, TENANT) is None
        await of.made("endpoints", an_endpoint(target, "other", tenant=TENANT))
        assert await key_set(of, TENANT) == keys
        assert (await of("DELETE", "/api/v1/endpoints/other")).status == 204
        assert await key_set(of, TENANT) is None
        assert await key_set(of) == keys


async def test_a_tenant_that_one_node_made_is_known_to_the_other_at_once(tmp_path: Path) -> None:
    async with receiver() as target, store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as here, api(made) as there:
            await here.made("endpoints", an_endpoint(target))
            assert await key_set(there) == await key_set(here) != None  # noqa: E711 - of three, not of two


@pytest.mark.parametrize("kind", STORES)
async def test_a_new_key_is_published_a_day_before_it_signs_and_the_old_one_until_its_tokens_have_ended(
    tmp_path: Path, kind: str
) -> None:
    clock = GivenClock(from_unix(START_S))
    now_s = START_S

    def advance(seconds: int) -> None:
        nonlocal now_s
        clock.advance(seconds)
        now_s += seconds

    async with receiver() as target, store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made, clock=clock) as of:
            assert (await of("POST", "/api/v1/keys/issuer/rotate")).status == 422
            await of.made("endpoints", an_endpoint(target))
            [old] = await published(of, 1)
            said = await of("POST", "/api/v1/keys/issuer/rotate")
            assert (said.status, said.body["new"]) == (202, True)
            assert said.body["signs_at"] == "2025-11-22T08:00:00.000000Z"
            new = said.body["id"]
            again = (await of("POST", "/api/v1/keys/issuer/rotate")).body
            assert again == {**said.body, "new": False}
            assert set(await published(of, 2)) == {old, new}
            assert (await token_of(of, target, now_s))[0] == old
            advance(DAY_S - 1)
            signed_by, last = await token_of(of, target, now_s)
            assert signed_by == old
            advance(1)
            assert (await token_of(of, target, now_s))[0] == new
            advance(3597)
            await must_hold(of, last, now_s)
        async with api(made, clock=clock) as of:
            await must_hold(of, last, now_s)
            assert (await token_of(of, target, now_s))[0] == new
            advance(DAY_S)
            assert set(await published(of, 1)) == {new}


async def test_a_key_is_followed_by_another_by_its_age(tmp_path: Path) -> None:
    clock = GivenClock(from_unix(START_S))
    made = settings(tmp_path)
    made = replace(made, server=replace(made.server, issuer_key_days=30))
    async with receiver() as target, api(made, clock=clock) as of:
        await of.made("endpoints", an_endpoint(target))
        [first] = await published(of, 1)
        clock.advance(29 * DAY_S - 1)
        assert set(await published(of, 1)) == {first}
        clock.advance(1 + 600)
        second = next(iter(set(await published(of, 2)) - {first}))
        assert (await token_of(of, target, 0))[0] == first
        clock.advance(DAY_S)
        assert (await token_of(of, target, 0))[0] == second
        clock.advance(29 * DAY_S)
        async with asyncio.timeout(20):
            while first in (keys := await key_set(of) or {}) or len(keys) != 2:
                await asyncio.sleep(0.01)


class SetClock(GivenClock):
    """A clock whose wall clock is set, while its monotonic clock goes on evenly."""

    _set_s = 0.0

    def set(self, seconds: float) -> None:
        self._set_s += seconds

    def now(self) -> Instant:
        return plus(super().now(), self._set_s)


async def test_a_clock_that_is_set_ahead_neither_ends_a_key_nor_makes_another_sign(tmp_path: Path) -> None:
    """The keys followed the wall clock. Set ahead by two days, it withdrew the key whose tokens were still on their way."""
    clock = SetClock(from_unix(START_S))
    async with receiver() as target, api(settings(tmp_path), clock=clock) as of:
        await of.made("endpoints", an_endpoint(target))
        [first] = await published(of, 1)
        assert (await of("POST", "/api/v1/keys/issuer/rotate")).status == 202
        both = await published(of, 2)
        clock.set(2 * DAY_S)
        assert await key_set(of) == both
        assert (await token_of(of, target, START_S))[0] == first
        clock.set(-2 * DAY_S)
        assert await key_set(of) == both


async def test_all_nodes_publish_a_new_key_before_one_signs_with_it(tmp_path: Path) -> None:
    clock = GivenClock(from_unix(START_S))
    async with receiver() as target, store_settings("postgresql", tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made, clock=clock) as here, api(made, clock=clock) as there:
            await here.made("endpoints", an_endpoint(target))
            assert await published(there, 1) == await published(here, 1)
            both = await asyncio.gather(*(of("POST", "/api/v1/keys/issuer/rotate") for of in (here, there)))
            assert sorted(said.body["new"] for said in both) == [False, True]
            assert both[0].body["id"] == both[1].body["id"]
            assert await published(here, 2) == await published(there, 2)
            for _ in range(2):
                signed_by = {(await token_of(of, target, 0))[0] for of in (here, there)}
                assert len(signed_by) == 1
                assert signed_by != {both[0].body["id"]} or clock.now() >= from_unix(START_S + DAY_S)
                clock.advance(DAY_S)
            clock.advance(DAY_S)
            assert set(await published(here, 1)) == set(await published(there, 1)) == {both[0].body["id"]}


async def test_the_key_of_an_earlier_version_goes_on_signing(tmp_path: Path) -> None:
    """It is one PEM text under the name `key` of the namespace `issuer`."""
    async with receiver() as target:
        async with api(settings(tmp_path)) as of:
            await of.made("endpoints", an_endpoint(target))
            keys = await key_set(of)
            store = of.gateway.gateway.store
            assert (await store.kept("issuer"))["key"].startswith(b"-----BEGIN PRIVATE KEY-----")
            for name in await store.kept("issuer-keys"):
                await store.forget("issuer-keys", name)
        async with api(settings(tmp_path)) as of:
            assert await key_set(of) == keys
            assert json.dumps(keys) not in (None, "null")


async def test_the_command_rotates_the_key_of_a_running_and_of_a_stopped_gateway(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        await of.made("endpoints", an_endpoint(target))
        [first] = await published(of, 1)
        said = await asyncio.to_thread(run, "keys", "rotate", "--issuer", "--json", url=of.gateway.url)
        assert said["new"] is True
        assert set(await published(of, 2)) == {first, said["id"]}
    (tmp_path / "hookseal.toml").write_text(
        f'[store]\nurl = "sqlite:///{tmp_path}/hookseal.db"\nkeyring = "file:{tmp_path}/hookseal.key"\n'
    )
    there = str(tmp_path / "hookseal.toml")
    again = await asyncio.to_thread(run, "keys", "rotate", "--issuer", "--json", "--config", there)
    assert again == {**said, "new": False}


def run(*arguments: str, url: str | None = None) -> dict[str, Any]:
    environment = {**os.environ, "HOOKSEAL_KEY": API_KEY, **({} if url is None else {"HOOKSEAL_URL": url})}
    command = [sys.executable, "-m", "hookseal", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
