"""A running gateway as the command line reaches it: its management API, by URL and key.

It decides how a failed call is told: one sentence, exit code 1 for what the gateway or the network refused, 2 for what
was asked wrongly. It does not go through `egress`: that guard is for addresses which others chose, and refuses
loopback and private networks; this URL is the operator's own word, and mostly names just those. What can mislead a key
to somebody else is off here as well: no redirect is followed, and no proxy is taken from the environment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import IO, Any, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

import typer

from hookseal.cli.printing import say

DEFAULT_URL = "http://127.0.0.1:8400"

_TIMEOUT_S = 60.0
_MAX_BYTES = 256 * 1024 * 1024
_MAX_PAGE = 1000
_USAGE_STATUSES = frozenset({400, 422})
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Gateway:
    """url: without the path of the API; key: None where the gateway asks for none."""

    url: str
    key: str | None = field(default=None, repr=False)

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> Any:
        return _parsed(self._call("GET", path, query))

    def get_bytes(self, path: str) -> bytes:
        return self._call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        return _parsed(self._call("POST", path, body=None if body is None else json.dumps(body).encode()))

    def post_bytes(self, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """The same with the JSON exactly as it is."""
        return _parsed(self._call("POST", path, body=body, headers=headers))

    def patch(self, path: str, body: Any) -> Any:
        return _parsed(self._call("PATCH", path, body=json.dumps(body).encode()))

    def delete(self, path: str) -> None:
        self._call("DELETE", path)

    def page(self, path: str, query: Mapping[str, str | None], limit: int, cursor: str | None) -> dict[str, Any]:
        """Up to `limit` rows, of as many pages as it takes: `{"data": [...], "next": cursor|null}`."""
        rows: list[Any] = []
        while True:
            step = str(min(_MAX_PAGE, limit - len(rows)))
            page = self.get(path, {**query, "limit": step, "cursor": cursor})
            rows += page["data"]
            cursor = page["next"]
            if cursor is None or len(rows) >= limit:
                return {"data": rows, "next": cursor}

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        request = Request(  # noqa: S310 - the scheme was judged in `gateway`
            f"{self.url}/api/v1/{path}{'?' if asked else ''}{asked}",
            body,
            {**_headers(self.key, body), **(headers or {})},
            method=method,
        )
        try:
            with _opener().open(request, timeout=_TIMEOUT_S) as answer:
                return _read(answer)
        except HTTPError as error:
            with error:
                _refused(error.code, error.read(65536), path)
        except URLError as error:
            fail(f"cannot reach {self.url}: {_why(error.reason)}")
        except (HTTPException, OSError) as error:
            fail(f"cannot reach {self.url}: {_why(error)}")


def gateway(url: str | None, key: str | None) -> Gateway:
    """From the options. Exit 2 when they cannot be used."""
    given = (url or DEFAULT_URL).rstrip("/")
    try:
        parts = urlsplit(given)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or "@" in parts.netloc or parts.query or parts.fragment or not given.isascii() or " " in given:
        misuse("--url: give the gateway's address, such as http://127.0.0.1:8400")
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        misuse("--key: a key is printable ASCII without blank space around it")
    return Gateway(given, key)


def segment(text: str) -> str:
    """One part of a path, whatever somebody typed."""
    return quote(text, safe="")


def fail(sentence: str) -> NoReturn:
    say(f"hookseal: {sentence}")
    raise typer.Exit(1)


def misuse(sentence: str) -> NoReturn:
    say(f"hookseal: {sentence}")
    raise typer.Exit(2)


def plain(text: str) -> str:
    """Text that a stranger may have written, fit for a terminal: nothing in it moves the cursor or turns the line."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **named: Any) -> None:
        return None


def _opener() -> OpenerDirector:
    return build_opener(ProxyHandler({}), _NoRedirect())


def _headers(key: str | None, body: bytes | None) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": "hookseal"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if body is not None:
        headers["Content-Type"] = "application/json"
    return headers


def _read(answer: IO[bytes]) -> bytes:
    data = answer.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        fail("the answer is larger than this command reads; ask for fewer rows")
    return data


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        fail("the answer is not JSON: is this the address of a hookseal gateway?")


def _refused(status: int, body: bytes, path: str) -> NoReturn:
    """Say what a problem says. Its pointers are options of ours under another name, so they help whoever typed them.

    The API repeats nothing of a request; what was not found is what somebody typed here, and is named.
    """
    try:
        problem = json.loads(body)
        title = f"{problem['title']}: {unquote(path)}" if status == _NOT_FOUND else problem["title"]
        words = [title, *([problem["detail"]] if "detail" in problem else [])]
        words += [f"{fault['pointer'] or 'request'}: {_said(fault)}" for fault in problem.get("errors", [])]
        words += [f"reason: {problem['reason']}"] if "reason" in problem else []
    except (ValueError, LookupError, TypeError):
        words = [f"the answer is {status} and not of a hookseal gateway"]
    sentence = plain("; ".join(str(word).rstrip(".") for word in words))
    if status in _USAGE_STATUSES:
        misuse(sentence)
    fail(sentence)


def _said(fault: Mapping[str, Any]) -> str:
    """The remedy where there is one, with the code where that says more than that something is wrong."""
    detail, code = fault.get("detail"), str(fault["code"])
    if detail is None:
        return code
    return str(detail) if code in ("invalid", "missing") else f"{code}: {detail}"


def _why(reason: object) -> str:
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
