"""How many calls of one costly operation may be under way at once, their bodies included. One more is told to come again.

Nothing waits here: whoever waits holds a connection, and soon a body as well.
"""


class Gate:
    """For one event loop. Enter it with `enter`, and `leave` it when that gave True."""

    def __init__(self, places: int) -> None:
        self._free = places

    def enter(self) -> bool:
        if self._free == 0:
            return False
        self._free -= 1
        return True

    def leave(self) -> None:
        self._free += 1
