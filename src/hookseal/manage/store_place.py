"""Whether the store and its key file could be opened, seen from outside: folders, modes, first bytes.

What only opening can tell, another process that holds it or a keyring of another store, is the store's to say.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from hookseal.errors import ConfigurationError, StoreMismatch
from hookseal.settings import StoreSettings
from hookseal.store.keyfile import load_or_create

_SQLITE_MAGIC = b"SQLite format 3\0"


def store_faults(store: StoreSettings) -> Iterator[tuple[str, str]]:
    """Key and remedy of each fault. Writes nothing and never waits."""
    if not store.is_embedded:
        yield from _given_keyring_faults(store)
        return
    folder, exists = store.path.parent, os.path.lexists(store.path)
    if not folder.is_dir():
        yield "[store] url", "the folder of the store is not there; make it or name another"
    elif not os.access(folder, os.W_OK | os.X_OK):
        yield "[store] url", "the folder of the store cannot be written by this user; change its owner or mode"
    elif exists and (problem := _not_a_store(store.path)):
        yield "[store] url", problem
    elif not store.create and not (exists and store.path.stat().st_size):
        yield "[store] create", "there is no store, and none may be created; mount its volume or correct [store] url"
    key_path = store.key_path
    if key_path is None:
        return
    if os.path.lexists(key_path):
        try:
            # Said to have a store, it makes no key file. A pipe would let it wait for ever.
            if key_path.exists() and not key_path.is_file():
                yield "[store] keyring", "the key file is not a file; name another"
            else:
                load_or_create(key_path, store_exists=True)
        except ConfigurationError as fault:
            yield "[store] keyring", fault.remedy
        except StoreMismatch:
            yield "[store] keyring", "the key file is a link to nothing; put the key file back"
    elif exists and store.path.is_file() and store.path.stat().st_size:
        yield "[store] keyring", "the store is there and its key file is not; put the key file back from its backup"
    elif not os.access(key_path.parent, os.W_OK | os.X_OK):
        yield (
            "[store] keyring",
            "the key file cannot be made in its folder; make the folder, or change owner or mode",
        )


def is_absent_beside_keys(store: StoreSettings) -> bool:
    """Whether the keys of an embedded store are there and the store is not, as when its volume is not mounted."""
    if not store.is_embedded or (store.path.is_file() and store.path.stat().st_size):
        return False
    return store.key_path is None or store.key_path.is_file()


def _given_keyring_faults(store: StoreSettings) -> Iterator[tuple[str, str]]:
    """A database that several nodes share has one keyring, which is given to each of them and never made by one."""
    if store.key_path is None:
        return
    if not store.key_path.is_file():
        yield "[store] keyring", "the key file is not there; PostgreSQL needs the keyring that all nodes share"
        return
    try:
        load_or_create(store.key_path, store_exists=True)
    except ConfigurationError as fault:
        yield "[store] keyring", fault.remedy


def _not_a_store(path: Path) -> str | None:
    try:
        if not path.is_file():
            return "it is not a file; name another"
        if not os.access(path, os.R_OK | os.W_OK):
            return "the store cannot be read and written by this user; change its owner or mode"
        with path.open("rb") as file:
            head = file.read(len(_SQLITE_MAGIC))
    except OSError:
        return "the store cannot be read; change its owner or mode"
    return None if head in (b"", _SQLITE_MAGIC) else "the file is not an SQLite database; name another"
