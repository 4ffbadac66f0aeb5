"""The statements of this dialect, read once."""

from pathlib import Path

from hookseal.store.sql import Queries

HERE = Path(__file__).parent
QUERIES = Queries.read(HERE / "queries.sql")
