"""How faults and assessments look: for people in 80 columns, for programs as one JSON document."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hookseal.simulate.assess import Finding
from hookseal.simulate.cases.vocabulary import Group
from hookseal.simulate.faults import Played
from hookseal.simulate.provider import Fate

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 80
_MARK, _CASE, _EXPECTED = 6, 31, 20


def report_console() -> "Console":
    """80 columns, or what the terminal has where that is less; plain text into a pipe or a file."""
    import sys

    from rich.console import Console

    console = Console(highlight=False)
    width = min(console.width, _WIDTH) if sys.stdout.isatty() else _WIDTH
    return Console(highlight=False, width=width)


class Report:
    """An assessment, line by line as it goes on."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._group: Group | None = None

    def begins(self, provider: str, url: str) -> None:
        self._print(Text.assemble("A receiver of ", (provider, "bold"), ", ", (url, "cyan")))

    def found(self, finding: Finding) -> None:
        case = finding.case
        if case.group is not self._group:
            self._group = case.group
            self._print(Text())
            self._print(_row(("", "bold"), (case.group.value, "bold"), ("a correct one", "dim"), ("this one", "dim")))
        style = "green" if finding.ok else "bold red"
        mark = "ok" if finding.ok else "GRAVE" if finding.grave else "BAD"
        self._print(_row((mark, style), (case.id, ""), (case.expected.told, "dim"), (finding.got, style)))
        if not finding.ok:
            self._print(_below(Text(finding.fault, style="red")))
        self._print(_below(Text(f"{case.sends[:1].upper()}{case.sends[1:]}. {case.why}", style="dim")))

    def ended(self, findings: Sequence[Finding]) -> None:
        bad = [finding for finding in findings if not finding.ok]
        self._print(Text())
        if not bad:
            self._print(Text(f"All {len(findings)} cases are as they should be.", style="bold green"))
            return
        self._print(Text(f"{len(bad)} of {len(findings)} cases are bad:", style="bold red"))
        for finding in bad:
            self._print(Padding(Text(f"{finding.case.id}: {finding.fault}"), (0, 0, 0, 2), expand=False))
        if hint := hint_of(findings):
            self._print(Text())
            self._print(Text(hint, style="yellow"))

    def _print(self, what: Any) -> None:
        try:
            self._console.print(what)
        except SystemExit:  # rich's way to say that the reader has left; inside a task it would tear the loop down
            raise BrokenPipeError from None


def report_json(provider: str, url: str, findings: Sequence[Finding]) -> dict[str, Any]:
    bad = [finding for finding in findings if not finding.ok]
    return {
        "provider": provider,
        "url": url,
        "ok": not bad,
        "cases": len(findings),
        "bad": len(bad),
        "hint": hint_of(findings),
        "report": [
            {
                "id": finding.case.id,
                "group": finding.case.group.value,
                "sent": finding.case.sends,
                "expected": finding.case.expected.told,
                "got": [one.status for one in finding.answers if one.reason != "left"],
                "reasons": [one.reason for one in finding.answers if one.reason not in ("", "left")],
                "seconds": round(max((one.seconds for one in finding.answers), default=0.0), 3),
                "result": "ok" if finding.ok else "grave" if finding.grave else "bad",
                "fault": finding.fault or None,
                "why": finding.case.why,
            }
            for finding in findings
        ],
    }


def hint_of(findings: Sequence[Finding]) -> str | None:
    """What to look at first where the plainest good event was not taken; the refusals then prove little."""
    plain = next((finding for finding in findings if finding.case.group is Group.EVENTS), None)
    if plain is None or plain.ok:
        return None
    if all(answer.status is None for answer in plain.answers):
        return "Nothing answers there: check the URL."
    if plain.answers[0].status in (401, 403):
        return (
            "The provider's own example was refused. Check first that the receiver has this secret, or trusts this key "
            "set and audience; until then its refusals prove little."
        )
    return "The provider's own example was not acknowledged; begin there."


class FaultLines:
    """One line for each request of a fault."""

    def __init__(self, console: "Console", provider: str) -> None:
        self._console = console
        self._provider = provider

    def played(self, played: Played) -> None:
        left = played.answer.reason == "left"
        what = f"{played.fault.value} {played.what}".rstrip()
        answer = str(played.answer.status) if played.answer.status is not None else played.answer.reason
        if left:
            said, style = "the answer was not waited for", "yellow"
        elif played.problem:
            said, style = f"{played.problem} Expected: {played.expected}", "red"
        else:
            said, style = "as it should be", "green"
        match played.fate:
            case Fate.ACKNOWLEDGED:
                then = f"{self._provider} takes it as delivered"
            case Fate.AGAIN:
                then = f"{self._provider} would try again in {played.wait_s or 0:.0f} s"
            case Fate.GIVEN_UP:
                then = f"{self._provider} would not try again"
        try:
            self._console.print(Text.assemble(f"{what:<26}  ", (f"{answer:>3}", style), f"  {said}; {then}"))
        except SystemExit:
            raise BrokenPipeError from None


def _row(*cells: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for width in (_MARK, _CASE, _EXPECTED):
        table.add_column(width=width, overflow="fold")
    table.add_column(overflow="fold")
    table.add_row(*(Text(text, style=style) for text, style in cells))
    return table


def _below(text: Text) -> Padding:
    return Padding(text, (0, 0, 0, _MARK + 1), expand=False)
