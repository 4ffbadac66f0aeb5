"""`hookseal demo`: receiving and delivering in one process, over real sockets on this machine, without configuration.

Four simulated providers call a gateway on a temporary store. The gateway delivers to a sink that represents the user's
service and checks every signature. The output shows only what was observed (`demo_board`). A forged request is sent
first, and again after each round. The gateway must refuse it, and the sink must not receive it.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hookseal.cli.demo_board import Board
    from hookseal.cli.demo_show import Screen
    from hookseal.cli.demo_stage import Stage

PROVIDERS = ("zignsec", "bankid_antifraud", "seal_id", "idenfy")

_ONCE_S = 30.0
_LAST_S = 5.0
_BEAT_S = 1.0


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    listen: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Where the gateway listens.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Send each example once, wait until all has arrived, end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: only the counts, as JSON.")] = False,
) -> None:
    """See it work: four providers, a gateway, a service. Needs no configuration; Ctrl-C ends it."""
    import tempfile

    from hookseal import logs
    from hookseal.cli.given import PLACE
    from hookseal.errors import ConfigurationError

    if as_json and not once:
        raise ConfigurationError(PLACE, "--json", "goes together with --once")
    undo = logs.configure(level="error", json=False)
    try:
        with tempfile.TemporaryDirectory(prefix="hookseal-demo-") as folder:
            done = asyncio.run(_run(Path(folder), listen, once, as_json))
    finally:
        undo()
    if not done:
        raise typer.Exit(1)


async def _run(folder: Path, listen: str | None, once: bool, as_json: bool) -> bool:
    """True when everything that was sent has arrived, and nothing else."""
    import io
    import signal

    from rich.console import Console

    from hookseal import catalogue
    from hookseal.cli import demo_stage
    from hookseal.cli.demo_board import Board, Counts
    from hookseal.cli.demo_show import Screen
    from hookseal.cli.printing import console, print_json
    from hookseal.clock import SystemClock
    from hookseal.model import ProviderId

    clock, stopping = SystemClock(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    entries = {id: catalogue.provider(ProviderId(id)) for id in PROVIDERS}
    names = {id: entry.name for id, entry in entries.items()}
    screen = Screen(Console(file=io.StringIO()) if as_json else console(), names, clock, stopping.set)
    board = Board(clock, screen, {id: Counts() for id in PROVIDERS})
    prefer = demo_stage.FREE if once else demo_stage.LISTEN
    async with demo_stage.built(folder, listen, prefer=prefer, entries=entries, board=board, clock=clock) as stage:
        begun = clock.monotonic()
        screen.opening(stage.url, stage.sink_url)
        # The forged request first: a reader who sees nothing but the first lines learns what the gateway is for.
        refused = await _forge(stage, screen)
        screen.participants(list(entries.values()))
        if not once:
            screen.hints(stage.commands)
        screen.legend()
        with screen.counting(board, "" if once else "Ctrl-C ends"):
            done = await (_one_round(stage, stopping) if once else _rounds(stage, screen, stopping))
        done = done and refused
        screen.closing(board, done, clock.monotonic() - begun if once else None)
    if not screen.is_read:
        raise BrokenPipeError
    if as_json:
        print_json(board.as_json())
    return done


async def _one_round(stage: "Stage", stopping: asyncio.Event) -> bool:
    """Run all providers at the same time, each example once. Ends after `_ONCE_S`, or early by Ctrl-C."""

    async def all_arrived() -> bool:
        async with asyncio.TaskGroup() as group:
            plays = [group.create_task(stage.simulators[id].play(stage.events(id))) for id in PROVIDERS]
        return all(play.result() for play in plays) and await stage.board.settled(_ONCE_S)

    done = await _unless(stopping, all_arrived(), _ONCE_S)
    return bool(done) and not stage.board.surprises


async def _rounds(stage: "Stage", screen: "Screen", stopping: asyncio.Event) -> bool:
    """One event after another, in a rhythm that an eye can follow, until Ctrl-C."""

    async def pause() -> bool:
        return await stage.clock.wait(stopping, _BEAT_S)

    async def one_after_another() -> bool:
        playing = [id for id in PROVIDERS if await stage.simulators[id].subscribe()]
        while True:
            queues = {id: stage.events(id) for id in playing}
            while turns := [id for id, queue in queues.items() if queue]:
                for id in turns:
                    for call in queues[id].pop(0)():
                        await stage.simulators[id].send(call)
                        if await pause():
                            return True
            await _forge(stage, screen)
            if await pause():
                return True

    await _unless(stopping, one_after_another(), None)
    return await stage.board.settled(_LAST_S) and not stage.board.surprises


async def _forge(stage: "Stage", screen: "Screen") -> bool:
    board: Board = stage.board
    refused = await stage.forge()
    if refused is None:
        board.surprises += 1
        screen.surprised("idenfy", "a forged request was not refused")
        return False
    board.refused += 1
    screen.refused("idenfy", "DENIED", "APPROVED", refused)
    return True


async def _unless(stopping: asyncio.Event, work: Coroutine[None, None, bool], timeout_s: float | None) -> bool | None:
    """The work's result; None when it took longer, or was stopped and did not end by itself soon after."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    await asyncio.wait({task, stop}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if stop.done() and not task.done():
        await asyncio.wait({task}, timeout=_LAST_S)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
