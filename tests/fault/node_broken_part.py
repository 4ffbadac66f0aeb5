"""A gateway in a process of its own in which one part crashes on request. Run by the health tests, never imported.

    python node_broken_part.py CONFIG PART

On SIGUSR1 the part crashes with an exception that nothing catches:
    store_writer       the next transaction of the store
    claim_loop, lease_loop, rate_loop, suspect_loop, retention, registrations, subscriptions, key_sets   the task of that loop
"""

import asyncio
import signal
import sys
from pathlib import Path

from hookseal import probe
from hookseal.cli.serve import run, serving_until_stopped
from hookseal.errors import PartEnded
from hookseal.manage.configuration import load
from hookseal.probe import Step

PART = sys.argv[2]
CODE_OF = {
    "claim_loop": "Engine._run",
    "lease_loop": "Engine._keep_leases",
    "rate_loop": "Engine._open_lanes",
    "suspect_loop": "Isolation.run",
    "retention": "Retention._run",
    "registrations": "Registrations._follow",
    "subscriptions": "Subscriptions._run",
    "key_sets": "KeySets._renew",
}


class Crash(BaseException):
    """Not an Exception: `except Exception` does not hold it up."""


def crash(*_: object) -> None:
    if PART == "store_writer":

        def fail(step: Step) -> None:
            if step is Step.WRITE_BEGUN:
                raise Crash

        probe.listen(fail)
        return
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if getattr(coroutine, "__qualname__", "") == CODE_OF[PART]:
            task.cancel()


async def main() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, crash)
    await serving_until_stopped(load(Path(sys.argv[1])), listening=lambda url: print(f"listening {url}", flush=True))


try:
    run(main())
except PartEnded as error:
    sys.exit(f"hookseal: {error}")
