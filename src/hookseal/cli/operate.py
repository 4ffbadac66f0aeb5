"""`hookseal events`, `subjects`, `deliveries`, `quarantine`, `replay`: a running gateway, over its API.

Sources and endpoints are `registering`'s. Thin: options become a query, an answer becomes a table, or with `--json` stays
what it is. Whatever strangers wrote is made harmless for the terminal before it is shown.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hookseal.cli.remote import Gateway

Url = Annotated[
    str | None, typer.Option("--url", envvar="HOOKSEAL_URL", help="The gateway; default http://127.0.0.1:8400.")
]
Key = Annotated[str | None, typer.Option("--key", envvar="HOOKSEAL_KEY", help="A key of its API.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many rows at most.")]
After = Annotated[str | None, typer.Option("--cursor", help="Go on where an earlier page ended.")]
Since = Annotated[str | None, typer.Option("--since", help="Received at this time or later; RFC 3339.")]
Until = Annotated[str | None, typer.Option("--until", help="Received before this time; RFC 3339.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Of this source.")]
State = Annotated[str | None, typer.Option("--state", help="pending, delivered, dead or cancelled.")]

_EVENT_COLUMNS = ("id", "receivedtime", "provider", "type", "subject", "outcome", "flags")
_DELIVERY_COLUMNS = ("id", "endpoint", "state", "attempt_count", "type", "due_at", "last_status", "last_reason")
_ATTEMPT_COLUMNS = ("number", "started_at", "duration_ms", "status", "reason")
_REFUSAL_COLUMNS = ("id", "received_at", "source", "reason", "held", "remote", "body_bytes", "released_at")
_UNBOUNDED = 10_000
_HEX_BYTES = 32
"""How much is shown of a body that is not text."""


def register(app: typer.Typer) -> None:
    for command in (events, subjects, deliveries, quarantine, replay):
        app.command(command.__name__)(command)


def events(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID | raw ID | publish TYPE [FILE]]", help="One event, its raw bytes, or a new one."),
    ] = None,
    source: SourceOption = None,
    type: Annotated[str | None, typer.Option("--type", help="Of this normalised type.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="Of this subject.")] = None,
    since: Since = None,
    until: Until = None,
    name: Annotated[str | None, typer.Option("--id", help="publish: your own name of it; one name, one event.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="publish: when it happened; RFC 3339.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option("--idempotency-key", help="publish: the same key publishes once.")
    ] = None,
    limit: Limit = 50,
    cursor: After = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """List events, newest first; show one; print the bytes of the request that brought one; or publish one of your own.

    `publish` takes its JSON from a file, or from stdin for `-` and for nothing.
    """
    from hookseal.cli.printing import print_bytes
    from hookseal.cli.remote import gateway, misuse, segment

    there = gateway(url, key)
    match words or []:
        case []:
            query = {"source": source, "type": type, "subject": subject, "since": since, "until": until}
            page = there.page("events", query, limit, cursor)
            rows = [{**one, "outcome": one["data"]["outcome"], "flags": one["data"]["flags"]} for one in page["data"]]
            print_page(page, rows, _EVENT_COLUMNS, json)
        case ["publish", kind, *file] if len(file) <= 1:
            told = {"type": kind, "subject": subject, "time": time, "id": name}
            print_one(_publish(there, told, file[0] if file else None, idempotency_key), json)
        case ["raw", event]:
            print_bytes(there.get_bytes(f"events/{segment(event)}/raw"))
        case [event] if event not in ("raw", "publish"):
            print_one(there.get(f"events/{segment(event)}"), json)
        case _:
            misuse("events: give one event's id, `raw` and one event's id, or `publish` and a type")


def subjects(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source that its events came from.")],
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The provider's own reference of the case.")],
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Show the state in force of one subject: of its events the one that no later state supersedes."""
    from hookseal.cli.remote import gateway, segment

    one = gateway(url, key).get(f"subjects/{segment(source)}/{segment(subject)}")
    if json:
        print_one(one, json)
        return
    data = one["data"]
    shown = {
        name: value for name, value in one.items() if name not in ("data", "counts", "specversion", "datacontenttype")
    }
    claims = data.get("verified_claims", {}).get("claims")
    more = {"reasons": data["reasons"], "verified_claims": claims} if claims else {"reasons": data["reasons"]}
    print_one(
        {**shown, "outcome": data["outcome"], "final": data["final"], **more, "flags": data["flags"], **one["counts"]},
        json,
    )


