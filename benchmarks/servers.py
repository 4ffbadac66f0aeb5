"""The servers that `run.py` measures, each in a process of its own.

python servers.py bare|verify|hookseal PORT FOLDER
"""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

from hookseal import catalogue
from hookseal.cli.serve import run, serving_until_stopped
from hookseal.clock import SystemClock
from hookseal.manage.configuration import load
from hookseal.message import Request
from hookseal.model import ProviderId
from hookseal.schemes.verdict import Keys, Proven
from hookseal.web.server import serving

SECRET = "a-secret-of-the-benchmark"
CONFIG = f"""
[[source]]
id = "idenfy"
provider = "idenfy"
secrets = ["{SECRET}"]
"""


async def body_of(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def bare(scope: Any, receive: Any, send: Any) -> None:
    await body_of(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def verify(scope: Any, receive: Any, send: Any) -> None:
    body = await body_of(receive)
    request = Request(headers=tuple(map(tuple, scope["headers"])), body=body)
    verdict = SCHEME.verify(request, KEYS, CLOCK.now())
    status = 200 if isinstance(verdict, Proven) else 403
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


SCHEME = catalogue.provider(ProviderId("idenfy")).bind({})
KEYS = Keys(secrets=(SECRET.encode(),))
CLOCK = SystemClock()


async def until_stopped(app: Any, port: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with serving(app, f"127.0.0.1:{port}"):
        await stopped.wait()


def main() -> None:
    kind, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "hookseal":
        config = folder / "hookseal.toml"
        config.write_text(f'[server]\nlisten = "127.0.0.1:{port}"\n{CONFIG}')
        run(serving_until_stopped(load(config)))
    else:
        run(until_stopped({"bare": bare, "verify": verify}[kind], port))


if __name__ == "__main__":
    main()
