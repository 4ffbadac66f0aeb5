"""Whatever is given as a registration, it is registered or told what is wrong; nothing else comes out.

A table that is taken is one that is in force the same after a restart.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hookseal.clock import GivenClock, from_unix
from hookseal.delivery.endpoint import build as build_endpoint
from hookseal.errors import Conflict, UnfitRegistration
from hookseal.manage.registrations import Registrations
from hookseal.model import EndpointId
from hookseal.receive.source import build as build_source
from hookseal.sealing import Keyring
from hookseal.settings.table import Section, rows_of
from hookseal.store.sqlite import SqliteStore

KEYRING = Keyring((("k1", b"k" * 32),))
CLOCK = GivenClock(from_unix(1_763_712_000))

_WORDS = (
    "core https://h.example/a * none zignsec idenfy bankid_antifraud cloudevents xml 2xx standard_webhooks standard"
)
_ODD = ("", " ", "env:HOME", "file:/etc/passwd", "192.0.2.0/24", "\x00", "é", "a" * 3000)
_NAMES = (
    "scheme secret secrets audience tenant kind origin callback policy delays_s success permanent mode allowed_rate"
)
texts = st.sampled_from([*_WORDS.split(), *_ODD])
numbers = st.integers(-1, 2**70) | st.integers(-(2**1400), 2**1400) | st.floats()
scalars = st.one_of(texts, st.none(), st.booleans(), numbers, st.text(max_size=5))
inner = st.sampled_from([*_NAMES.split(), "jwks_url", "issuer", "X-A", "x y", "\n"])
values = st.recursive(
    scalars, lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(inner, part, max_size=4)), max_leaves=8
)


def tables(section: Section) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from([*(row.name for row in rows_of(section)), "surprise"])
    good = {
        Section.SOURCE: {"provider": "idenfy", "secrets": ["a secret of the tests"]},
        Section.ENDPOINT: {"url": "https://h.example/", "signing": {"scheme": "standard_webhooks"}},
    }[section]
    return st.dictionaries(names, values, max_size=4).map(lambda drawn: {"id": "it", **good, **drawn})


def a_registry(store: SqliteStore) -> Registrations:
    return Registrations(store, sources=(), endpoints=(), clock=CLOCK, public_url="https://hooks.example.com")


async def attempt(section: Section, table: Mapping[str, Any], patch: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "hookseal.db", KEYRING, clock=CLOCK)
        await store.open()
        try:
            registry = a_registry(store)
            try:
                made = await registry.create(section, table)
                await registry.change(section, made.id, patch)
                await registry.rotate(section, made.id)
            except (UnfitRegistration, Conflict):
                pass  # told; what is kept all the same must be usable
            await registry.stop()
            again = a_registry(store)
            await again.open()
            assert (again.sources, again.endpoints) == (registry.sources, registry.endpoints)
            for source in again.sources:
                build_source(source, 1024)
            for endpoint in again.endpoints:
                assert build_endpoint(endpoint).id == EndpointId(endpoint.id)
        finally:
            await store.close()


@settings(max_examples=60, deadline=None)
@given(
    tables(Section.ENDPOINT), st.dictionaries(st.sampled_from(["url", "signing", "as", "retry"]), values, max_size=2)
)
def test_any_endpoint_is_registered_or_told_what_is_wrong(table: dict[str, Any], patch: dict[str, Any]) -> None:
    asyncio.run(attempt(Section.ENDPOINT, table, patch))


@settings(max_examples=60, deadline=None)
@given(tables(Section.SOURCE), st.dictionaries(st.sampled_from(["secrets", "provider", "options"]), values, max_size=2))
def test_any_source_is_registered_or_told_what_is_wrong(table: dict[str, Any], patch: dict[str, Any]) -> None:
    asyncio.run(attempt(Section.SOURCE, table, patch))
