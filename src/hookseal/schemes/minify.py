"""JSON text without its white space, by tokens: nothing is parsed, so nothing is rewritten.

Parsing and dumping would lose `1.0`, `1e2`, big integers, `\\u00fc`, `\\/`, the order of keys and keys that stand twice,
and with any of them the signature. These functions know strings and white space only, take any bytes at all, and run in
linear time: they are used on bodies that nobody has proven yet.
"""

import json
import re

_BLANK = b" \t\r\n"

# White space between two literals stays: taking it away would make one token of two, `1 2` the same as `12`.
# Possessive throughout: no backtracking, so no body is quadratic. A string that never ends runs to the end of the bytes.
_LITERAL = rb'[^ \t\r\n{}\[\]:,"]'
_STRING_OR_BLANK = re.compile(
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+\\?+"?+)|(?<!' + _LITERAL + rb")[ \t\r\n]++|[ \t\r\n]++(?!" + _LITERAL + rb")",
    re.DOTALL,
)
_BETWEEN_LITERALS = re.compile(_LITERAL + rb"[ \t\r\n]++" + _LITERAL)


def minified(body: bytes) -> bytes:
    """White space outside strings removed, nothing else touched. Idempotent."""
    if len(body.translate(None, _BLANK)) == len(body):
        return body
    if b'\\"' not in body:
        # No quote is escaped, so they open and close in turn: every second piece lies outside strings.
        pieces = body.split(b'"')
        if not _BETWEEN_LITERALS.search(b'"'.join(pieces[::2])):
            pieces[::2] = [piece.translate(None, _BLANK) for piece in pieces[::2]]
            return b'"'.join(pieces)
    return _STRING_OR_BLANK.sub(rb"\1", body)


def is_json(body: bytes) -> bool:
    """Return whether the body is one JSON text in UTF-8. Not used on bodies that are not proven: it parses."""
    try:
        json.loads(body.decode())
    except (ValueError, RecursionError):
        return False
    return True


def stripped(body: bytes) -> bytes:
    """Every space, tab, CR and LF removed, inside strings too."""
    return body.translate(None, _BLANK)
