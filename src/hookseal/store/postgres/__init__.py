"""The store in a PostgreSQL database, for one node or several."""

from hookseal.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
