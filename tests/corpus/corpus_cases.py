"""The named cases: one TOML file each, `<category>/<name>.toml`, and what its words mean.

A *text* is a string whose characters are bytes (U+00FF is the byte 255), or a list of such strings and of tables
`{ repeat = text, times = n }`; so a file can hold any bytes and stays readable. In braces stand: `{case}` the name,
`{sig}` and its misspellings (see `corpus_proofs.Proof.words`), `{ts}`, `{id}`, `{token}`, `{proof}` all proof headers
as lines, `{body}`, `{length}`, `{key}` the API's key, and `{issuer}` the URL of the keys' issuer, where nobody may be lured.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from corpus_proofs import PROOF_HEADERS, PROVIDERS, Pairs, Token, content_type, filled, good_body, proof

FOLDER = Path(__file__).parent
API = "api"
API_KEY = "a management key of the tests"

_REQUEST = frozenset(
    {
        *("why", "source", "expect", "method", "target", "proof", "headers", "content_type", "body", "signed_body"),
        *("timestamp", "id", "token", "raw", "ending", "options", "own_issuer", "key", "first", "max_age_s"),
    }
)
_EXPECT = frozenset({"status", "title", "problem", "stored", "unsure", "flags", "type", "reason", "errors", "headers"})
_ENDINGS = frozenset({"wait", "half_close", "reset", "drip"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """statuses: of each answer but 100, in order, all that are allowed; 0 stands for a connection closed without one.

    flags, type, errors: None where nothing is said. unsure: a request that got no answer may have been stored or not.
    """

    statuses: tuple[frozenset[int], ...]
    title: str | None = None
    problem: str | None = None
    stored: int = 0
    unsure: bool = False
    flags: tuple[str, ...] | None = None
    type: str | None = None
    reason: str | None = None
    errors: tuple[str, ...] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """wire: all that is sent. body: what the request holds, to be found again byte for byte when it is stored."""

    file: Path
    category: str
    name: str
    why: str
    source: str
    wire: bytes
    body: bytes
    first: bytes
    ending: str
    options: Mapping[str, Any]
    max_age_s: int | None
    own_issuer: bool
    expected: Expected

    @property
    def id(self) -> str:
        return f"{self.category}/{self.name}"

    def at(self, issuer: str) -> "Case":
        """The case where the issuer's URL is known."""
        return _read(self.file, issuer)

    @property
    def source_id(self) -> str:
        return f"{self.category}-{self.name}".lower()


def cases() -> list[Case]:
    return [_read(file) for file in sorted(FOLDER.glob("B-*/*.toml"))]


def text(given: Any) -> bytes:
    if isinstance(given, str):
        return given.encode("latin-1")
    if isinstance(given, list):
        return b"".join(text(part) for part in given)
    assert given.keys() == {"repeat", "times"}, given
    return text(given["repeat"]) * int(given["times"])


def _read(file: Path, issuer: str = "http://issuer.invalid") -> Case:
    given = tomllib.loads(file.read_text(encoding="utf-8").replace("{issuer}", issuer))
    assert given.keys() <= _REQUEST, (file, given.keys() - _REQUEST)
    assert given["expect"].keys() <= _EXPECT, (file, given["expect"].keys() - _EXPECT)
    assert given.get("ending", "wait") in _ENDINGS, file
    source = given["source"]
    assert source in (*PROVIDERS, API), file
    case = f"{file.parent.name}-{file.stem}".lower()
    body = _body(given, source, case)
    wire = _wire(given, source, case, body)
    return Case(
        file=file,
        category=file.parent.name,
        name=file.stem,
        why=given["why"],
        source=source,
        wire=wire,
        body=body,
        first=_wire({}, source, case, good_body(source, case)) if given.get("first") else b"",
        ending=given.get("ending", "wait"),
        options=given.get("options", {}),
        max_age_s=given.get("max_age_s"),
        own_issuer=given.get("own_issuer", False),
        expected=_expected(given["expect"]),
    )


def _body(given: Mapping[str, Any], source: str, case: str) -> bytes:
    if "body" in given:
        return filled(text(given["body"]), {b"{case}": case.encode()})
    return b"" if source == API else good_body(source, case)


def _wire(given: Mapping[str, Any], source: str, case: str, body: bytes) -> bytes:
    words = {b"{case}": case.encode(), b"{key}": API_KEY.encode()}
    proof_headers: Pairs = []
    if source != API:
        words |= _proof_words(given, source, case, body)
        rows = given.get("proof", PROOF_HEADERS[source])
        proof_headers = [(filled(text(name), words), filled(text(value), words)) for name, value in rows]
    elif given.get("key", True):
        proof_headers = [(b"Authorization", b"Bearer " + API_KEY.encode())]
    lines = b"".join(b"%b: %b\r\n" % pair for pair in proof_headers)
    if "raw" in given:
        length = b"%d" % len(body)
        return filled(text(given["raw"]), {b"{proof}": lines, b"{length}": length, **words, b"{body}": body})
    method = text(given.get("method", "GET" if source == API and not body else "POST"))
    target = filled(text(given.get("target", "/in/{case}")), words)
    media = text(given["content_type"]) if "content_type" in given else _media(source, body)
    if media:
        lines = b"Content-Type: %b\r\n" % media + lines
    lines += b"".join(
        b"%b: %b\r\n" % (filled(text(name), words), filled(text(value), words))
        for name, value in given.get("headers", [])
    )
    head = b"%b %b HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n" % (method, target)
    return head + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _media(source: str, body: bytes) -> bytes:
    if source == API:
        return b"application/json" if body else b""
    return content_type(source)


def _proof_words(given: Mapping[str, Any], source: str, case: str, body: bytes) -> dict[bytes, bytes]:
    if source == "bankid_antifraud":
        recipe = {
            key: text(value) if key in ("header_text", "claims_text", "form") else value
            for key, value in given.get("token", {}).items()
        }
        return {b"{token}": Token(**recipe).made()}
    signed = filled(text(given["signed_body"]), {b"{case}": case.encode()}) if "signed_body" in given else body
    at, id = given.get("timestamp"), given.get("id")
    return proof(source, signed, timestamp=None if at is None else text(at), id=None if id is None else text(id)).words


def _expected(given: Mapping[str, Any]) -> Expected:
    status = given["status"]
    answers = status if isinstance(status, list) else [status]
    return Expected(
        statuses=tuple(frozenset(one if isinstance(one, list) else [one]) for one in answers),
        title=given.get("title"),
        problem=given.get("problem"),
        stored=given.get("stored", 0),
        unsure=given.get("unsure", False),
        flags=tuple(given["flags"]) if "flags" in given else None,
        type=given.get("type"),
        reason=given.get("reason"),
        errors=tuple(given["errors"]) if "errors" in given else None,
        headers=given.get("headers", {}),
    )
