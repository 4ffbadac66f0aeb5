"""How a test ends a process that may have ended by itself."""

import asyncio
import contextlib


async def kill(process: asyncio.subprocess.Process) -> int:
    """Kill a process with SIGKILL, and return its exit code. A process that has ended keeps the code it ended with.

    asyncio raises ProcessLookupError for a process that ended after the test looked at it: the exit is known to the
    event loop before `returncode` is set, so that looking at `returncode` first does not help.
    """
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    return await process.wait()
