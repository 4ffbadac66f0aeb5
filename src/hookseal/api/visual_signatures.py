"""`POST /api/v1/visual-signatures`: a PDF in, the PDF with the visual signature on it out.

Bodies are large here and the work is done by the processor, so: a limit of its own, few at once, and a thread that
leaves the event loop to those who receive. `read` tells every fault in the body's members; what only the document, the
image or the signing key can show is told one at a time. A signing key is used for its request and kept nowhere.
"""

import asyncio
import binascii
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.responses import Response

from hookseal.api.gate import Gate
from hookseal.api.operation import Answer, Body, Call, Faulty, Operation
from hookseal.api.problem import Fault, ProblemCode, problem
from hookseal.api.schemas import ref
from hookseal.api.values import EVENT, SOURCE, TEXT, TIME, Kind
from hookseal.clock import Instant
from hookseal.errors import ConfigurationError, Invalid, NotFound
from hookseal.manage.operations import Management
from hookseal.model import EventId, Json, SourceId
from hookseal.stamp import names
from hookseal.stamp.element import Box, SignerName, VisualSignature, box_of, name_of, zone_of
from hookseal.stamp.installed import REMEDY, is_installed
from hookseal.store.port import EventFilter

if TYPE_CHECKING:
    from hookseal.stamp.signing import SigningKey

MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
MAX_IMAGE_BYTES = 2 * 1024 * 1024
MAX_BODY_BYTES = (MAX_DOCUMENT_BYTES + MAX_IMAGE_BYTES) // 3 * 4 + 256 * 1024
"""Document and image in base64, and the rest."""
AT_ONCE = 4
"""Requests with their bodies; two of them are worked on."""
_THREADS = 2
_EVENTS_OF_A_CASE = 100
"""How far back the name of a case is looked for."""

