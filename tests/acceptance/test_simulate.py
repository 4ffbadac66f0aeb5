"""`hookseal simulate` as a user starts it, against a receiver written by hand and against our own gateway.

The hand-written receiver checks the proofs with nothing of hookseal, so that a mistake made on both sides shows.

    oracles  exit code, stdout, stderr, what the receiver got, what the gateway has stored
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request, urlopen

import jwt
import pytest

from hookseal.model import ProviderId, SourceId
from hookseal.settings import ApiSettings, EgressSettings, Settings, SourceSettings, StoreSettings
from hookseal.web.app import Gateway
from hookseal.web.server import serving

SECRET = "a secret of the tests, long enough"
API_KEY = "a management key of the tests"
AUDIENCE = "11111111-2222-4333-8444-555555555555"
TIMEOUT_S = 60
ISSUER = "https://login.microsoftonline.com/08a02467-3604-46e9-b818-6be676cf015b/v2.0"


@dataclass(frozen=True, slots=True)
class Got:
    method: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """answers: statuses of the POSTs in their order; the last one stays. consent: headers of the answer to OPTIONS."""

    url: str = ""
    answers: list[int] = field(default_factory=lambda: [200])
    consent: dict[str, str] = field(default_factory=dict)
    got: list[Got] = field(default_factory=list)

    @property
    def posts(self) -> list[Got]:
        return [one for one in self.got if one.method == "POST"]


@contextmanager
def receiving(receiver: Receiver) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            receiver.got.append(Got(self.command, dict(self.headers.items()), body))

        def do_OPTIONS(self) -> None:
            self.take()
            self.send_response(200)
            for name, value in receiver.consent.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            self.take()
            self.send_response(receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hooks?a=1"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(Receiver()) as one:
        yield one


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hookseal", "simulate", *arguments]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HOOKSEAL_")}


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)


async def simulate_beside(*arguments: str) -> tuple[int | None, str]:
    """The same while this process serves."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments), env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, output.decode()


# --- a receiver written by hand


def test_zignsec_signs_the_bytes_that_it_posts(receiver: Receiver) -> None:
    run = simulate("zignsec", "--to", receiver.url, "--secret", SECRET, "--count", "3")
    assert run.returncode == 0
    assert len({got.body for got in receiver.posts}) == 3
    for got in receiver.posts:
        digest = hmac.digest(SECRET.encode(), got.body, hashlib.sha256)
        assert got.headers["X-ZignSec-Hmac-SHA256"] == base64.b64encode(digest).decode()
        assert got.headers["Content-Type"] == "application/json; charset=utf-8"
        assert len(got.body) == 455


def test_idenfy_signs_in_hex_and_names_the_event(receiver: Receiver) -> None:
    assert simulate("idenfy", "--to", receiver.url, "--secret", SECRET, "--event", "denied").returncode == 0
    (got,) = receiver.posts
    assert got.headers["Idenfy-Signature"] == hmac.digest(SECRET.encode(), got.body, "sha256").hex()
    assert got.headers["Idenfy-Event-Type"] == "IDENTIFICATION_MANUAL_FINISHED"


def test_seal_id_sends_its_four_headers_and_419_bytes(receiver: Receiver) -> None:
    assert simulate("seal_id", "--to", receiver.url, "--secret", SECRET).returncode == 0
    (got,) = receiver.posts
    time = got.headers["ubiid-notification-timestamp"]
    digest = hmac.digest(SECRET.encode(), time.encode() + b"|" + got.body, "sha512")
    signature = base64.b64encode(digest).decode()
    assert got.headers["ubiid-notification-signature"] == got.headers["x-ubiid-notification-signature"] == signature
    assert got.headers["x-ubiid-notification-timestamp"] == time
    assert got.headers["accept"] == "*/*"
    assert len(got.body) == 419


