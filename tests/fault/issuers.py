"""An issuer of tokens that misbehaves on command, and what BankID would send with its tokens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from hookseal.clock import Instant, to_unix

ISSUER = "https://issuer.test/v2.0"
AUDIENCE = "11111111-2222-4333-8444-555555555555"


def new_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def public(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def token(key: rsa.RSAPrivateKey, kid: str, now: Instant, **claims: object) -> str:
    seconds = int(to_unix(now))
    said = {"iss": ISSUER, "aud": AUDIENCE, "iat": seconds, "nbf": seconds, "exp": seconds + 3600, **claims}
    return jwt.encode(said, key, "RS256", {"kid": kid})


def alarm(number: int, bearer: str) -> tuple[bytes, Mapping[str, str]]:
    """Body and headers of one alarm."""
    event = {
        "specversion": "1.0",
        "type": "no.bankid.antifraud.alarm.dispatch.v2",
        "source": "/bankid/antifraud",
        "id": f"alarm-{number}",
        "subject": f"subject-{number}",
        "data": {"alarm": number},
    }
    headers = {"Content-Type": "application/cloudevents+json", "Authorization": f"Bearer {bearer}"}
    return json.dumps(event).encode(), headers


class Issuer:
    """Answers each fetch with `raw`, or else with `status`, `headers` and `body`, once `gate` is open.

    silent      it takes the connection and never answers.
    clock_s     its answers have a `Date`, which is as far ahead of this machine's time. None: they have none.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.headers = ""
        self.clock_s: float | None = None
        self.body = key_set()
        self.raw: bytes | None = None
        self.silent = False
        self.fetches = 0
        self._ended = asyncio.Event()
        self._changed = asyncio.Condition()

    async def fetched(self, times: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.fetches >= times)

    def settings(self, id: str = "bankid", url: str | None = None) -> str:
        return (
            f'[[source]]\nid = "{id}"\nprovider = "bankid_antifraud"\n'
            f'options = {{ audience = "{AUDIENCE}", issuer = "{ISSUER}", jwks_url = "{url or self.url}" }}\n'
        )

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            async with self._changed:
                self.fetches += 1
                self._changed.notify_all()
            if self.silent:
                await self._ended.wait()
            date = "" if self.clock_s is None else f"Date: {formatdate(time.time() + self.clock_s, usegmt=True)}\r\n"
            head = f"HTTP/1.1 {self.status} X\r\n{date}{self.headers}Connection: close\r\nContent-Length: {len(self.body)}\r\n\r\n"
            writer.write(self.raw if self.raw is not None else head.encode() + self.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def end(self) -> None:
        self._ended.set()


@asynccontextmanager
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    try:
        yield made
    finally:
        made.end()
        server.close()
