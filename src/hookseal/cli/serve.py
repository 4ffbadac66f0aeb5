"""`hookseal serve`: one process, one node, until SIGTERM or Ctrl-C."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookseal.clock import SystemClock
from hookseal.errors import PartEnded, StoreUnavailable
from hookseal.settings import Settings

if TYPE_CHECKING:
    from hookseal.web.app import Gateway

_SUSPECT_STORE = (
    "the store is new and empty, but its keys were there before. If something was stored already, stop: its volume is not "
    "mounted, or [store] url names another one. After the first start, set [store] create = false"
)


def register(app: typer.Typer) -> None:
    @app.command()
    def serve(
        config: Annotated[Path | None, typer.Option(help="The configuration file.")] = None,
        listen: Annotated[str | None, typer.Option(help="HOST:PORT to receive on.")] = None,
        data: Annotated[Path | None, typer.Option(help="Folder of the store and its key file.")] = None,
        dev: Annotated[bool, typer.Option("--dev", help="Open the API on loopback without a key.")] = False,
    ) -> None:
        """Run the gateway: receive, prove, store, answer, deliver."""
        from hookseal import logs
        from hookseal.manage.configuration import load

        settings = load(config, listen=listen, data=data, dev=dev)
        logs.configure()
        try:
            run(serving_until_stopped(settings, dev=dev))
        finally:
            logs.write_left_out()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def serving_until_stopped(
    settings: Settings, *, dev: bool = False, listening: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain. `listening` is told each address when connections are accepted.

    PartEnded when a part ended that the gateway needs: the process must end with an error, so that it is restarted.

    A listener that closes resets who is just connecting, and a kept connection that closes loses the request that is on
    its way there. So SIGTERM first makes clients and balancers go elsewhere, for `leave_s`. Ctrl-C, and a second SIGTERM,
    do not wait for that.
    """
    from hookseal.web.app import Gateway
    from hookseal.web.server import give_memory_back, keep_out_of_collections, raise_file_limit, serving

    raise_file_limit()
    give_memory_back()
    stopping, hurried = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(*, at_once: bool) -> None:
        if at_once or stopping.is_set():
            hurried.set()
        stopping.set()

    loop.add_signal_handler(signal.SIGTERM, partial(stop, at_once=False))
    loop.add_signal_handler(signal.SIGINT, partial(stop, at_once=True))
    place = str(settings.file or "")
    tell = listening or _print_listening
    gateway = Gateway(settings, dev=dev)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(gateway.stop)  # after the listeners, which are closed first
        header_timeout_s = settings.server.head_timeout_s
        address = await stack.enter_async_context(
            serving(gateway, settings.server.listen, header_timeout_s=header_timeout_s, place=place)
        )
        if settings.server.manage_listen is not None:
            await stack.enter_async_context(
                serving(
                    gateway.management,
                    settings.server.manage_listen,
                    header_timeout_s=header_timeout_s,
                    place=place,
                    key="[server] manage_listen",
                )
            )
        if not await _started(gateway, stopping):
            return
        if gateway.store_is_suspect:
            _print("hookseal: warning: " + _SUSPECT_STORE)
        keep_out_of_collections()
        tell(address.url)
        await _first_of(stopping, gateway.supervisor.ended)
        if gateway.supervisor.ended_part is not None:
            raise PartEnded(gateway.supervisor.ended_part)
        gateway.leave()
        await SystemClock().wait(hurried, settings.server.leave_s)


async def _started(gateway: "Gateway", stopping: asyncio.Event) -> bool:
    """Start while the listeners answer 503; False when the process was stopped before the store could be reached."""
    starting = asyncio.create_task(gateway.start())
    cancelling = asyncio.create_task(_cancel_start(gateway, stopping))
    try:
        await starting
    except StoreUnavailable:
        if not stopping.is_set():
            raise
        return False
    finally:
        cancelling.cancel()
    return True


async def _cancel_start(gateway: "Gateway", stopping: asyncio.Event) -> None:
    await stopping.wait()
    gateway.cancel_start()


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


def _print_listening(url: str) -> None:
    _print(f"listening on {url}")


def _print(line: str) -> None:
    with suppress(OSError):  # a full disk for the log is no reason not to receive
        print(line, file=sys.stderr, flush=True)
