"""From stored bytes to the normalised event: what the provider decided, and what it verified of whom.

Runs off the answering path, as often as it is asked: an event is stored as the provider's bytes. The caller passes the
rules that were in force when it was stored, so that its meaning does not change when the catalogue does. What was
extracted when the event was stored (type, subject, outcome, ...) is returned as it was stored. Total over any bytes.

`verified_claims` has the shape of OpenID Identity Assurance Schema Definition 1.0; it is given only where the rules say
that the provider verified the fields. In every other case the same fields are `claims`.
"""

import base64

from hookseal.catalogue.revisions import HasRules
from hookseal.clock import rfc3339
from hookseal.identity.batch import parse_text, parts_now
from hookseal.identity.body import Body, names_a_key_twice, parse
from hookseal.identity.reading import Reading
from hookseal.identity.rule_compiler import CompiledClaims, compile_rules
from hookseal.message import Headers, RawRequest
from hookseal.model import Event, Flag, Json, Outcome
from hookseal.store.port import EventRow


def event(provider: HasRules, row: EventRow, headers: Headers, body: bytes, raw: RawRequest | None = None) -> Event:
    """Return the event that `row` stands for. headers, body: of the request that brought it, exactly as stored.

    raw  the same bytes, shared by the events of the request: a batch is then split once for all of them.
    """
    raw = RawRequest(headers, body) if raw is None else raw
    texts = parts_now(raw, provider.event, headers)
    if texts is not None and row.item < len(texts):
        body = bytes(texts[row.item])  # from here on the event's own text stands for the body
        parsed = parse_text(texts[row.item])
        readable = parsed.parsed
    else:
        parsed = parse(body, _value(headers, b"content-type"), provider.event.numbers)
        readable = parsed.parsed and row.item == 0
    tree = parsed.tree
    reading = Reading(compile_rules(provider.event), tree if readable else None, headers)
    kind = reading.kind(row.provider_type)
    # An event that was stored before outcomes were has none.
    outcome = reading.outcome(kind) if row.outcome is None else row.outcome
    claims, verified = _claims(provider, reading, outcome)
    return Event(
        id=row.id,
        source=row.source,
        type=row.type,
        time=row.time if row.time is not None else row.received_at,
        received_at=row.received_at,
        provider=provider.id,
        sequence=row.sequence,
        subject=row.subject,
        provider_type=row.provider_type,
        provider_id=row.provider_id,
        outcome=outcome,
        final=reading.is_final(kind) if row.outcome is None else row.final,
        superseded=row.superseded,
        flags=_flags(row, parsed, body),
        verified_claims=verified,
        claims=claims,
        reasons=reading.reasons(kind),
        payload=tree if readable else None,
        payload_base64=None if readable else base64.b64encode(body).decode("ascii"),
    )


def _flags(row: EventRow, parsed: Body, body: bytes) -> tuple[str, ...]:
    flags = dict.fromkeys((*row.flags, *(flag.value for flag in parsed.flags)))
    if parsed.is_json and names_a_key_twice(body):
        flags[Flag.DUPLICATE_KEYS.value] = None
    if row.conflicts:
        flags[Flag.CONFLICT.value] = None
    return tuple(flags)


def _claims(
    provider: HasRules, reading: Reading, outcome: Outcome
) -> tuple[dict[str, Json] | None, dict[str, Json] | None]:
    """Return (claims, verified claims); at most one of them is there."""
    rules, tree, headers = reading.rules.claims, reading.tree, reading.headers
    if rules is None or not isinstance(tree, dict):
        return None, None
    fields, found = rules.fields(tree, headers)
    if not found:
        return None, None
    if outcome is not Outcome.APPROVED or not rules.is_verified(tree, headers):
        return fields, None
    return None, {"verification": _verification(provider, rules, reading), "claims": fields}


def _verification(provider: HasRules, rules: CompiledClaims, reading: Reading) -> dict[str, Json]:
    tree, headers = reading.tree, reading.headers
    framework = rules.framework(tree, headers) or f"urn:hookseal:provider:{provider.id}"
    verification: dict[str, Json] = {"trust_framework": framework}
    time = rules.time(tree, headers)
    if time is not None:
        verification["time"] = rfc3339(time)
    evidence = [piece for piece, found in (fill(tree, headers) for fill in rules.evidence) if found]
    if evidence:
        verification["evidence"] = evidence
    return verification


def _value(headers: Headers, name: bytes) -> bytes | None:
    return next((value for key, value in headers if key == name), None)
