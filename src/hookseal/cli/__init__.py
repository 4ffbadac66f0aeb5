"""The command line: how a run ends.

    0    done, or the request was accepted
    1    refused or failed
    2    usage or configuration error
    130  stopped with Ctrl-C

Results go to stdout, words for people to stderr. Whatever happens, an operator reads one sentence and no traceback,
unless `--debug` is given before the command: the text of an unforeseen exception may hold what nobody should read.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from hookseal.errors import CannotDecide, ConfigurationError, HooksealError, Refused, StoreLocked, StoreMismatch

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. argv: without the program's name; None takes `sys.argv`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = bool(arguments) and arguments[0] == "--debug"
    if debug:
        del arguments[0]
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left (`hookseal providers | head`). Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _told(error)
    return code


def run() -> NoReturn:
    """The program `hookseal`: run the command of `sys.argv` and end the process with its exit code.

    The interpreter is not taken down. A native thread of the HTTP server may still be letting go of its last objects,
    and one that asks for the interpreter while that is being taken down aborts the process: a run that had done all of
    its work would end with SIGABRT. Whatever must be stored or closed is so when `main` returns.
    """
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def _run(arguments: list[str]) -> int:
    from hookseal.cli.app import command

    try:
        command(arguments)(arguments, prog_name="hookseal")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
    return DONE


def _told(error: Exception) -> int:
    """Say on stderr how the run failed; the exit code. Our own errors explain themselves, others only where they arose."""
    if isinstance(error, ConfigurationError | StoreLocked | StoreMismatch | CannotDecide):
        _say(str(error))
        return MISUSED
    if isinstance(error, Refused):
        _say(f"refused: {error.reason}")
    elif isinstance(error, HooksealError):
        _say(str(error) or error.code)
    else:
        from hookseal.logs import place_of

        _say(f"{type(error).__name__} at {place_of(error.__traceback__)}; `hookseal --debug ...` shows more")
    return FAILED


def _say(sentence: str) -> None:
    with suppress(OSError):  # where nothing can be said, the exit code still tells
        print(f"hookseal: {' '.join(sentence.split())}", file=sys.stderr)
