"""`hookseal keys`: the keys that seal the store. Of a running gateway over its API, of one that is stopped in its place."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hookseal.cli.check import Config, Data
from hookseal.cli.operate import AsJson, Key, Url

if TYPE_CHECKING:
    from hookseal.manage.rotation import KeyRotation
    from hookseal.settings import Settings
    from hookseal.store.port import Store


def register(app: typer.Typer) -> None:
    app.command("keys")(keys)


def keys(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[list | rotate | prune]", help="What to do; `list` when left out.")
    ] = None,
    url: Url = None,
    key: Key = None,
    config: Config = None,
    data: Data = None,
    issuer: Annotated[
        bool, typer.Option("--issuer", help="rotate: the key that signs tokens, in place of the key that seals.")
    ] = False,
    json: AsJson = False,
) -> None:
    """List the keys that seal the store; seal under a new one from now on; drop those that seal nothing any more.

    With --url it is a running gateway that does it, else it is done here: then the gateway must be stopped.
    """
    from hookseal.cli.remote import gateway, misuse

    match words or ["list"]:
        case [("list" | "rotate" | "prune") as what]:
            pass
        case _:
            misuse("keys: give `list`, `rotate` or `prune`")
    if issuer:
        if what != "rotate":
            misuse("keys: --issuer goes with `rotate` only")
        _rotate_issuer(url, key, config, data, json)
        return
    if url is not None:
        there = gateway(url, key)
        done = there.get("keys") if what == "list" else there.post(f"keys/{what}")
    else:
        done = _here(config, data, _WORK[what])
    _tell(what, done, json)


def _rotate_issuer(url: str | None, key: str | None, config: Config, data: Data, as_json: bool) -> None:
    from hookseal.cli.printing import print_json, say
    from hookseal.cli.remote import gateway

    done = (
        gateway(url, key).post("keys/issuer/rotate")
        if url is not None
        else _at_store(config, data, _rotate_issuer_here)
    )
    if as_json:
        print_json(done)
    elif done["new"]:
        say(f"{done['id']} is published now, and signs from {done['signs_at']}")
    else:
        say(f"{done['id']} is published already, and signs from {done['signs_at']}; no other key was made")


def _tell(what: str, done: dict[str, Any], as_json: bool) -> None:
    from hookseal.cli.operate import print_table
    from hookseal.cli.printing import print_json, say

    if as_json:
        print_json(done)
    elif what == "list":
        print_table(done["keys"], ("id", "active", "values", "fingerprint"))
        if done["rotating"]:
            say(f"values are being moved to the active key: {done['moved']} so far")
    elif what == "rotate":
        new = (
            "is a new key and seals from now on" if done["new"] else "is still being taken over; no other key was made"
        )
        say(f"{done['active']} {new}. Back up the key file, apart from the store")
    else:
        say(f"dropped: {', '.join(done['dropped'])}" if done["dropped"] else "every key is still needed")


async def _list(rotation: "KeyRotation") -> dict[str, Any]:
    rows: Sequence[Any] = await rotation.keys()
    keys = [
        {"id": one.id, "fingerprint": one.fingerprint, "active": one.is_active, "values": one.values} for one in rows
    ]
    return {"keys": keys, "rotating": False, "moved": 0, "broken": 0}


async def _rotate(rotation: "KeyRotation") -> dict[str, Any]:
    """Here there is nobody to go on with it: the command ends when all is moved."""
    done = await rotation.rotate()
    await rotation.finished()
    return {"active": done.active, "new": done.is_new}


async def _prune(rotation: "KeyRotation") -> dict[str, Any]:
    return {"dropped": list(await rotation.prune())}


_WORK: dict[str, Callable[["KeyRotation"], Awaitable[dict[str, Any]]]] = {
    "list": _list,
    "rotate": _rotate,
    "prune": _prune,
}


def _here(config: Config, data: Data, work: Callable[["KeyRotation"], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    from hookseal.clock import SystemClock
    from hookseal.manage.rotation import KeyRotation

    async def rotated(store: "Store", settings: "Settings") -> dict[str, Any]:
        row = settings.store
        rotation = KeyRotation(store, row.key_path, SystemClock(), is_shared=not row.is_embedded)
        try:
            return await work(rotation)
        finally:
            await rotation.stop()

    return _at_store(config, data, rotated)


async def _rotate_issuer_here(store: "Store", settings: "Settings") -> dict[str, Any]:
    from hookseal.clock import SystemClock, rfc3339
    from hookseal.destinations.issuer import KeptIssuer

    issuer = KeptIssuer(store, SystemClock(), key_days=settings.server.issuer_key_days)
    await issuer.open(make=False)
    done = await issuer.rotate()
    return {"id": done.id, "new": done.is_new, "signs_at": rfc3339(done.signs_at)}


def _at_store(
    config: Config, data: Data, work: Callable[["Store", "Settings"], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Open the store here, do the work, and close it."""
    from hookseal.manage.configuration import judge
    from hookseal.sealing import Keyring
    from hookseal.store.keyfile import read
    from hookseal.store.postgres import PostgresStore
    from hookseal.store.sqlite.store import SqliteStore

    judgement = judge(config, data=data)
    if judgement.faults or judgement.settings is None:
        raise judgement.faults[0]
    settings = judgement.settings
    row = settings.store
    keyring = Keyring.parse(row.keyring) if row.key_path is None else read(row.key_path)

    async def run() -> dict[str, Any]:
        store = SqliteStore(row.path, keyring) if row.is_embedded else PostgresStore(row.url, keyring)
        await store.open()
        try:
            return await work(store, settings)
        finally:
            await store.close()

    return asyncio.run(run())
