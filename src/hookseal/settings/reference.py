"""docs/settings.md, made from the table. `python -m hookseal.settings.reference > docs/settings.md`"""

import json
import sys
from typing import Any

from hookseal.settings.model import HandshakeSettings, RetrySettings
from hookseal.settings.table import REQUIRED, Row, Section, rows_of

_HEAD = """# Settings

Made from the table in `src/hookseal/settings/table.py`; `python -m hookseal.settings.reference > docs/settings.md` writes it anew.

hookseal reads `hookseal.toml` in the folder it is started from, or the file that `--config` names. `serve --dev` alone
does without one. A key that is not below is an error. What the file says, an environment variable overrides, and what
that says, the command line (`--listen`, `--data DIR`). In a variable, the items of a list are separated by commas.

A **secret** is written as `env:NAME` (a variable), `file:PATH` (the content of a file) or the text itself. It is used
exactly as it stands there: blank space or a newline at either end is an error and is never stripped. Write a secret
file without a newline: `printf %s "$SECRET" > idenfy.secret; chmod 600 idenfy.secret`. `hookseal check` warns of
secrets shorter than 16 bytes and of secret files that everyone can read; a key file that everyone can read is an error.

Relative paths count from the folder of the configuration file. `--data DIR` puts store and key file into DIR, as
`hookseal.db` and `hookseal.key`, whatever the file says.

`hookseal check` judges the file without starting, `hookseal config show` prints what is in force with secrets masked.
"""

_INTRO = {
    Section.SERVER: "Receiving.",
    Section.STORE: "Where events are kept.",
    Section.API: "The management API.",
    Section.EGRESS: "Which addresses may be called: endpoints, key sets and callbacks.",
    Section.SOURCE: "One inbound registration; repeat the table for each.",
    Section.ENDPOINT: "One outbound registration; repeat the table for each.",
}


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(section) for section in Section)])


def _section(section: Section) -> str:
    title = f"[[{section}]]" if section.repeats else f"[{section}]"
    lines = [f"## `{title}`", "", _INTRO[section], "", "| key | value | default | environment |", "|---|---|---|---|"]
    rows = rows_of(section)
    lines += [f"| `{row.name}` | {_kind(row)} | {_default(row)} | {_variable(row)} |" for row in rows]
    lines.append("")
    lines += [f"- `{row.name}`: {row.help}" for row in rows]
    return "\n".join([*lines, ""])


def _kind(row: Row) -> str:
    return row.kind.says + (f", in {row.unit}" if row.unit else "")


def _default(row: Row) -> str:
    default = row.default
    if default is REQUIRED or row.without:
        return f"**required** without `{row.unless}`" if row.unless else "**required**"
    if default is None:
        return "unset"
    return f"`{_written(default)}`"


def _written(default: Any) -> str:
    if isinstance(default, RetrySettings):
        return json.dumps(default.policy)
    if isinstance(default, HandshakeSettings):
        return json.dumps(default.kind)
    if isinstance(default, dict):
        return "{}"
    return json.dumps(list(default) if isinstance(default, tuple) else default)


def _variable(row: Row) -> str:
    return f"`{row.variable}`" if row.variable else ""


if __name__ == "__main__":
    sys.stdout.write(reference())
