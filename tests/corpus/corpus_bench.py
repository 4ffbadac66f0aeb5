"""A gateway in this process that is asked without sockets: thousands of generated cases in seconds, over a real store."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus_cases import API_KEY
from corpus_proofs import AUDIENCE, ISSUER, NOW, PROVIDERS, SECRET, Pairs, key_set

from hookseal.clock import GivenClock, from_unix
from hookseal.egress.port import Reply
from hookseal.model import ProviderId, SourceId
from hookseal.settings import ApiSettings, ServerSettings, Settings, SourceSettings, StoreSettings
from hookseal.store.port import EventFilter, StoredEvent
from hookseal.web.app import Gateway

CERTAIN_AND_RETRIED = frozenset({200, 202, 400, 401, 403, 404, 405, 408, 413, 415, 431, 503})


@dataclass(frozen=True, slots=True)
class Told:
    """One answer. stored: how many events it left behind at its source."""

    status: int
    headers: dict[str, str]
    body: bytes
    stored: int = 0


class Issuer:
    """Stands for every address that the gateway may call; only the key set's is to be asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def call(self, method: str, url: str, **_: Any) -> Reply:
        self.asked.append(url)
        return Reply(status=200, headers={}, body=json.dumps(key_set()).encode())

    async def close(self) -> None: ...


class Bench:
    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer()
        self.clock = GivenClock(from_unix(NOW))
        self._loop = asyncio.Runner()
        self._newest: dict[str, int] = {}
        bankid = {"audience": AUDIENCE, "issuer": ISSUER, "jwks_url": "https://keys.example/keys"}
        settings = Settings(
            server=ServerSettings(max_body_bytes=65_536),
            store=StoreSettings(url=f"sqlite:///{folder}/hookseal.db", keyring=f"file:{folder}/hookseal.key"),
            api=ApiSettings(keys=(API_KEY.encode(),)),
            sources=tuple(
                SourceSettings(
                    id=SourceId(provider),
                    provider=ProviderId(provider),
                    secrets=() if provider == "bankid_antifraud" else (SECRET,),
                    options=bankid if provider == "bankid_antifraud" else {},
                )
                for provider in PROVIDERS
            ),
        )
        self.gateway = Gateway(settings, clock=self.clock, egress=self.issuer)
        self._loop.run(self.gateway.start())

    def close(self) -> None:
        self._loop.run(self.gateway.stop())
        self._loop.close()

    def post(self, source: str, headers: Pairs, body: bytes, pieces: Sequence[bytes] | None = None) -> Told:
        """A request at `/in/{source}`; pieces: the body as it arrives."""
        return self._loop.run(self._post(source, headers, body if pieces is None else b"", pieces or [body]))

    def newest(self, source: str) -> StoredEvent:
        return self._loop.run(self._page(source))[0]

    def api(self, method: str, path: str, body: bytes = b"", query: bytes = b"") -> Told:
        headers: Pairs = [(b"host", b"a"), (b"authorization", b"Bearer " + API_KEY.encode())]
        if body:
            headers.append((b"content-type", b"application/json"))
        return self._loop.run(self._call(method, path, headers, [body], query))

    async def _post(self, source: str, headers: Pairs, body: bytes, pieces: Sequence[bytes]) -> Told:
        told = await self._call("POST", f"/in/{source}", [(b"host", b"a"), *headers], list(pieces))
        rows = await self._page(source)
        newest = rows[0].row.sequence if rows else 0
        before = self._newest.get(source, 0)
        self._newest[source] = newest
        # Sequences of one source have no holes: what rose is what was stored.
        return Told(told.status, told.headers, told.body, newest - before)

    async def _page(self, source: str) -> Sequence[StoredEvent]:
        return (await self.gateway.store.events(EventFilter(source=SourceId(source)), 1, None)).rows

    async def _call(self, method: str, path: str, headers: Pairs, pieces: list[bytes], query: bytes = b"") -> Told:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode("latin-1"),
            "query_string": query,
            "root_path": "",
            "scheme": "http",
            "headers": [(name.lower(), value.strip(b" \t")) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        sent: list[dict[str, Any]] = []
        left = list(pieces)

        async def receive() -> dict[str, Any]:
            piece = left.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(left)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.gateway(scope, receive, send)
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        named = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Told(sent[0]["status"], named, sent[1]["body"])


def shape_of(told: Told) -> None:
    """What holds of every answer, whatever was asked."""
    assert told.status in CERTAIN_AND_RETRIED | {422, 429, 404}
    assert told.status not in (429, 503) or told.headers["retry-after"].isdigit()
    assert SECRET not in told.body
    if told.status >= 400:
        assert told.headers["content-type"] == "application/problem+json"
        problem = json.loads(told.body)
        assert problem["status"] == told.status
        assert {"type", "title"} <= problem.keys() <= {"type", "title", "status", "detail", "errors", "request_id"}
        assert told.stored == 0
