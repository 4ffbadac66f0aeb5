"""`make bench`: how many signed requests a second are received, proven, stored and answered; a table and JSON.

    python benchmarks/run.py [--seconds 3] [--rounds 5] [--connections 64]

Servers take turns within each round, so that a machine whose speed drifts drifts for all of them; what is printed are
medians over the rounds and ratios within one run. The load generator is C (`lg.c`) and needs gcc.
"""

import argparse
import base64
import hashlib
import hmac
import json
import random
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers import SECRET

HERE = Path(__file__).parent
KINDS = ("bare", "verify", "hookseal")
REQUESTS = 200_000


def requests(path: Path) -> None:
    """Distinct identification results of about 1.1 kB, signed; one 20-byte header field is the generator's to vary."""
    dice = random.Random(1)
    names = ("JONAS", "MARIA", "LARS", "ANNA", "PETRAS", "INGRID", "OLE", "KARI")
    with path.open("wb") as file:
        file.write(struct.pack("<I", REQUESTS))
        for number in range(REQUESTS):
            data = {
                "docFirstName": dice.choice(names),
                "docLastName": dice.choice(names) + "SON",
                "docNumber": f"X{dice.randrange(10**7):07d}",
                "docDob": f"19{dice.randrange(99):02d}-0{dice.randrange(1, 9)}-{dice.randrange(10, 28)}",
                "docNationality": "LT",
            }
            status = {"overall": "APPROVED", "fraudTags": [], "mismatchTags": [], "autoFace": "FACE_MATCH"}
            picture = "https://files.example/" + base64.b64encode(dice.randbytes(225)).decode()
            body = json.dumps(
                {"final": True, "platform": "MOBILE_APP", "status": status, "data": data, "scanRef": f"{number:036d}"}
                | {
                    "fileUrls": {"FRONT": picture},
                    "clientId": f"client-{dice.randrange(10**6)}",
                    "startTime": 1554726960,
                }
                | {"finishTime": 1554727002, "clientIpCountry": "LT", "clientLocation": "Kaunas, Lithuania"}
            ).encode()
            signature = hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()
            head = (
                "POST /in/idenfy HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                f"Idenfy-Signature: {signature}\r\nX-Unique: "
            ).encode()
            raw = head + b"0" * 20 + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            file.write(struct.pack("<II", len(raw), len(head)) + raw)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def measure(kind: str, generator: Path, file: Path, seconds: int, connections: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, str(HERE / "servers.py"), kind, str(port), folder], stderr=subprocess.DEVNULL
        )
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            told = subprocess.run(
                [
                    str(generator),
                    "-p",
                    str(port),
                    "-c",
                    str(connections),
                    "-d",
                    str(seconds),
                    "-w",
                    "1",
                    "-r",
                    "0",
                    "-f",
                    str(file),
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            result = json.loads(told)
            usage = Path(f"/proc/{server.pid}/stat").read_text().rsplit(")", 1)[1].split()
            cpu_s = (int(usage[11]) + int(usage[12])) / 100
            memory = next(
                line for line in Path(f"/proc/{server.pid}/status").read_text().splitlines() if "VmHWM" in line
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
        disk = sum(one.stat().st_size for one in Path(folder).glob("hookseal.db*"))
    if set(result["st"]) != {"200"}:
        raise SystemExit(f"{kind}: not all were answered 200: {result['st']}")
    return {
        "per_s": result["rps"],
        "p50_ms": result["p50"],
        "p99_ms": result["p99"],
        "cpu_us": cpu_s / result["total_ok"] * 1e6,
        "peak_mb": int(memory.split()[1]) / 1024,
        "disk_bytes": disk / result["total_ok"],
    }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seconds", type=int, default=3)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--connections", type=int, default=64)
    given = words.parse_args()
    if shutil.which("gcc") is None:
        raise SystemExit("the load generator needs gcc")
    with tempfile.TemporaryDirectory() as folder:
        generator, file = Path(folder) / "lg", Path(folder) / "requests"
        subprocess.run(["gcc", "-O2", "-o", str(generator), str(HERE / "lg.c"), "-lm"], check=True)
        requests(file)
        runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(given.rounds):
            for kind in KINDS:
                runs[kind].append(measure(kind, generator, file, given.seconds, given.connections))
    medians = {
        kind: {name: round(statistics.median(one[name] for one in rounds), 1) for name in rounds[0]}
        for kind, rounds in runs.items()
    }
    print(f"{'':<10}{'per s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}{'peak MB':>9}{'B/event':>9}", file=sys.stderr)
    for kind, row in medians.items():
        cells = f"{row['per_s']:>10.0f}{row['p50_ms']:>9.1f}{row['p99_ms']:>9.1f}{row['cpu_us']:>9.0f}{row['peak_mb']:>9.0f}"
        print(f"{kind:<10}{cells}{row['disk_bytes']:>9.0f}", file=sys.stderr)
    stored = medians["hookseal"]["per_s"]
    ratios = {kind: round(stored / medians[kind]["per_s"], 3) for kind in KINDS if kind != "hookseal"}
    print(json.dumps({"medians": medians, "hookseal_to": ratios, "rounds": given.rounds, "seconds": given.seconds}))


if __name__ == "__main__":
    main()
