"""`hookseal simulate --assess` and `--fault` as a user starts them: our own gateway has no fault, others' are named.

The other receivers stand in tests/data/receivers: people write them so, or documents print them so.

    oracles  exit code, stdout (text and JSON), stderr
"""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from sample_receivers import listening, sample

from hookseal import catalogue
from hookseal.clock import SystemClock
from hookseal.egress.policy import EgressPolicy, Target
from hookseal.model import ProviderId, SourceId
from hookseal.schemes.verdict import SigningKeys
from hookseal.settings import EgressSettings, ServerSettings, Settings, SourceSettings, StoreSettings
from hookseal.simulate.assess import Assessor, Finding
from hookseal.simulate.cases.sender import Sender
from hookseal.simulate.issuer import Issuer
from hookseal.simulate.wire import SocketWire
from hookseal.web.app import Gateway
from hookseal.web.server import serving

SECRET = "a secret of the tests, long enough"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
TIMEOUT_S = 120
PATIENCE_S = 0.1


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hookseal", "simulate", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HOOKSEAL_")}


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)


async def run_beside(*arguments: str) -> tuple[int | None, str, str]:
    """The same while this process serves."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, out.decode(), err.decode()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# --- our own gateway


@pytest.mark.parametrize(
    ("provider", "least"),
    [("zignsec", 80), ("seal_id", 95), ("idenfy", 78), ("bankid_antifraud", 85), ("standard_webhooks", 80)],
)
async def test_our_own_gateway_has_no_fault(tmp_path: Path, provider: str, least: int) -> None:
    port, proof = free_port(), ["--secret", SECRET]
    options: dict[str, object] = {}
    if provider == "bankid_antifraud":
        options = {"audience": AUDIENCE, "jwks_url": f"http://127.0.0.1:{port}/tenant/discovery/v2.0/keys"}
        proof = ["--set", f"audience={AUDIENCE}", "--listen", f"127.0.0.1:{port}"]
    settings = Settings(
        server=ServerSettings(body_timeout_s=0.2),
        store=StoreSettings(url=f"sqlite:///{tmp_path / 'gateway.db'}", keyring=f"file:{tmp_path / 'gateway.key'}"),
        egress=EgressSettings(allow=("127.0.0.1",), allow_http=True),
        sources=(
            SourceSettings(
                id=SourceId("source"),
                provider=ProviderId(provider),
                secrets=() if options else (SECRET.encode(),),
                options=options,
            ),
        ),
    )
    gateway = Gateway(settings)
    async with gateway, serving(gateway, "127.0.0.1:0") as address:
        code, out, err = await run_beside(provider, "--to", f"{address.url}/in/source", *proof, "--assess", "--json")
    report = json.loads(out)
    assert [row for row in report["report"] if row["result"] != "ok"] == []
    assert (code, report["ok"], report["bad"]) == (0, True, 0), err
    assert report["cases"] == len(report["report"]) >= least


# --- receivers as people write them


@cache
def issuer() -> Issuer:
    return Issuer()


@cache
def findings_on(name: str) -> tuple[Finding, ...]:
    provider = {
        "idenfy": "idenfy",
        "zignsec": "zignsec",
        "seal": "seal_id",
        "bankid": "bankid_antifraud",
        "webhooks": "standard_webhooks",
    }[name.partition("_")[0]]
    entry = catalogue.provider(ProviderId(provider))
    options: dict[str, object] = {}
    keys, values = SigningKeys(secret=SECRET.encode()), {}
    if provider == "bankid_antifraud":
        options, keys = {"audience": AUDIENCE}, issuer().keys
        values = {"KEYS": jwt.PyJWKSet.from_json(issuer().key_set.decode())}

    async def assess(url: str) -> tuple[Finding, ...]:
        target = EgressPolicy(allow=("127.0.0.1",), allow_http=True).judge_url(url)
        assert isinstance(target, Target)
        sender = Sender(provider=entry, scheme=entry.bind(options), keys=keys, url=url, random_bytes=os.urandom)
        assessor = Assessor(sender, SocketWire(target, SystemClock()), SystemClock(), patience_s=PATIENCE_S)
        return tuple([one async for one in assessor.findings()])

    with listening(sample(name, **values)) as url:
        return asyncio.run(assess(url))


def faults_of(name: str) -> dict[str, Finding]:
    return {one.case.id: one for one in findings_on(name) if not one.ok}


SIGNED_BUT_NOT_JSON = {"not-utf8", "unparsable", "empty", "deep", "document-type"}


def test_the_flask_sample_fails_on_a_signature_beyond_ascii_and_on_what_get_json_refuses() -> None:
    assert set(faults_of("idenfy_flask")) == {
        *SIGNED_BUT_NOT_JSON,
        "content-type-text",
        "content-type-missing",
        "signature-non-ascii",
        "signature-full-width",
        "names-underscored",
    }
    assert faults_of("idenfy_flask")["signature-non-ascii"].got == "500"
    assert faults_of("idenfy_flask")["content-type-text"].got == "415"


def test_the_node_sample_fails_wherever_the_lengths_differ() -> None:
    found = faults_of("idenfy_express")
    assert {"signature-missing", "signature-empty", "signature-cut", "signature-extended", "encoded-base64"} <= set(
        found
    )
    assert {found[id].got for id in ("signature-missing", "signature-cut", "encoded-base64")} == {"500"}
    assert not {"encoded-hex-upper", "wrong-secret", "signature-last-changed"} & set(found)
    assert not any(one.grave for one in found.values())


def test_a_receiver_that_dumps_again_refuses_every_example_with_a_letter_beyond_ascii() -> None:
    found = faults_of("zignsec_reserialiser")
    assert {"example-success", "non-ascii", "pretty-printed", "crlf", "escaped", "example-success-xml"} <= set(found)
    assert {found[id].got for id in ("example-success", "non-ascii", "pretty-printed")} == {"401"}
    assert "example-failure" not in found


def test_a_receiver_that_minifies_by_parsing_loses_what_parsing_loses() -> None:
    found = faults_of("seal_id_reserialiser")
    assert {"escaped", "bom", "only-ubiid-notification-signature", "signature-missing"} <= set(found)
    assert {"timestamp-extended", "timestamp-words", "bom-added"} <= set(found)
    assert not {"example-identification", "blanks-added", "reserialised", "keys-sorted", "nulls-dropped"} & set(found)


def test_a_correct_receiver_of_seal_id_has_no_fault() -> None:
    """Bodies that are not JSON were signed in a form that was neither the bytes as posted nor any form of them."""
    assert faults_of("seal_id_careful") == {}


def test_a_receiver_that_strips_values_too_is_named_for_the_values_that_it_mixes_up_and_for_nothing_else() -> None:
    found = faults_of("seal_id_stripping")
    # Values with blanks are signed with their blanks: the page can be read both ways, and this is the way that was chosen.
    signed_with_blanks = {"example-non-ascii", "example-unknown-status", "non-ascii", "document-type"}
    assert set(found) == {"blank-added-to-value", *signed_with_blanks}
    assert found["blank-added-to-value"].got == "200"


def test_a_receiver_that_takes_a_request_without_a_token_is_wide_open() -> None:
    assert faults_of("bankid_open")["token-missing"].grave


def test_a_receiver_that_takes_any_age_is_named() -> None:
    found = faults_of("webhooks_ageless")
    assert found["timestamp-old"].grave
    assert found["timestamp-ahead"].grave
    assert not {"wrong-secret", "signature-missing", "timestamp-altered", "byte-changed"} & set(found)


def test_400_for_a_signed_body_that_does_not_parse_is_named_and_nothing_else() -> None:
    found = faults_of("idenfy_bad_request")
    assert set(found) == SIGNED_BUT_NOT_JSON
    assert {one.got for one in found.values()} == {"400"}


def test_comparing_beginnings_is_a_way_in_and_a_told_signature_another() -> None:
    found = faults_of("idenfy_prefix")
    grave = {id for id, one in found.items() if one.grave}
    assert {"signature-missing", "signature-empty", "signature-one-character", "signature-cut"} <= grave
    assert "SIGNATURE" in found["wrong-secret"].fault


def test_a_framework_that_answers_options_gives_no_consent() -> None:
    found = faults_of("bankid_framework")
    assert {"consent", "consent-lower-case", "consent-bad-token", "consent-rate-asked"} <= set(found)
    assert found["consent"].fault == "No consent: WebHook-Allowed-Origin is missing."
    assert not {"origin-foreign", "origin-missing", "cors"} & set(found)


def test_a_token_believed_for_its_signature_alone_is_a_way_in() -> None:
    found = faults_of("bankid_framework")
    grave = {id for id, one in found.items() if one.grave}
    assert {"token-other-audience", "token-no-audience", "token-other-issuer", "token-version-1"} <= grave
    assert not {"token-alg-none", "token-alg-hs256", "token-stranger-key", "token-expired"} & set(found)


def test_a_header_that_is_split_without_a_look_fails() -> None:
    found = faults_of("bankid_framework")
    assert {found[id].got for id in ("token-missing", "token-bearer-only", "token-basic")} == {"500"}


def test_statuses_are_read_as_bankid_reads_them() -> None:
    found = faults_of("bankid_framework")
    assert found["example-alarm"].got == "205"
    assert "the event is lost" in found["type-unknown"].fault
    assert "the event is lost" in found["media-type-case"].fault


def test_the_documents_own_handshake_grants_whoever_asks() -> None:
    found = faults_of("bankid_ktor")
    assert {"origin-foreign", "origin-suffix", "origin-missing", "cors"} <= set(found)
    assert not {"consent", "consent-bad-token", "token-missing", "token-other-audience", "type-unknown"} & set(found)


def test_an_envelope_that_nobody_looks_into_is_named() -> None:
    assert {"no-id", "empty-id", "specversion-old", "not-an-object", "other-media-type"} <= set(
        faults_of("bankid_ktor")
    )


# --- what the user sees


@pytest.fixture
def flask() -> Iterator[str]:
    with listening(sample("idenfy_flask")) as url:
        yield url


@pytest.fixture
def prefix() -> Iterator[str]:
    with listening(sample("idenfy_prefix"), stalled_s=0.2) as url:
        yield url


def test_the_report_fits_80_columns_and_names_every_fault(prefix: str) -> None:
    ended = run("idenfy", "--to", prefix, "--secret", SECRET, "--assess")
    lines = ended.stdout.splitlines()
    assert ended.returncode == 1
    assert max(map(len, lines)) <= 80
    rows = {line.split()[1]: line.split()[0] for line in lines if line[:5].strip() in ("ok", "BAD", "GRAVE")}
    assert (rows["example-approved"], rows["signature-empty"], rows["signature-twice"]) == ("ok", "GRAVE", "BAD")
    bad = [id for id, mark in rows.items() if mark != "ok"]
    assert f"{len(bad)} of {len(rows)} cases are bad:" in [line.strip() for line in lines]
    assert all(any(line.startswith(f"  {id}: ") for line in lines) for id in bad)
    assert SECRET not in ended.stdout + ended.stderr


def test_the_report_for_programs_is_one_document(prefix: str) -> None:
    ended = run("idenfy", "--to", prefix, "--secret", SECRET, "--assess", "--json")
    report: dict[str, Any] = json.loads(ended.stdout)
    assert (ended.returncode, report["ok"], report["provider"], report["url"]) == (1, False, "idenfy", prefix)
    assert {row["result"] for row in report["report"]} == {"ok", "bad", "grave"}


def test_a_wrong_secret_is_hinted_at(prefix: str) -> None:
    ended = run("idenfy", "--to", prefix, "--secret", "another secret, also long enough", "--assess")
    assert ended.returncode == 1
    assert "Check first that the receiver has this secret" in " ".join(ended.stdout.split())


@pytest.mark.parametrize(
    ("kinds", "lines", "code"),
    [
        (["duplicate"], ["duplicate first 200 as it should be", "duplicate again 200 as it should be"], 0),
        (["wrong-secret"], ["wrong-secret 403 as it should be; iDenfy would try again in"], 0),
        (["altered-body", "wrong-encoding"], ["altered-body 403 as it", "wrong-encoding 403 as it"], 0),
        (["reorder"], ["reorder newer 200", "reorder older 200"], 0),
        (["drop-answer"], ["drop-answer first left the answer was not waited for", "drop-answer again 200"], 0),
        (["truncated-body"], ["truncated-body connect_reset as it should be"], 0),
    ],
    ids=lambda value: value[0].split()[0] if isinstance(value, list) else "",
)
def test_a_fault_is_sent_and_its_end_told(flask: str, kinds: list[str], lines: list[str], code: int) -> None:
    asked = [word for kind in kinds for word in ("--fault", kind)]
    ended = run("idenfy", "--to", flask, "--secret", SECRET, "--speed", "10000", *asked)
    told = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    assert ended.returncode == code, ended.stdout + ended.stderr
    assert len(told) == len(lines)
    assert all(one.startswith(line) for one, line in zip(told, lines, strict=True)), told


def test_a_fault_that_is_answered_wrongly_makes_it_fail(prefix: str) -> None:
    ended = run("idenfy", "--to", prefix, "--secret", SECRET, "--fault", "wrong-encoding", "--fault", "duplicate")
    assert ended.returncode == 0
    ended = run("idenfy", "--to", prefix, "--secret", "another secret, also long enough", "--fault", "duplicate")
    assert ended.returncode == 1
    assert "iDenfy would try again in" in ended.stdout


@pytest.mark.parametrize(
    ("provider", "kind", "offered"),
    [
        ("idenfy", "expired-token", "wrong-secret"),
        ("idenfy", "old-timestamp", "altered-body"),
        ("seal_id", "nonsense", "old-timestamp"),
        ("bankid_antifraud", "wrong-secret", "unknown-key"),
    ],
)
def test_a_fault_that_cannot_be_is_answered_with_those_that_can(provider: str, kind: str, offered: str) -> None:
    proof = ["--set", f"audience={AUDIENCE}"] if provider == "bankid_antifraud" else ["--secret", SECRET]
    ended = run(provider, "--to", "http://127.0.0.1:9/", *proof, "--fault", kind)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert offered in ended.stderr
    assert ended.stderr.count("\n") == 1
