"""How ids, texts and bytes lie in the columns of a store, whichever it is. Pure."""

import base64
import binascii
from collections.abc import Sequence

import msgspec

from hookseal.errors import Invalid, SealBroken, StoreError
from hookseal.message import Headers
from hookseal.model import DeliveryId, EventId, RefusalId
from hookseal.store.port import Cursor, IdKind

FOREVER = 2**63 - 1
"""Later than any instant, and larger than any key."""

_DELIVERY = "msg_"
_UUID = "00000000-0000-0000-0000-000000000000"
_TEMPLATES = {IdKind.EVENT: _UUID, IdKind.REFUSAL: _UUID, IdKind.DELIVERY: _DELIVERY + 32 * "0"}


def pack_uuid(text: str) -> bytes | None:
    """The 16 bytes of a UUID's 36-character form, None for anything else."""
    if len(text) != 36 or text[8] != "-" or text[13] != "-" or text[18] != "-" or text[23] != "-":
        return None
    try:
        packed = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        return None
    return packed if len(packed) == 16 else None


def pack_delivery(text: str) -> bytes | None:
    if len(text) != 36 or not text.startswith(_DELIVERY):
        return None
    try:
        packed = bytes.fromhex(text[4:])
    except ValueError:
        return None
    return packed if len(packed) == 16 else None


def prefix_bounds(kind: IdKind, prefix: str) -> tuple[bytes, bytes] | None:
    """Return the first and the last id that a prefix of an id's text can be of; None if it is not such a prefix."""
    first, last = (prefix + _TEMPLATES[kind].replace("0", digit)[len(prefix) :] for digit in "0f")
    packing = pack_delivery if kind is IdKind.DELIVERY else pack_uuid
    lowest, highest = packing(first), packing(last)
    # The comparison refuses what only reads as an id, such as upper case: the texts of ids are in lower case.
    if not prefix or lowest is None or highest is None or not id_text(kind, lowest).startswith(prefix):
        return None
    return lowest, highest


def id_text(kind: IdKind, packed: bytes) -> str:
    return delivery_id(packed) if kind is IdKind.DELIVERY else _uuid_text(packed)


def must(packed: bytes | None, what: str) -> bytes:
    """StoreError when an id that is to be stored is not one of ours."""
    if packed is None:
        raise StoreError(f"{what} is not an id that this store can keep")
    return packed


def event_id(packed: bytes) -> EventId:
    return EventId(_uuid_text(packed))


def refusal_id(packed: bytes) -> RefusalId:
    return RefusalId(_uuid_text(packed))


def delivery_id(packed: bytes) -> DeliveryId:
    return DeliveryId(_DELIVERY + packed.hex())


def _uuid_text(packed: bytes) -> str:
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def storable(text: str | None) -> str | None:
    """The text with half surrogate pairs replaced: JSON can spell them (`"\\ud800"`), UTF-8 and so a database cannot.

    The request's own bytes are kept as they came, so that nothing is lost.
    """
    if text is None or text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def pack_flags(flags: Sequence[str]) -> str:
    return " ".join(flags)


def unpack_flags(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# --- what is sealed -------------------------------------------------------------------------------------------------


class SealedRequest(msgspec.Struct, array_like=True, frozen=True):
    """The plain form of `bodies.sealed`. Fields are only ever added, at the end and with a default."""

    headers: Headers
    body: bytes


class SealedRefusal(msgspec.Struct, array_like=True, frozen=True):
    """The plain form of `quarantine.sealed`."""

    method: str
    url: str | None
    remote: str | None
    headers: Headers
    body: bytes


pack = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(SealedRequest)
_refusal = msgspec.msgpack.Decoder(SealedRefusal)


def unpack_request(plain: bytes) -> SealedRequest:
    try:
        return _request.decode(plain)
    except msgspec.MsgspecError as error:
        raise SealBroken("the sealed value is not a request") from error


def unpack_refusal(plain: bytes) -> SealedRefusal:
    try:
        return _refusal.decode(plain)
    except msgspec.MsgspecError as error:
        raise SealBroken("the sealed value is not a refused request") from error


# --- cursors --------------------------------------------------------------------------------------------------------


def pack_cursor(kind: str, *numbers: int) -> Cursor:
    text = ":".join((kind, *map(str, numbers)))
    return Cursor(base64.urlsafe_b64encode(text.encode()).decode().rstrip("="))


def unpack_cursor(cursor: Cursor, kind: str, numbers: int, largest: int = FOREVER) -> tuple[int, ...]:
    """The numbers of a cursor of the same kind. Invalid for every other text."""
    problem = Invalid("cursor", "is not one that this list gave")
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        of, *parts = text.split(":")
        found = tuple(int(part) for part in parts)
    except (ValueError, binascii.Error) as error:
        raise problem from error
    if of != kind or len(found) != numbers or any(abs(number) > largest for number in found):
        raise problem
    return found
