"""The parts that play in the demo, put together: issuer, sink, gateway, and a simulator for each provider.

Everything is new for each run (secrets, keys, store) and gone afterwards. Decides nothing about when what is sent.
"""

import asyncio
import base64
import json
import os
import random
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hookseal.catalogue import Provider
from hookseal.cli.demo_board import Board
from hookseal.clock import Clock
from hookseal.egress.client import GuardedClient
from hookseal.egress.policy import EgressPolicy
from hookseal.egress.port import Egress, Reply
from hookseal.errors import ConfigurationError
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.schemes.verdict import SigningKeys
from hookseal.settings import (
    ApiSettings,
    EgressSettings,
    EndpointSettings,
    ServerSettings,
    Settings,
    SigningSettings,
    SourceSettings,
    StoreSettings,
)
from hookseal.simulate.examples import Call, Example, calls_of, examples_of
from hookseal.simulate.issuer import TENANT, Issuer
from hookseal.simulate.provider import Consent, Simulator, Try
from hookseal.simulate.sink import Sink
from hookseal.web.app import Gateway
from hookseal.web.server import Address, serving

LISTEN = "127.0.0.1:8400"
"""Where a demo that keeps running listens if it can; else, and for a single round, a free port is taken."""

FREE = "127.0.0.1:0"
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_SPEED = 10.0
_REASON_LOOKS, _REASON_WAIT_S = 40, 0.05

Event = Callable[[], tuple[Call, ...]]


@dataclass(slots=True, kw_only=True)
class Stage:
    """url: the gateway's. commands: lines for the user's other terminal, none longer than 76 columns."""

    url: str
    sink_url: str
    commands: tuple[str, ...] = field(repr=False)
    board: Board
    entries: Mapping[str, Provider]
    simulators: Mapping[str, Simulator]
    egress: Egress
    clock: Clock
    api_key: str = field(repr=False)
    _known_refusal: str = ""

    def events(self, id: str) -> list[Event]:
        """A new event of each usual example of one provider; each is made when it is called for."""
        examples = examples_of(self.entries[id]).values()
        return [self._event(id, example) for example in examples if not example.is_variant]

    async def forge(self) -> str | None:
        """Send iDenfy's DENIED as APPROVED, under the signature of what it was. The reason why it was refused, or None."""
        entry, simulator = self.entries["idenfy"], self.simulators["idenfy"]
        now = self.clock.now()
        (true,) = calls_of(entry, examples_of(entry)["denied"], now, os.urandom)
        forged = replace(true, body=true.body.replace(b'"DENIED"', b'"APPROVED"'))
        self.board.forge(forged)
        answer = await self.egress.call("POST", simulator.url, headers=simulator.signed(true, now), body=forged.body)
        if not isinstance(answer, Reply) or answer.status != entry.answers.refused:
            return None
        return f"{answer.status} {await self._reason()}".rstrip()

    def _event(self, id: str, example: Example) -> Event:
        def new() -> tuple[Call, ...]:
            calls = calls_of(self.entries[id], example, self.clock.now(), os.urandom)
            self.board.expect(id, calls)
            return calls

        return new

    async def _reason(self) -> str:
        """Why the newest request was refused: the quarantine tells the operator what the sender is not told."""
        url = f"{self.url}/api/v1/quarantine?source=idenfy&limit=1"
        headers = [("Authorization", f"Bearer {self.api_key}")]
        for _ in range(_REASON_LOOKS):  # it is written after the answer, best effort
            answer = await self.egress.call("GET", url, headers=headers, max_bytes=1_000_000)
            rows = json.loads(answer.body)["data"] if isinstance(answer, Reply) and answer.status == 200 else []
            if rows and rows[0]["id"] != self._known_refusal:
                self._known_refusal = rows[0]["id"]
                return str(rows[0]["reason"])
            await self.clock.wait(asyncio.Event(), _REASON_WAIT_S)
        return ""


