"""A gateway in a process of its own that pulls its own plug at a named step. Run by the kill tests, never imported.

    python node.py CONFIG [STEP NTH]

Tells `listening URL` on stdout once it accepts connections. With STEP and NTH it sends itself SIGKILL when that step is
reached for the NTH time: no handler runs, no buffer is flushed, no lock is let go. In the environment, NODE_SIGNAL names
another signal, SIGSTOP for example, and NODE_LEASE_S shortens its leases, so that a test need not wait a minute for those
of a dead node.
"""

import os
import signal
import sys
from pathlib import Path

from hookseal import probe
from hookseal.cli.serve import run, serving_until_stopped
from hookseal.delivery import engine
from hookseal.manage.configuration import load
from hookseal.probe import Step


def shorten_leases(lease_s: float) -> None:
    """All that an engine derives from its lease, in proportion."""
    scale = lease_s / engine.LEASE_S
    for name in ("LEASE_S", "HEARTBEAT_S", "COVER_S", "OVERDUE_S", "POLL_S"):
        setattr(engine, name, getattr(engine, name) * scale)


def main() -> None:
    config = Path(sys.argv[1])
    if lease_s := os.environ.get("NODE_LEASE_S"):
        shorten_leases(float(lease_s))
    if len(sys.argv) > 2:
        step, left = Step(sys.argv[2]), int(sys.argv[3])
        number = signal.Signals[os.environ.get("NODE_SIGNAL", "SIGKILL")]

        def pull_the_plug(reached: Step) -> None:
            nonlocal left
            if reached is step:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), number)

        probe.listen(pull_the_plug)
    run(serving_until_stopped(load(config), listening=lambda url: print(f"listening {url}", flush=True)))


main()
