"""A gateway in a process of its own whose wall clock is set by a signal. Run by the clock tests, never imported.

    python node_set_clock.py CONFIG

SIGUSR1 sets it 10 minutes ahead of the machine's, SIGUSR2 10 minutes behind. Its monotonic clock goes on as before.
"""

import signal
import sys
from pathlib import Path

from hookseal.cli.serve import run, serving_until_stopped
from hookseal.clock import Instant, SystemClock, plus
from hookseal.manage.configuration import load

SET_BY_S = {signal.SIGUSR1: 600.0, signal.SIGUSR2: -600.0}

true_now = SystemClock.now
set_by_s = 0.0


def now(clock: SystemClock) -> Instant:
    return plus(true_now(clock), set_by_s)


def set_clock(number: int, frame: object) -> None:
    global set_by_s
    set_by_s = SET_BY_S[signal.Signals(number)]


SystemClock.now = now  # type: ignore[method-assign]
for each in SET_BY_S:
    signal.signal(each, set_clock)
run(serving_until_stopped(load(Path(sys.argv[1])), listening=lambda url: print(f"listening {url}", flush=True)))
