"""A gateway in a process of its own that asks another name server than the machine. Run by the name tests, never imported.

    python node_own_names.py CONFIG RESOLV_CONF

The system's resolver reads /etc/resolv.conf and nothing else; so this process sees RESOLV_CONF in that place, in a mount
namespace of its own, and nobody else does. Needs root.
"""

import os
import subprocess
import sys
from pathlib import Path

from hookseal.cli.serve import run, serving_until_stopped
from hookseal.manage.configuration import load

CONFIG, RESOLV_CONF = Path(sys.argv[1]), sys.argv[2]
APART = "NODE_IS_APART"

if APART not in os.environ:
    os.environ[APART] = "yes"
    os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
subprocess.run(["mount", "--bind", RESOLV_CONF, "/etc/resolv.conf"], check=True)
run(serving_until_stopped(load(CONFIG), listening=lambda url: print(f"listening {url}", flush=True)))