_MEMBERS = frozenset({"document", "page", "box", "signer", "timestamp", "time_zone", "image", "signing"})
_SIGNING_MEMBERS = frozenset({"key", "certificates", "passphrase"})
_MAX_PEM = 64 * 1024
_SIGNER_MEMBERS: Mapping[SignerName, frozenset[str]] = {
    SignerName.NONE: frozenset({"kind"}),
    SignerName.INITIAL: frozenset({"kind", "name"}),
    SignerName.VERIFIED: frozenset({"kind", "event", "source", "subject"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Where a verified name stands: in one event, or in those of a subject of a source."""

    event: EventId | None = None
    source: SourceId | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pem:
    """A private key, its certificate (first) and chain, and what opens the key: all as text."""

    key: str = field(repr=False)
    certificates: str = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """document and image: still base64. name: what is shown, None for nothing, or where it must be looked up."""

    document: str
    image: str | None
    page: int
    box: Box
    name: str | Case | None
    at: Instant
    zone: ZoneInfo
    signing: Pem | None = None


def operation(management: Management, path: str) -> Operation:
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="visual-signature")

    async def place_visual_signature(call: Call) -> Answer:
        if not is_installed():
            return problem(ProblemCode.NOT_INSTALLED, detail=f"To place visual signatures, {REMEDY}.")
        asked: Asked = call.body
        name = await _verified(management, asked.name) if isinstance(asked.name, Case) else asked.name
        made = await asyncio.get_running_loop().run_in_executor(threads, _placed, asked, name, management.now())
        headers = {"Content-Disposition": 'attachment; filename="document.pdf"'}
        return Response(made, headers=headers, media_type="application/pdf")

    return Operation(
        name="placeVisualSignature",
        method="POST",
        path=path,
        summary="Places a visual signature on a PDF, and signs it (PAdES) when a key is given. The PDF comes back.",
        handler=place_visual_signature,
        body=Body(read, ref("VisualSignature"), max_bytes=MAX_BODY_BYTES),
        media_type="application/pdf",
        problems=(ProblemCode.NOT_INSTALLED,),
        gate=Gate(AT_ONCE),
    )


async def _verified(management: Management, case: Case) -> str:
    if case.event is not None:
        try:
            event = await management.event(case.event)
            # An event without a subject belongs to no case, so nothing can overtake it.
            current = event if event.subject is None else (await management.in_force(event.source, event.subject)).event
        except NotFound:
            raise Invalid("/signer/event", "there is no such event") from None
        return names.of_event(event, is_current=current.id == event.id)
    where = EventFilter(source=case.source, subject=case.subject)
    return names.of_case((await management.events(where, _EVENTS_OF_A_CASE, None)).rows)


def _placed(asked: Asked, name: str | None, now: Instant) -> bytes:
    """In a thread: all that takes long."""
    from hookseal.stamp.placing import place

    key = None if asked.signing is None else _opened(asked.signing, now)

    shown = VisualSignature(
        at=asked.at,
        zone=asked.zone,
        box=asked.box,
        page=asked.page,
        name=name,
        image=None if asked.image is None else _bytes(asked.image, "/image", MAX_IMAGE_BYTES),
    )
    return place(_bytes(asked.document, "/document", MAX_DOCUMENT_BYTES), shown, key=key)


def _opened(pem: Pem, now: Instant) -> "SigningKey":
    from hookseal.stamp.signing import signing_key

    passphrase = None if pem.passphrase is None else pem.passphrase.encode()
    try:
        return signing_key(pem.key.encode(), pem.certificates.encode(), passphrase, now)
    except ConfigurationError as unfit:
        raise Invalid("/signing", f"{unfit.place} {unfit.remedy}") from None


def _bytes(text: str, pointer: str, limit: int) -> bytes:
    try:
        made = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:  # binascii.Error, and UnicodeEncodeError's parent for what is not ASCII
        raise Invalid(pointer, "is not base64") from None
    if len(made) > limit:
        raise Invalid(pointer, f"is larger than {limit} bytes")
    return made


# --- reading the body -------------------------------------------------------------------------------------------------


def read(given: Json) -> Asked | Faulty:
    if not isinstance(given, dict):
        return Faulty((Fault("", "not_an_object"),))
    faults: list[Fault] = []
    if given.keys() - _MEMBERS:
        faults.append(Fault("", "unknown_member"))
    document = _text(given, "document", faults)
    image = _text(given, "image", faults) if given.get("image") is not None else None
    at = _of_kind(TIME, given, "timestamp", "", faults)
    zone = _judged(zone_of, _text(given, "time_zone", faults), "/time_zone", faults)
    page = given.get("page", -1)
    if not isinstance(page, int) or isinstance(page, bool) or page == 0:
        faults.append(Fault("/page", "invalid"))
    box = _box(given.get("box"), faults)
    name = _signer(given.get("signer"), faults)
    signing = _signing(given["signing"], faults) if given.get("signing") is not None else None
    if faults or document is None or zone is None or box is None:
        return Faulty(tuple(faults))
    return Asked(document=document, image=image, page=page, box=box, name=name, at=at, zone=zone, signing=signing)


def _text(given: Mapping[str, Json], name: str, faults: list[Fault], within: str = "") -> str | None:
    value = given.get(name)
    if isinstance(value, str):
        return value
    faults.append(Fault(f"{within}/{name}", "missing" if value is None else "not_text"))
    return None


def _of_kind(kind: Kind, given: Mapping[str, Json], name: str, within: str, faults: list[Fault]) -> Any:
    text = _text(given, name, faults, within)
    if text is not None:
        try:
            return kind.read(text)
        except ValueError:
            faults.append(Fault(f"{within}/{name}", "invalid", kind.remedy))
    return None


def _judged(judge: Callable[[str], Any], text: str | None, pointer: str, faults: list[Fault]) -> Any:
    if text is not None:
        try:
            return judge(text)
        except Invalid:
            faults.append(Fault(pointer, "invalid"))
    return None


def _box(given: Json, faults: list[Fault]) -> Box | None:
    if given is None:
        faults.append(Fault("/box", "missing"))
        return None
    if isinstance(given, list) and len(given) == 4 and all(_is_number(one) for one in given):
        try:
            return box_of(*(float(one) for one in given))
        except Invalid:
            pass
    faults.append(Fault("/box", "invalid"))
    return None


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9 and isfinite(value)


def _signer(given: Json, faults: list[Fault]) -> str | Case | None:
    """`none` is a word to be written: a request that forgets the signer is not one that wants none."""
    if not isinstance(given, dict):
        faults.append(Fault("/signer", "missing" if given is None else "not_an_object"))
        return None
    try:
        kind = SignerName(str(given.get("kind")))
    except ValueError:
        faults.append(Fault("/signer/kind", "missing" if given.get("kind") is None else "invalid"))
        return None
    faults += [
        Fault(f"/signer/{name}" if name in ("name", "event", "source", "subject") else "/signer", f"not_with_{kind}")
        for name in sorted(given.keys() - _SIGNER_MEMBERS[kind])
    ]
    if kind is SignerName.NONE:
        return None
    if kind is SignerName.INITIAL:
        name: str | None = _judged(name_of, _text(given, "name", faults, "/signer"), "/signer/name", faults)
        return name
    return _case(given, faults)


def _case(given: Mapping[str, Json], faults: list[Fault]) -> Case:
    if given.get("event") is not None:
        faults += [Fault(f"/signer/{name}", "not_with_event") for name in ("source", "subject") if name in given]
        return Case(event=_of_kind(EVENT, given, "event", "/signer", faults))
    if given.get("source") is None and given.get("subject") is None:
        faults.append(Fault("/signer/event", "missing"))
        return Case()
    return Case(
        source=_of_kind(SOURCE, given, "source", "/signer", faults),
        subject=_of_kind(TEXT, given, "subject", "/signer", faults),
    )


def _signing(given: Json, faults: list[Fault]) -> Pem | None:
    if not isinstance(given, dict):
        faults.append(Fault("/signing", "not_an_object"))
        return None
    if given.keys() - _SIGNING_MEMBERS:
        faults.append(Fault("/signing", "unknown_member"))
    key = _text(given, "key", faults, "/signing")
    certificates = _text(given, "certificates", faults, "/signing")
    passphrase = _text(given, "passphrase", faults, "/signing") if given.get("passphrase") is not None else None
    if key is None or certificates is None:
        return None
    if max(len(key), len(certificates), len(passphrase or "")) > _MAX_PEM:
        faults.append(Fault("/signing", "too_large"))
        return None
    return Pem(key=key, certificates=certificates, passphrase=passphrase)
