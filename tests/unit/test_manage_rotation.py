"""A new key for a store at work: what the key file, the store and the values hold at each moment."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hookseal import probe
from hookseal.clock import GivenClock, Instant
from hookseal.errors import ConfigurationError, Invalid, StoreMismatch, StoreUnavailable
from hookseal.ids import new_event_id
from hookseal.manage.rotation import KeyRotation, Rotated
from hookseal.model import EventId, SourceId
from hookseal.probe import Step
from hookseal.sealing import Keyring
from hookseal.store.keyfile import add_key, drop_keys, load_or_create, read
from hookseal.store.port import NewEvent, NewRequest
from hookseal.store.sqlite import SqliteStore

NOW = Instant(1_763_700_000_000_000)


@pytest.fixture
def keyfile(tmp_path: Path) -> Path:
    load_or_create(tmp_path / "hookseal.key", store_exists=False)
    return tmp_path / "hookseal.key"


@pytest.fixture
async def store(tmp_path: Path, keyfile: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "a.db", read(keyfile))
    await store.open()
    yield store
    await store.close()


def rotation_of(store: Any, keyfile: Path | None, *, is_shared: bool = False) -> KeyRotation:
    return KeyRotation(store, keyfile, GivenClock(NOW), is_shared=is_shared)


async def fill(store: SqliteStore, count: int, start: int = 0) -> list[EventId]:
    """Store as many events. One more value is sealed: the secret of the store."""
    ids = []
    for number in range(start, start + count):
        key = number.to_bytes(32)
        event = NewEvent(id=new_event_id(NOW), item=0, type="other", dedupe_key=key, content=key)
        await store.accept(
            NewRequest(source=SourceId("a"), received_at=NOW, headers=(), body=b"personal", events=(event,))
        )
        ids.append(event.id)
    return ids


async def values_of(rotation: KeyRotation) -> list[tuple[str, bool, int]]:
    return [(key.id, key.is_active, key.values) for key in await rotation.keys()]


async def test_a_rotation_moves_all_and_then_the_old_key_can_go(store: SqliteStore, keyfile: Path) -> None:
    events = await fill(store, 300)
    rotation = rotation_of(store, keyfile)
    assert await values_of(rotation) == [("k1", True, 301)]
    assert await rotation.rotate() == Rotated(active="k2", is_new=True)
    assert read(keyfile).kids == ("k2", "k1")
    await rotation.finished()
    assert rotation.moved == 301
    assert await values_of(rotation) == [("k2", True, 301), ("k1", False, 0)]
    assert await rotation.prune() == ("k1",)
    assert read(keyfile).kids == ("k2",)
    await store.close()
    alone = SqliteStore(keyfile.with_name("a.db"), read(keyfile))
    await alone.open()
    for event in events:
        assert (await alone.event(event)).body == b"personal"
    await alone.close()


async def test_a_key_that_still_seals_something_is_not_dropped(store: SqliteStore, keyfile: Path) -> None:
    [event] = await fill(store, 1)
    await store.use_keyring(add_key(keyfile))
    rotation = rotation_of(store, keyfile)
    assert await rotation.prune() == ()
    assert read(keyfile).kids == ("k2", "k1")
    assert (await store.event(event)).body == b"personal"


async def test_the_active_key_is_never_dropped(store: SqliteStore, keyfile: Path) -> None:
    assert await rotation_of(store, keyfile).prune() == ()
    with pytest.raises(ValueError, match="active"):
        drop_keys(keyfile, ["k1"])
    assert read(keyfile).kids == ("k1",)


async def test_the_file_has_the_new_key_before_the_store_notes_it(store: SqliteStore, keyfile: Path) -> None:
    kids: list[tuple[str, ...]] = []
    leave = probe.listen(lambda step: kids.append(read(keyfile).kids) if step is Step.WRITE_BEGUN else None)
    rotation = rotation_of(store, keyfile)
    await rotation.rotate()
    leave()
    assert kids[0] == ("k2", "k1")
    await rotation.finished()


async def test_a_store_that_cannot_note_the_key_goes_on_under_the_old_one(
    store: SqliteStore, keyfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(keyring: Keyring) -> None:
        raise StoreUnavailable("full")

    monkeypatch.setattr(store, "use_keyring", full)
    with pytest.raises(StoreUnavailable):
        await rotation_of(store, keyfile).rotate()
    assert store.keyring.active == "k1"
    monkeypatch.undo()
    await fill(store, 1)
    await store.close()
    again = SqliteStore(keyfile.with_name("a.db"), read(keyfile))
    await again.open()
    rotation = rotation_of(again, keyfile)
    rotation.start()
    await rotation.finished()
    assert await values_of(rotation) == [("k2", True, 2), ("k1", False, 0)]
    await again.close()


async def test_a_second_rotation_waits_for_the_first_to_end(store: SqliteStore, keyfile: Path) -> None:
    await fill(store, 10)
    rotation = rotation_of(store, keyfile)
    first, second = await asyncio.gather(rotation.rotate(), rotation.rotate())
    assert [first, second] == [Rotated(active="k2", is_new=True), Rotated(active="k2", is_new=False)]
    await rotation.finished()
    assert await rotation.rotate() == Rotated(active="k3", is_new=True)
    await rotation.finished()
    assert await values_of(rotation) == [("k3", True, 11), ("k2", False, 0), ("k1", False, 0)]
    assert await rotation.prune() == ("k2", "k1")


async def test_a_rotation_stops_between_two_slices_and_the_next_process_goes_on(
    store: SqliteStore, keyfile: Path
) -> None:
    await fill(store, 1000)
    rotation = rotation_of(store, keyfile)
    leave = probe.listen(lambda step: rotation._stopping.set() if step is Step.REWRAPPING else None)
    await rotation.rotate()
    await rotation.finished()
    leave()
    await rotation.stop()
    assert 0 < rotation.moved < 1001
    following = rotation_of(store, keyfile)
    following.start()
    await following.finished()
    assert following.moved == 1001 - rotation.moved


async def test_nothing_is_walked_where_there_is_one_key(store: SqliteStore, keyfile: Path) -> None:
    rotation = rotation_of(store, keyfile)
    rotation.start()
    assert not rotation.is_under_way
    await rotation.stop()


async def test_a_shared_store_takes_up_what_every_node_was_given(store: SqliteStore, keyfile: Path) -> None:
    """No node makes a key that the others lack."""
    await fill(store, 5)
    rotation = rotation_of(store, keyfile, is_shared=True)
    with pytest.raises(Invalid, match="every node"):
        await rotation.rotate()
    assert read(keyfile).kids == ("k1",)
    add_key(keyfile)
    assert await rotation.rotate() == Rotated(active="k2", is_new=True)
    await rotation.finished()
    assert await values_of(rotation) == [("k2", True, 6), ("k1", False, 0)]


async def test_a_file_without_a_needed_key_is_not_taken_up(store: SqliteStore, keyfile: Path) -> None:
    keyfile.write_text(Keyring.generate("k2").dump())
    with pytest.raises(StoreMismatch):
        await rotation_of(store, keyfile, is_shared=True).rotate()
    assert store.keyring.active == "k1"


async def test_a_keyring_that_is_in_no_file_is_not_changed_from_here(store: SqliteStore) -> None:
    for work in (rotation_of(store, None).rotate, rotation_of(store, None).prune):
        with pytest.raises(Invalid, match="not in a file"):
            await work()


async def test_a_walk_waits_while_the_store_cannot_be_used(
    store: SqliteStore, keyfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(store, 3)
    clock = GivenClock(NOW)
    rotation = KeyRotation(store, keyfile, clock, is_shared=False)
    real = store.rewrap

    async def once_down(*given: Any) -> Any:
        monkeypatch.setattr(store, "rewrap", real)
        raise StoreUnavailable("down")

    monkeypatch.setattr(store, "rewrap", once_down)
    await rotation.rotate()
    while not clock._moved:
        await asyncio.sleep(0)
    assert rotation.moved == 0
    clock.advance(5)
    await rotation.finished()
    assert rotation.moved == 4


def test_a_new_key_keeps_mode_comments_and_what_a_link_points_at(tmp_path: Path, keyfile: Path) -> None:
    keyfile.write_text("# the store's keys\n" + keyfile.read_text())
    link = tmp_path / "link.key"
    link.symlink_to(keyfile)
    first = read(link)
    ring = add_key(link)
    assert link.is_symlink()
    assert ring.keys[1:] == first.keys
    assert "# the store's keys\n" in keyfile.read_text()
    assert stat.S_IMODE(keyfile.stat().st_mode) == 0o600
    assert drop_keys(link, ["k1"]).kids == ("k2",)
    assert "# the store's keys\n" in keyfile.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hookseal.key", "link.key"]


def test_a_folder_that_cannot_be_written_leaves_the_key_file_as_it_is(
    keyfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keyfile.read_bytes()

    def refuse(*given: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ConfigurationError, match="writable"):
        add_key(keyfile)
    assert keyfile.read_bytes() == before
    assert [path.name for path in keyfile.parent.iterdir()] == ["hookseal.key"]


@pytest.mark.parametrize(
    ("kids", "following"), [(("k1",), "k2"), (("k9", "k10"), "k11"), (("main",), "k2"), (("a", "k2"), "k3")]
)
def test_a_new_key_has_an_id_that_no_other_has(kids: tuple[str, ...], following: str) -> None:
    assert Keyring(tuple((kid, bytes(32)) for kid in kids)).next_kid() == following
