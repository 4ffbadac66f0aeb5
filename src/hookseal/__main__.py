"""`python -m hookseal` is `hookseal`."""

import sys

from hookseal.cli import main

if __name__ == "__main__":
    sys.exit(main())
