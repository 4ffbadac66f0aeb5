"""Cursors as callers see them: opaque text that belongs to one listing with one set of filters.

The store's own cursor is wrapped with a checksum over it, the listing and the filters. So junk, a cursor cut short and
a cursor of another listing are told apart from a good one here, and no store is ever asked with them. The checksum is
against mistakes, not against forgery: whoever holds a key may read every page anyway.
"""

import base64
import binascii
from collections.abc import Mapping
from hashlib import sha256

from hookseal.store.port import Cursor

DEFAULT_LIMIT = 50
MAX_LIMIT = 1000
MAX_CURSOR_CHARS = 1024

_CHECK_BYTES = 6


def wrap(cursor: Cursor, listing: str, filters: Mapping[str, str]) -> str:
    plain = cursor.encode()
    return base64.urlsafe_b64encode(_check(plain, listing, filters) + plain).rstrip(b"=").decode()


def unwrap(text: str, listing: str, filters: Mapping[str, str]) -> Cursor:
    """ValueError for whatever `wrap` did not make for this listing and these filters."""
    if len(text) > MAX_CURSOR_CHARS:
        raise ValueError("too long")
    try:
        given = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ValueError("not base64url") from None
    plain = given[_CHECK_BYTES:]
    if not plain or given[:_CHECK_BYTES] != _check(plain, listing, filters):
        raise ValueError("not a cursor of this listing")
    return Cursor(plain.decode())


def _check(plain: bytes, listing: str, filters: Mapping[str, str]) -> bytes:
    digest = sha256(listing.encode())
    for name in sorted(filters):
        digest.update(b"\x00" + name.encode() + b"\x00" + filters[name].encode())
    digest.update(b"\x00\x00" + plain)
    return digest.digest()[:_CHECK_BYTES]
