"""How many tries may run at once at an endpoint that was down. Pure.

An endpoint that comes back meets all that was kept for it, and is often still cold: full concurrency at once can take it
down again. So after a whole round of tries has failed in a row one try at a time finds out whether it lives, and each
success lets twice as many run: 1, 2, 4, ... up to what the endpoint allows. Single failures among successes change
nothing: they speak of an event and not of the endpoint.
"""


class SlowStart:
    def __init__(self) -> None:
        self._width: int | None = None
        self._failures = 0

    def width(self, allowed: int) -> int:
        """How many tries may run at once now, of `allowed` at best; at least 1."""
        return allowed if self._width is None else min(self._width, allowed)

    def note(self, *, lives: bool | None, allowed: int) -> None:
        """One try has ended. lives: the endpoint answered as one that works; None: it was not asked."""
        if lives is None:
            return
        if not lives:
            self._failures += 1
            if self._failures >= allowed:
                self._width = 1
            return
        self._failures = 0
        if self._width is not None:
            self._width *= 2
            if self._width >= allowed:
                self._width = None
