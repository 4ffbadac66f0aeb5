"""A gateway in a process of its own whose wall clock is off, by as much as a file says. Run by the clock tests.

    python node_wrong_clock.py CONFIG

The file `clock` beside CONFIG has the seconds to add to the machine's time. It is read at the start and at each SIGUSR1.
The monotonic clock is not changed. In the environment, NODE_SWEEP_S is the time between two sweeps of retention, and
NODE_SETTLE_S how long a step of the clock is doubted at least, so that a test need not wait a minute for them.
"""

import os
import signal
import sys
from pathlib import Path

from hookseal.cli.serve import run, serving_until_stopped
from hookseal.clock import Instant, SystemClock, plus
from hookseal.manage.configuration import load
from hookseal.manage.retention import Retention

config = Path(sys.argv[1])
true_now = SystemClock.now
set_by_s = 0.0


def now(clock: SystemClock) -> Instant:
    return plus(true_now(clock), set_by_s)


def set_clock(number: int = 0, frame: object = None) -> None:
    global set_by_s
    set_by_s = float(config.with_name("clock").read_text())


set_clock()
SystemClock.now = now  # type: ignore[method-assign]
signal.signal(signal.SIGUSR1, set_clock)
if sweep_s := os.environ.get("NODE_SWEEP_S"):
    Retention.__init__.__kwdefaults__["every_s"] = float(sweep_s)
if settle_s := os.environ.get("NODE_SETTLE_S"):
    from hookseal import time_source

    time_source.SETTLE_S = float(settle_s)
run(serving_until_stopped(load(config), listening=lambda url: print(f"listening {url}", flush=True)))
