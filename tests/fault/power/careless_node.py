"""A gateway whose store does not sync its commits. Run by the tests of the power tests, never imported.

python careless_node.py CONFIG
"""

import runpy
from pathlib import Path

import apsw

from hookseal.store.sqlite import connection, store


def careless(path: Path, vfs: str | None = None) -> apsw.Connection:
    opened = connection.open_writer(path, vfs)
    opened.execute("PRAGMA synchronous = NORMAL")
    return opened


store.open_writer = careless
runpy.run_path(str(Path(__file__).parents[1] / "node.py"), run_name="__main__")