def deliveries(
    delivery: Annotated[str | None, typer.Argument(metavar="[ID]", help="One delivery, with its attempts.")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="To this endpoint.")] = None,
    state: State = None,
    event: Annotated[str | None, typer.Option("--event", help="Of this event.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    cursor: After = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """List deliveries, newest first; or show one with its attempts."""
    from hookseal.cli.remote import gateway, segment

    there = gateway(url, key)
    if delivery is None:
        query = {"endpoint": endpoint, "state": state, "event": event, "since": since, "until": until}
        page = there.page("deliveries", query, limit, cursor)
        print_page(page, page["data"], _DELIVERY_COLUMNS, json)
        return
    one = there.get(f"deliveries/{segment(delivery)}")
    if json:
        print_one(one, json)
    else:
        print_one({name: value for name, value in one.items() if name != "attempts"}, json)
        print_table(one["attempts"], _ATTEMPT_COLUMNS)


def quarantine(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[show ID | release ID]", help="One refused request, or verify one again."),
    ] = None,
    source: SourceOption = None,
    limit: Limit = 50,
    cursor: After = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="show: print the exact bytes of the body, and nothing else.")
    ] = False,
) -> None:
    """List refused requests; show one; or verify one again with today's secrets, and store it if it is verified."""
    from hookseal.cli.printing import print_bytes, print_json, print_text
    from hookseal.cli.remote import gateway, misuse, segment

    there = gateway(url, key)
    if raw and (json or (words or [])[:1] != ["show"]):
        misuse("--raw: only with `show`, and without --json")
    match words or []:
        case ["show", refusal] if raw:
            print_bytes(there.get_bytes(f"quarantine/{segment(refusal)}/raw"))
        case ["show", refusal]:
            _print_refusal(there.get(f"quarantine/{segment(refusal)}"), json)
        case []:
            page = there.page("quarantine", {"source": source}, limit, cursor)
            print_page(page, page["data"], _REFUSAL_COLUMNS, json)
        case ["release", refusal]:
            released = there.post(f"quarantine/{segment(refusal)}/release")
            if json:
                print_json(released)
            else:
                for one in released["events"]:
                    print_text(f"{one['id']}{' (stored before)' if one['duplicate'] else ''}")
        case _:
            misuse("quarantine: give nothing, or `show` or `release` and one refused request's id")


def replay(
    endpoint: Annotated[str, typer.Option("--endpoint", help="Where to send them again.")],
    event: Annotated[list[str] | None, typer.Option("--event", help="This event; may be given more than once.")] = None,
    since: Since = None,
    until: Until = None,
    state: State = None,
    url: Url = None,
    key: Key = None,
    json: AsJson = False,
) -> None:
    """Send events to an endpoint again: those named, those whose delivery is in a state, a time range, or all."""
    from hookseal.cli.printing import counted, print_json, say
    from hookseal.cli.remote import gateway

    asked: dict[str, Any] = {
        "endpoint": endpoint,
        "since": since,
        "until": until,
        "state": state,
        "events": event or None,
    }
    made = gateway(url, key).post("replays", {name: value for name, value in asked.items() if value is not None})
    if json:
        print_json(made)
    else:
        say(f"{counted(made['replayed'], 'delivery', 'deliveries')} to {endpoint} due again")


def _print_refusal(one: dict[str, Any], as_json: bool) -> None:
    """The body is text as it came, with its lines; bytes that are not text are shown by their first ones, in hex."""
    import base64

    from hookseal.cli.printing import print_text
    from hookseal.cli.remote import plain

    if as_json:
        print_one(one, as_json)
        return
    print_one({name: value for name, value in one.items() if name not in ("headers", "body", "body_base64")}, as_json)
    print_text("")
    for header in one["headers"]:
        print_text(f"{plain(header['name'])}: {'(hidden)' if header['value'] is None else plain(header['value'])}")
    print_text("")
    if one["body"] is not None:
        # A tab and a newline cannot mislead here: nothing follows the body.
        print_text("\n".join("\t".join(map(plain, line.split("\t"))) for line in one["body"].split("\n")))
        return
    body = base64.b64decode(one["body_base64"])
    print_text(f"({len(body)} bytes that are not UTF-8 text; --raw prints them) {body[:_HEX_BYTES].hex()}")


def _publish(there: "Gateway", told: dict[str, str | None], file: str | None, idempotency_key: str | None) -> Any:
    """The data goes into the body as it is written: parsing it could change its numbers."""
    import json

    from hookseal.cli import given
    from hookseal.cli.remote import misuse

    data = given.body(file)
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        misuse("publish: the data is not JSON")
    members = [f"{json.dumps(name)}:{json.dumps(value)}".encode() for name, value in told.items() if value is not None]
    body = b"{" + b",".join([*members, b'"data":' + data]) + b"}"
    return there.post_bytes("events", body, {} if idempotency_key is None else {"Idempotency-Key": idempotency_key})


def print_page(page: dict[str, Any], rows: Sequence[dict[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    from hookseal.cli.printing import print_json, say

    if as_json:
        print_json(page)
        return
    print_table(rows, columns)
    if page["next"] is not None:
        say(f"there are more: --cursor {page['next']}")


def print_one(one: dict[str, Any], as_json: bool) -> None:
    from hookseal.cli.printing import print_json, print_text

    if as_json:
        print_json(one)
        return
    width = max(map(len, one))
    for name, value in one.items():
        print_text(f"{name:<{width}}  {_shown(value)}")


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Print a table that fits the terminal's width. In a pipe or a file nothing is shortened or left out."""
    from rich.table import Table
    from rich.text import Text

    from hookseal.cli.printing import console, say
    from hookseal.cli.tables import GAP, Layout, fit_table

    out = console()
    cells = [[_shown(row.get(column)) for column in columns] for row in rows]
    if out.is_terminal:
        layout = fit_table(columns, cells, out.width)
    else:
        layout, out.width = Layout(columns, cells), _UNBOUNDED
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in layout.columns:
        table.add_column(column, no_wrap=True)
    for row in layout.rows:
        table.add_row(*map(Text, row))
    out.print(table)
    if layout.left_out:
        say(f"columns that do not fit: {', '.join(layout.left_out)}; --json shows everything")


def _shown(value: Any) -> str:
    """One line for one value. A null is a dash; what has structure stays JSON."""
    import json

    from hookseal.cli.remote import plain

    if value is None or value == []:
        return "-"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return plain(", ".join(value))
    if isinstance(value, str):
        return plain(value)
    return plain(json.dumps(value, ensure_ascii=False))
