"""A gateway in a process of its own that pulls its own plug at a named step. Run by the kill tests, never imported.

    python node.py CONFIG [STEP NTH]

Tells `listening URL` on stdout once it accepts connections. With STEP and NTH it sends itself SIGKILL when that step is
reached for the NTH time: no handler runs, no buffer is flushed, no lock is let go.
"""

import os
import signal
import sys
from pathlib import Path

from hookseal import probe
from hookseal.cli.serve import run, serving_until_stopped
from hookseal.manage.configuration import load
from hookseal.probe import Step


def main() -> None:
    config = Path(sys.argv[1])
    if len(sys.argv) > 2:
        step, left = Step(sys.argv[2]), int(sys.argv[3])

        def pull_the_plug(reached: Step) -> None:
            nonlocal left
            if reached is step:
                left -= 1
                if left <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        probe.listen(pull_the_plug)
    run(serving_until_stopped(load(config), listening=lambda url: print(f"listening {url}", flush=True)))


main()
