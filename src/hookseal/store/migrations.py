"""What a schema is built of, whichever the dialect: numbered files that only go forward, and a keyring that must match."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hookseal.errors import StoreMismatch
from hookseal.sealing import Keyring

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def read_migrations(folder: Path) -> Sequence[Migration]:
    """All of them, the first one first. ValueError when a number is missing or stands twice."""
    found: list[Migration] = []
    for file in sorted(folder.glob("*.sql")):
        named = _FILE.fullmatch(file.name)
        if named is None or int(named[1]) != len(found) + 1:
            raise ValueError(f"{file.name} is not the next migration")
        found.append(Migration(int(named[1]), named[2], file.read_text(encoding="utf-8")))
    return found


def check_keyring(place: str, keyring: Keyring, noted: Iterable[tuple[str, str]]) -> None:
    """StoreMismatch when the keyring lacks a key that sealed values of the store.

    place  the store, for the operator. noted: key ids and fingerprints, as the store has them.
    """
    held = {kid: keyring.fingerprint(kid) for kid, _ in keyring.keys}
    for kid, fingerprint in noted:
        if held.get(kid) == fingerprint:
            continue
        lack = "holds another key" if kid in held else "lacks the key"
        raise StoreMismatch(
            f"{place} belongs to another keyring: store.keyring {lack} called {kid!r}"
            f" (fingerprint {fingerprint}); give the keyring that this store was made with"
        )