@asynccontextmanager
async def built(
    folder: Path, listen: str | None, *, prefer: str, entries: Mapping[str, Provider], board: Board, clock: Clock
) -> AsyncIterator[Stage]:
    """Everything running on loopback.

    folder  for the store; new and empty.
    listen  where the gateway has to listen; None takes `prefer`, or a free port where that is taken.
    """
    issuer, sink_secret = Issuer(), b"whsec_" + base64.b64encode(os.urandom(32))
    given = {id: _new_secret() for id, entry in entries.items() if entry.scheme_kind != "jwt_bearer"}
    api_key = _new_secret()
    async with AsyncExitStack() as stack:
        issuer_at = await stack.enter_async_context(serving(issuer, FREE))
        sink_at = await stack.enter_async_context(
            serving(Sink(sink_secret, clock, board.arrived, board.unproven), FREE)
        )
        options = {
            id: {
                "audience": str(uuid.uuid4()),
                "issuer": f"{issuer_at.url}/{TENANT}/v2.0",
                "jwks_url": issuer.jwks_url(issuer_at.url),
            }
            for id in entries
            if id not in given
        }
        settings = Settings(
            server=ServerSettings(listen=listen or prefer),
            store=StoreSettings(url=f"sqlite:///{folder / 'demo.db'}", keyring=f"file:{folder / 'demo.key'}"),
            api=ApiSettings(keys=(api_key.encode(),)),
            egress=EgressSettings(allow=_LOOPBACK, allow_http=True),
            sources=tuple(
                SourceSettings(
                    id=SourceId(id),
                    provider=ProviderId(id),
                    secrets=(given[id].encode(),) if id in given else (),
                    options=options.get(id, {}),
                )
                for id in entries
            ),
            endpoints=(
                EndpointSettings(
                    id=EndpointId("sink"),
                    url=f"{sink_at.url}/hooks",
                    signing=SigningSettings(scheme="standard_webhooks", secrets=(sink_secret,)),
                ),
            ),
        )
        gateway = await stack.enter_async_context(Gateway(settings))
        address = await _listening(stack, gateway, listen, prefer)
        egress = GuardedClient(EgressPolicy(allow=_LOOPBACK, allow_http=True))
        stack.push_async_callback(egress.close)
        simulators = {
            id: Simulator(
                provider=entry,
                scheme=entry.bind(options.get(id, {})),
                keys=SigningKeys(secret=given[id].encode()) if id in given else issuer.keys,
                url=f"{address.url}/in/{id}",
                egress=egress,
                clock=clock,
                watcher=_ForProvider(id, board),
                jitter=random.random,
                speed=_SPEED,
                concurrency=1,
            )
            for id, entry in entries.items()
        }
        yield Stage(
            url=address.url,
            sink_url=sink_at.url,
            commands=(
                f"export HOOKSEAL_URL={address.url}",
                f"export HOOKSEAL_KEY={api_key}",
                "hookseal simulate zignsec --to $HOOKSEAL_URL/in/zignsec \\",
                f"  --secret {given['zignsec']}",
                "hookseal events",
            ),
            board=board,
            entries=entries,
            simulators=simulators,
            egress=egress,
            clock=clock,
            api_key=api_key,
        )


@dataclass(frozen=True, slots=True)
class _ForProvider:
    """Who looks on at one simulator."""

    id: str
    board: Board

    def consented(self, consent: Consent) -> None:
        self.board.consented(self.id, consent)

    def tried(self, attempt: Try) -> None:
        self.board.tried(self.id, attempt)


async def _listening(stack: AsyncExitStack, gateway: Gateway, listen: str | None, prefer: str) -> Address:
    if listen is not None:
        return await stack.enter_async_context(serving(gateway, listen, place="command line", key="--listen"))
    try:
        return await stack.enter_async_context(serving(gateway, prefer))
    except ConfigurationError:
        return await stack.enter_async_context(serving(gateway, FREE))


def _new_secret() -> str:
    """32 random bytes as text that no shell and no option parser trips over."""
    while (text := secrets.token_urlsafe(32))[0] in "-_":
        pass
    return text
