"""A gateway that takes a server's word for when a commit is durable. Run by the power tests, never imported.

    python careless_postgres_node.py CONFIG

The store sets `synchronous_commit` for its own sessions; here it believes that `off` is good enough.
"""

import runpy
from pathlib import Path

from hookseal.store.postgres import connection

connection._SYNCED = connection._SYNCED | {"off"}
runpy.run_path(str(Path(__file__).parents[1] / "node.py"), run_name="__main__")
