"""The named cases of bad input, `tests/corpus/B-*`, each over a real socket against one gateway with a given clock.

Oracles of every case: the statuses of all answers on the connection (so that one request never gets two), the shape of
each refusal, what is stored at the case's own source, byte for byte, and after each category that the gateway still
accepts a good request of every provider.
"""

import base64
from collections.abc import AsyncIterator
from itertools import groupby

import pytest
import pytest_asyncio
from corpus_cases import API, Case, cases
from corpus_gateway import Corpus, Response, corpus_gateway, exchange, faults_of
from corpus_proofs import PROVIDERS
from corpus_tally import tally

from hookseal.model import SourceId

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = cases()
LAST = {category: list(group)[-1].id for category, group in groupby(CASES, key=lambda case: case.category)}
WANTED = {"B-1": 34, "B-2": 24, "B-3": 22, "B-4": 64, "B-5": 30, "B-6": 32, "B-7": 40, "B-8": 30, "B-9": 36, "B-10": 16}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def corpus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Corpus]:
    async with corpus_gateway(tmp_path_factory.mktemp("corpus"), CASES) as started:
        yield started
        assert started.issuer.lured == []
        assert started.running.gateway.receiving.in_flight == 0
        assert started.running.gateway.receiving.bytes_in_flight == 0


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
async def test_bad_input_gets_its_status_and_stores_what_it_may(
    corpus: Corpus, case: Case, pytestconfig: pytest.Config
) -> None:
    tally(pytestconfig).add(case.category, "named")
    case = case.at(corpus.issuer.url)
    if case.first:
        [earlier] = await exchange(corpus.running.url, case.first)
        assert earlier.status < 300
    answers = await exchange(corpus.running.url, case.wire, ending=case.ending)
    judge_answers(case, answers)
    if case.source != API:
        await judge_stored(corpus, case, is_answered=bool(answers))
    if case.id == LAST[case.category]:
        for provider in PROVIDERS:
            assert await corpus.good_request_is_accepted(provider, f"after-{case.category}-{provider}")


def judge_answers(case: Case, answers: list[Response]) -> None:
    expected = case.expected
    assert [fault for answer in answers for fault in faults_of(answer)] == []
    got = [answer.status for answer in answers] or [0]
    assert len(got) == len(expected.statuses), got
    assert all(status in allowed for status, allowed in zip(got, expected.statuses, strict=True)), got
    if not answers:
        return
    last = answers[-1]
    if expected.title is not None:
        assert last.problem is not None
        assert last.problem["title"] == expected.title
    if expected.problem is not None:
        assert last.problem is not None
        assert last.problem["type"] == expected.problem
    if expected.errors is not None:
        assert last.problem is not None
        assert [one["pointer"] + " " + one["code"] for one in last.problem["errors"]] == list(expected.errors)
    if case.source == "bankid_antifraud" and last.status == 401:
        assert last.headers["www-authenticate"] == "Bearer"
    for name, value in expected.headers.items():
        assert last.headers.get(name) == value


async def judge_stored(corpus: Corpus, case: Case, *, is_answered: bool) -> None:
    events = await corpus.running.events(case.source_id)
    new = events[: len(events) - 1] if case.first else events
    allowed = {case.expected.stored, 0} if case.expected.unsure and not is_answered else {case.expected.stored}
    assert len(new) in allowed
    for event in new:
        if case.expected.flags is not None:
            assert event["data"]["flags"] == list(case.expected.flags)
        if case.expected.type is not None:
            assert event["type"] == case.expected.type
        if "payload_base64" in event["data"]:
            assert base64.b64decode(event["data"]["payload_base64"]) == case.body
        stored = await corpus.running.gateway.store.event(event["id"])
        assert stored.body == case.body
    if case.expected.reason is not None:
        receiver = corpus.running.gateway.receiving.receiver
        assert receiver is not None
        await receiver.drain()
        page = await corpus.running.gateway.store.refusals(SourceId(case.source_id), 10, None)
        assert [row.reason for row in page.rows] == [case.expected.reason]


async def test_no_category_has_lost_its_cases() -> None:
    for category, wanted in WANTED.items():
        assert sum(case.category == category for case in CASES) >= wanted * 0.9, category
    assert len(CASES) >= 250
    assert len({case.source_id for case in CASES}) == len(CASES)
