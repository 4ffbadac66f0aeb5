"""The whole suite, in two processes side by side: the fault tests, which mostly wait, and all others, which compute.

    python tests/side_by_side.py [PYTEST OPTIONS]

What the fault tests say is shown as they say it, what the others say when they have ended. Ends with 1 when either
fails.
"""

import contextlib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

TESTS = Path(__file__).parent
FAULTS = TESTS / "fault"


def started(arguments: list[str], output: IO[bytes] | None = None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.Popen(command, cwd=TESTS.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def main(options: list[str]) -> int:
    with tempfile.TemporaryFile() as output:
        others = started([f"--ignore={FAULTS}", *options], output)
        faults = started([str(FAULTS), *options])
        try:
            codes = [faults.wait(), others.wait()]
        except KeyboardInterrupt:
            for one in (others, faults):  # both have been told by the terminal, too; they clean up
                with contextlib.suppress(ProcessLookupError):
                    one.send_signal(signal.SIGINT)
                one.wait()
            return 130
        finally:
            output.seek(0)
            sys.stdout.flush()
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
    return 0 if codes == [0, 0] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
