"""`python -m hookseal` is `hookseal`."""

from hookseal.cli import run

if __name__ == "__main__":
    run()
