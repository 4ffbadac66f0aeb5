"""The store in one SQLite file."""

from hookseal.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