def test_bankid_asks_for_consent_and_sends_a_token_of_the_key_set_that_it_serves(receiver: Receiver) -> None:
    receiver.consent = {"WebHook-Allowed-Origin": "eventgrid.azure.net", "WebHook-Allowed-Rate": "100"}
    receiver.answers = [503, 202]
    arguments = ["bankid_antifraud", "--to", receiver.url, "--set", f"audience={AUDIENCE}", "--retry"]
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        told = [process.stderr.readline() for _ in range(3)]
        while "tries again in" not in process.stdout.readline():
            pass
        key_set = jwt.PyJWKSet.from_json(urlopen(told[2].split('"')[1]).read())  # before the second try, 10 s later
        process.kill()
    asked, post = receiver.got[:2]
    assert asked.method == "OPTIONS"
    assert asked.headers["WebHook-Request-Origin"] == "eventgrid.azure.net"
    assert "Authorization" not in asked.headers
    assert post.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    token = post.headers["Authorization"].removeprefix("Bearer ")
    key = key_set[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
    assert claims["ver"] == "2.0"


def test_without_consent_nothing_is_sent(receiver: Receiver) -> None:
    run = simulate("bankid_antifraud", "--to", receiver.url, "--set", f"audience={AUDIENCE}")
    assert run.returncode == 1
    assert receiver.posts == []
    assert "no consent: WebHook-Allowed-Origin is missing; nothing is sent" in run.stdout


def test_after_one_500_the_same_bytes_come_again(receiver: Receiver) -> None:
    receiver.answers = [500, 200]
    run = simulate("zignsec", "--to", receiver.url, "--secret", SECRET, "--retry", "--speed", "10000")
    assert run.returncode == 0
    first, second = receiver.posts
    assert (first.body, first.headers) == (second.body, second.headers)
    assert "500  tries again in" in run.stdout
    assert "1 of 1 acknowledged" in run.stderr


@pytest.mark.parametrize(
    ("provider", "more", "is_ours"),
    [
        ("idenfy", (), True),
        ("seal_id", (), True),
        ("zignsec", (), True),
        ("idenfy", ("--fault", "wrong-secret"), True),
        ("bankid_antifraud", ("--set", "audience=a"), False),
    ],
)
def test_waits_that_no_provider_publishes_are_called_ours(
    receiver: Receiver, provider: str, more: tuple[str, ...], is_ours: bool
) -> None:
    secret = () if provider == "bankid_antifraud" else ("--secret", SECRET)
    run = simulate(provider, "--to", receiver.url, *secret, *more)
    assert run.stderr.count("hookseal's own") == is_ours
    assert ("publishes no waits" in run.stderr) == is_ours


def test_a_receiver_that_never_acknowledges_makes_it_fail(receiver: Receiver) -> None:
    receiver.answers = [500]
    run = simulate("zignsec", "--to", receiver.url, "--secret", SECRET, "--retry", "--speed", "100000")
    assert run.returncode == 1
    assert len(receiver.posts) == 4
    assert "0 of 1 acknowledged" in run.stderr


def test_without_retry_each_event_is_sent_once(receiver: Receiver) -> None:
    """The command waited through a schedule of days, without a word about how long that takes."""
    receiver.answers = [500]
    run = simulate("idenfy", "--to", receiver.url, "--secret", SECRET, "--count", "2")
    assert run.returncode == 1
    assert len(receiver.posts) == 2
    assert run.stdout.count("500  would try again in") == run.stdout.count("--retry waits for it") == 2
    assert "0 of 2 acknowledged" in run.stderr


def test_with_retry_the_whole_wait_is_told_before_it_begins(receiver: Receiver) -> None:
    receiver.answers = [500]
    arguments = ["--to", receiver.url, "--secret", SECRET, "--retry"]
    with subprocess.Popen(
        command("zignsec", *arguments), env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    # 1 min, 10 min and 1 h, of which the first has an unknown jitter of 12 s on either side
    assert re.search(r"tries again in [4-7][0-9] s, for at most 7[01] min; --speed shortens it", line)
    assert len(receiver.posts) == 1


def test_variants_send_every_example(receiver: Receiver) -> None:
    run = simulate("idenfy", "--to", receiver.url, "--secret", SECRET, "--variants")
    assert run.returncode == 0
    kinds = {got.headers["Idenfy-Event-Type"] for got in receiver.posts}
    assert len(kinds) == 23
    names = [line.split()[0] for line in simulate("idenfy", "--list").stdout.splitlines()]
    assert {line.split()[0] for line in run.stdout.splitlines()} == set(names)
    for got in receiver.posts:
        assert got.headers["Idenfy-Signature"] == hmac.digest(SECRET.encode(), got.body, "sha256").hex()


def test_an_unsigned_product_sends_no_proof(receiver: Receiver) -> None:
    run = simulate("zignsec", "--to", receiver.url, "--unsigned", "--event", "sms-failed")
    assert run.returncode == 0, run.stderr
    assert [json.loads(got.body)["status"] for got in receiver.posts] == ["queued", "failed"]
    assert all("X-ZignSec-Hmac-SHA256" not in got.headers for got in receiver.posts)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [302, 200]
    run = simulate("idenfy", "--to", receiver.url, "--secret", SECRET, "--retry", "--speed", "100000")
    assert run.returncode == 0
    assert [got.method for got in receiver.got] == ["POST", "POST"]


def test_the_secret_may_stand_in_a_file(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    run = simulate("idenfy", "--to", receiver.url, "--secret-file", str(tmp_path / "secret"))
    assert run.returncode == 0
    assert (
        receiver.posts[0].headers["Idenfy-Signature"]
        == hmac.digest(SECRET.encode(), receiver.posts[0].body, "sha256").hex()
    )


def test_the_secret_is_not_in_the_output(receiver: Receiver) -> None:
    run = simulate("idenfy", "--to", receiver.url, "--secret", SECRET)
    assert SECRET not in run.stdout + run.stderr


def test_it_ends_without_a_word_when_nobody_reads_any_more(receiver: Receiver) -> None:
    arguments = ["zignsec", "--to", receiver.url, "--secret", SECRET, "--count", "1000000"]
    with subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 1
        said = process.stderr.read().splitlines()
        # It is said before anything is sent; nothing is said of the reader.
        assert [line for line in said if "publishes no waits" not in line] == []


# --- what cannot be


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["zignsec"], "--to"),
        (["zignsec", "--to", "URL"], "--secret"),
        (["zignsec", "--to", "ftp://127.0.0.1/", "--secret", "s"], "--to"),
        (["zignsec", "--to", "URL", "--secret", "s", "--event", "nonsense"], "--event"),
        (["zignsec", "--to", "URL", "--secret", "s", "--fault", "slow"], "--fault"),
        (["zignsec", "--to", "URL", "--secret", "s", "--assess", "--event", "sms"], "--assess"),
        (["zignsec", "--to", "URL", "--secret", "s", "--assess", "--variants"], "--variants"),
        (["zignsec", "--to", "URL", "--secret", "s", "--event", "sms", "--variants"], "--variants"),
        (["seal_id", "--to", "URL", "--unsigned"], "--unsigned"),
        (["zignsec", "--to", "URL", "--unsigned", "--secret", "s"], "--unsigned"),
        (["zignsec", "--to", "URL", "--unsigned", "--fault", "wrong-secret"], "unsigned zignsec"),
        (["zignsec", "--to", "URL", "--secret", "s", "--json"], "--json"),
        (["zignsec", "--to", "URL", "--secret", "s", "--set", "mode=raw"], "--set mode"),
        (["zignsec", "--to", "URL", "--secret", "s", "--rate", "0"], "--rate"),
        (["zignsec", "--to", "URL", "--secret", "s", "--speed", "-1"], "--speed"),
        (["zignsec", "--to", "URL", "--secret", "s", "--secret-file", __file__], "--secret"),
        (["bankid_antifraud", "--to", "URL"], "audience"),
        (["bankid_antifraud", "--to", "URL", "--set", "audience=a", "--secret", "no key"], "private key"),
        (["nonsense", "--to", "URL"], "provider"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_is_one_sentence_and_sends_nothing(receiver: Receiver, arguments: list[str], named: str) -> None:
    run = simulate(*(receiver.url if one == "URL" else one for one in arguments))
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert named in run.stderr
    assert receiver.got == []


def test_the_examples_of_a_provider_can_be_listed() -> None:
    run = simulate("idenfy", "--list")
    assert run.returncode == 0
    assert [line.split()[0] for line in run.stdout.splitlines()][:2] == ["approved", "denied"]


# --- our own gateway


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def settings_of(folder: Path, provider: str, options: dict[str, object]) -> Settings:
    return Settings(
        store=StoreSettings(url=f"sqlite:///{folder / 'gateway.db'}", keyring=f"file:{folder / 'gateway.key'}"),
        api=ApiSettings(keys=(API_KEY.encode(),)),
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


@pytest.mark.parametrize(
    ("provider", "event", "count", "types"),
    [
        ("zignsec", "sms", 2, ["message.status.updated"] * 6),
        ("zignsec", "success-xml", 1, ["identity.authentication.completed"]),
        ("seal_id", "signing", 3, ["identity.signature.completed"] * 3),
        ("idenfy", "manual-review", 1, ["identity.verification.completed", "identity.verification.updated"]),
        ("bankid_antifraud", "batch", 2, ["risk.alarm.raised"] * 4),
        ("bankid_antifraud", "heartbeat", 1, ["other"]),
        (
            "seal_id",
            "steps",
            1,
            [
                "identity.verification.completed",
                "identity.verification.started",
                *["identity.verification.updated"] * 3,
            ],
        ),
    ],
)
async def test_the_gateway_accepts_what_is_sent(
    tmp_path: Path, provider: str, event: str, count: int, types: list[str]
) -> None:
    port, options, proof = free_port(), {}, ["--secret", SECRET]
    if provider == "bankid_antifraud":
        options = {"audience": AUDIENCE, "jwks_url": f"http://127.0.0.1:{port}/tenant/discovery/v2.0/keys"}
        proof = ["--set", f"audience={AUDIENCE}", "--listen", f"127.0.0.1:{port}", "--speed", "1000"]
    gateway = Gateway(settings_of(tmp_path, provider, dict(options)))
    async with gateway, serving(gateway, "127.0.0.1:0") as address:
        url = f"{address.url}/in/source"
        code, output = await simulate_beside(provider, "--to", url, "--event", event, "--count", str(count), *proof)
        assert code == 0, output
        rows = await asyncio.to_thread(events_at, address.url)
    assert sorted(row["type"] for row in rows) == types


async def test_a_fault_of_a_token_waits_until_the_receiver_has_the_keys(tmp_path: Path) -> None:
    port = free_port()  # nothing serves the key set before the command does
    options = {"audience": AUDIENCE, "jwks_url": f"http://127.0.0.1:{port}/tenant/discovery/v2.0/keys"}
    gateway = Gateway(settings_of(tmp_path, "bankid_antifraud", dict(options)))
    async with gateway, serving(gateway, "127.0.0.1:0") as address:
        proof = ["--set", f"audience={AUDIENCE}", "--listen", f"127.0.0.1:{port}"]
        code, output = await simulate_beside(
            "bankid_antifraud", "--to", f"{address.url}/in/source", *proof, "--fault", "expired-token"
        )
    assert code == 0, output
    assert "401" in output


def events_at(url: str) -> list[dict[str, str]]:
    request = Request(f"{url}/api/v1/events?limit=1000", headers={"Authorization": f"Bearer {API_KEY}"})
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        rows: list[dict[str, str]] = json.load(answer)["data"]
        return rows


async def test_a_wrong_secret_is_told_with_what_the_provider_would_do(tmp_path: Path) -> None:
    gateway = Gateway(settings_of(tmp_path, "idenfy", {}))
    async with gateway, serving(gateway, "127.0.0.1:0") as address:
        code, output = await simulate_beside(
            "idenfy", "--to", f"{address.url}/in/source", "--secret", "wrong", "--retry", "--speed", "1000000"
        )
    assert code == 1
    assert "403  Invalid signature; tries again in" in output
    assert "would not try again: the event is lost (try 10)" in output
