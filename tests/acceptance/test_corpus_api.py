"""The management API asked by a program that has read its OpenAPI document: B-16, every operation.

Oracles: no 5xx, every answer is one that the document names, with its media type and its schema; methods that it does
not name are 405; without a key, or with another, nothing is told.
"""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from corpus_cases import API_KEY
from corpus_gateway import corpus_gateway
from corpus_proofs import good_body, good_headers
from corpus_tally import tally
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

NOT_SAID = [positive_data_acceptance, negative_data_rejection]
"""A cursor is any text to the document and one of ours to the API; `?source=` asks for nothing, as forms send it."""
WITHOUT_INPUT = {"GET /api/v1/openapi.json", "GET /healthz", "GET /readyz", "GET /metrics"}
"""Nothing can be wrong in a question that holds nothing."""
KEY = {"Authorization": f"Bearer {API_KEY}"}


class Served:
    """A gateway in a thread of its own, since schemathesis asks without asyncio."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(folder,), name="gateway")
        self._thread.start()
        self._started.wait(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def _run(self, folder: Path) -> None:
        self._loop.run_until_complete(self._serve(folder))
        self._loop.close()

    async def _serve(self, folder: Path) -> None:
        try:
            async with corpus_gateway(folder) as corpus:
                for provider in ("idenfy", "bankid_antifraud"):
                    assert await corpus.good_request_is_accepted(provider, f"shown-{provider}")
                body = good_body("zignsec", "refused")
                refused = await corpus.running.post("/in/good-zignsec", body, good_headers("zignsec", body + b" "))
                assert refused.status == 401
                self.url = corpus.running.url
                self._started.set()
                await self._stop.wait()
        finally:
            self._started.set()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("api"))
    assert made.url
    yield made
    made.close()


@pytest.fixture(scope="module")
def document(served: Served) -> Any:
    return schemathesis.openapi.from_url(f"{served.url}/api/v1/openapi.json", headers=KEY, config=SchemathesisConfig())


@pytest.mark.parametrize(("mode", "examples"), [(GenerationMode.POSITIVE, 50), (GenerationMode.NEGATIVE, 80)])
def test_every_operation_keeps_to_the_document(
    document: Any, pytestconfig: pytest.Config, mode: GenerationMode, examples: int
) -> None:
    counted = tally(pytestconfig)
    asked, without_input = [], []
    for found in document.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def holds(case: Any) -> None:
            counted.add("B-16", "generated")
            case.call_and_validate(headers=KEY, excluded_checks=NOT_SAID)

        try:
            holds()
        except Unsatisfiable:
            without_input.append(operation.label)
        asked.append(operation.label)
    assert len(asked) >= 13
    assert set(without_input) <= WITHOUT_INPUT
