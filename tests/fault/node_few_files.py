"""A gateway in a process of its own that may open few files. Run by the resource tests, never imported.

python node_few_files.py CONFIG LIMIT
"""

import resource
import sys
from pathlib import Path

from hookseal.cli.serve import run, serving_until_stopped
from hookseal.manage.configuration import load

LIMIT = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
run(serving_until_stopped(load(Path(sys.argv[1])), listening=lambda url: print(f"listening {url}", flush=True)))
