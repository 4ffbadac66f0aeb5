"""Output of the demo: the participants, one line for each event when its last stage is known, and the totals.

Three layouts by the width of the terminal; the smallest fits 80 columns. Output that goes to a pipe or a file has the
layout for COLUMNS, or the widest one if that is not set. rich decides about color (NO_COLOR, TERM). ASCII replaces the
marks if the encoding of the output lacks them.
"""

import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hookseal.catalogue import Provider
from hookseal.cli.demo_board import Board, Counts, Passage
from hookseal.clock import Clock, to_datetime
from hookseal.simulate.provider import Consent, Fate, Try

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

_NAME, _EXAMPLE, _TYPE, _OUTCOME, _SUBJECT = 16, 19, 33, 9, 9
_WORDS_FROM, _ALL_FROM = 116, 142
_UNBOUNDED = 1000
_OUTCOMES = {
    "approved": "bold green",
    "declined": "bold red",
    "error": "red",
    "review": "bold yellow",
    "pending": "cyan",
    "expired": "magenta",
}


class Screen:
    """A `Show` on a console. names: provider id → its name; left: told once when nobody reads any more."""

    def __init__(self, console: "Console", names: dict[str, str], clock: Clock, left: Callable[[], None]) -> None:
        self._console = console
        self._clock = clock
        self._left = left
        self.is_read = True
        self._names = names
        self._status: Status | None = None
        self._width = console.width if console.is_terminal else shutil.get_terminal_size((_UNBOUNDED, 24)).columns
        plain = not (console.encoding or "").lower().startswith("utf")
        self._dot, self._cross, self._tick = (".", "x", "ok") if plain else ("●", "✗", "✓")
        self._arrow, self._cut, self._dash = ("->", "...", "-") if plain else ("→", "…", "—")

    # --- the frame

    def opening(self, url: str, sink_url: str) -> None:
        line = self._line
        line(
            Text.assemble(
                ("hookseal demo", "bold"),
                f"  four identity providers {self._arrow} one gateway {self._arrow} your service",
            )
        )
        line()
        line(Text.assemble("  gateway  ", (f"{url:<24}", "bold cyan"), ("on a temporary SQLite store", "dim")))
        line(Text.assemble("  sink     ", (f"{sink_url:<24}", "cyan"), ("stands for your service", "dim")))
        line()

    def participants(self, providers: Sequence[Provider]) -> None:
        """Show how each provider's requests are verified, and where they are received."""
        self._line()
        table = _table()
        for title in ("provider", "proven by", "receives at"):
            table.add_column(title, no_wrap=True)
        for provider in providers:
            table.add_row(Text(provider.name, style="bold"), proof_of(provider, self._cut), f"/in/{provider.id}")
        self._print(Padding(table, (0, 0, 0, 2), expand=False))
        self._line()

    def hints(self, commands: Sequence[str]) -> None:
        """Show commands for another terminal."""
        self._line(Text("  In another terminal, send an event and list what was received:", style="dim"))
        for command in commands:
            self._line(f"    {command}")
        self._line()

    def legend(self) -> None:
        if self._width < _WORDS_FROM:
            dot = (f"{self._dot} ", "green")
            self._line(
                Text.assemble(
                    "  ",
                    dot,
                    ("proven  ", "dim"),
                    dot,
                    ("stored, then answered  ", "dim"),
                    dot,
                    ("delivered, signature checked", "dim"),
                )
            )
            self._line()

    def counting(self, board: Board, ending: str) -> "Status":
        """A line at the bottom that counts, on a terminal; nothing elsewhere."""
        self._board, self._ending = board, ending
        self._status = self._console.status(self._counted(), spinner="dots")
        return self._status

    def closing(self, board: Board, done: bool, seconds: float | None) -> None:
        """The sums, and one sentence. seconds: how long it took, None where that says nothing."""
        table = _table()
        table.add_column("provider", no_wrap=True, min_width=_NAME)
        for title in ("sent", "accepted", "delivered"):
            table.add_column(title, justify="right")
        for id, counts in board.providers.items():
            table.add_row(self._names.get(id, id), *_cells(counts))
        table.add_row(Text("all", style="bold"), *_cells(board.total), style="bold")
        self._line()
        self._print(Padding(table, (0, 0, 0, 2), expand=False))
        self._line()
        total = board.total
        if done and total.sent == total.accepted == total.delivered > 0:
            took = f" in {seconds:.1f} s" if seconds is not None else ""
            self._line(Text(f"  {self._tick} every event arrived, proven and signed{took}", style="bold green"))
        else:
            self._line(Text(f"  {self._cross} not every event arrived", style="bold red"))
        for passage in board.missing:
            name = self._names.get(passage.provider, passage.provider)
            self._line(
                Text(
                    f"  {self._cross} {name} {passage.call.example}: accepted, but not delivered in time",
                    style="bold red",
                )
            )

    # --- Show

    def consented(self, provider: str, consent: Consent) -> None:
        rate = "any rate" if consent.rate_per_min is None else f"{consent.rate_per_min} requests a minute"
        if consent.granted:
            said = Text(f"asks for consent {self._arrow} granted, {rate}", style="green")
        else:
            said = Text(f"asks for consent {self._arrow} {self._cross} {consent.problem}", style="bold red")
        self._row(provider, said)

    def passed(self, passage: Passage) -> None:
        event = passage.event or {}
        self._line(
            Text.assemble(
                *self._lead(passage.provider, passage.call.example), *self._what(event), self._stages(passage)
            )
        )

    def failed(self, provider: str, attempt: Try) -> None:
        answer = str(attempt.status) if attempt.status is not None else attempt.reason or "no answer"
        said = f"{attempt.call.example}: {answer}"
        if attempt.title:
            said += f" {attempt.title}"
        if attempt.fate is Fate.AGAIN:
            self._row(provider, Text(f"{said}, tries again in {attempt.wait_s or 0:.0f} s", style="yellow"))
        else:
            self._row(provider, Text(f"{self._cross} {said}, does not try again", style="bold red"))

    def refused(self, provider: str, original: str, forged: str, answer: str) -> None:
        """Show a forged request that the gateway refused, as it must. original, forged: what the body said."""
        what = f'"{original}" made "{forged}"' if self._width >= _ALL_FROM else f'forged as "{forged}"'
        if self._width >= _WORDS_FROM:
            what = f"{what:<{_TYPE + 2 + _OUTCOME + 1 + _SUBJECT}}"
        said = f"{what}  {self._cross} refused {answer}"
        self._line(Text.assemble(*self._lead(provider, "forged"), (said, "red")))

    def surprised(self, provider: str, what: str) -> None:
        self._row(provider, Text(f"{self._cross} {what}", style="bold white on red"))

    def visited(self, event: dict[str, Any]) -> None:
        stage = Text(f"{self._dot} yours, delivered", style="bold cyan")
        self._line(Text.assemble(*self._lead(str(event.get("provider")), "yours"), *self._what(event), stage))

    # --- pieces

    def _time(self) -> str:
        return f"  {to_datetime(self._clock.now()).astimezone():%H:%M:%S}  "

    def _name(self, provider: str) -> Text:
        return Text(f"{self._names.get(provider, provider):<{_NAME}}  ", style="bold")

    def _what(self, event: dict[str, Any]) -> list[Text]:
        outcome = str(event.get("data", {}).get("outcome", ""))
        parts = [
            Text(f"{event.get('type', '')!s:<{_TYPE}}  "),
            Text(f"{outcome:<{_OUTCOME}} ", style=_OUTCOMES.get(outcome, "dim")),
        ]
        if self._width >= _WORDS_FROM:
            subject = str(event.get("subject") or event.get("providerid") or "")
            shown = f"{subject[:8]}{self._cut}" if subject else self._dash
            parts.append(Text(f"{shown:<{_SUBJECT}}  ", style="dim"))
        return parts

    def _stages(self, passage: Passage) -> Text:
        took = (f"{passage.seconds * 1000:>4.0f} ms", "dim")
        dot = (f"{self._dot} ", "green")
        if self._width < _WORDS_FROM:
            return Text.assemble(dot, dot, dot, took)
        return Text.assemble(dot, "proven ", dot, f"stored {passage.status} ", dot, "delivered", took)

    def _lead(self, provider: str, example: str) -> list[Text]:
        """How a line about an event begins."""
        if self._width < _ALL_FROM:
            return [Text("  "), self._name(provider)]
        dim = Text(f"{example:<{_EXAMPLE}}  ", style="dim")
        return [Text(self._time(), style="dim"), self._name(provider), dim]

    def _row(self, provider: str, said: Text) -> None:
        time = self._time() if self._width >= _ALL_FROM else "  "
        name = self._name(provider) if provider else Text("")
        self._line(Text.assemble((time, "dim"), name, said))

    def _line(self, text: Text | str = "") -> None:
        self._print(text)
        if self._status is not None and self.is_read:
            self._status.update(self._counted())

    def _print(self, what: Any) -> None:
        """A reader who leaves (`hookseal demo | head`) is told here: lines are printed from the sink's requests too."""
        if not self.is_read:
            return
        try:
            self._console.print(what, soft_wrap=True, markup=False)
        except (BrokenPipeError, SystemExit):  # rich makes the second of the first
            self.is_read = False
            self._left()

    def _counted(self) -> Text:
        total = self._board.total
        return Text.assemble(
            ("sent ", "dim"), str(total.sent), ("  accepted ", "dim"), str(total.accepted),
            ("  delivered ", "dim"), str(total.delivered), ("  forged and refused ", "dim"), str(self._board.refused),
            (f"   {self._ending}", "dim"),
        )  # fmt: skip


def proof_of(provider: Provider, cut: str) -> str:
    """How a provider's requests are proven, in a few words, from its entry."""
    table = provider.scheme_table
    if provider.scheme_kind == "jwt_bearer":
        consent = ", after consent" if provider.handshake is not None else ""
        return f"{'/'.join(table.get('algorithms', ()))} token{consent}"
    return f"HMAC-{str(table.get('algorithm', '')).upper()} over {table.get('signed', cut)}"


def _table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)


def _cells(counts: Counts) -> tuple[str, str, str]:
    return str(counts.sent), str(counts.accepted), str(counts.delivered)
