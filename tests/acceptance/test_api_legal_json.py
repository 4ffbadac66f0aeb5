"""JSON that is legal and that the API does not take is refused in words that are true. Over a running gateway's socket."""

from pathlib import Path
from typing import Any

import pytest
from registered_live import api, settings

LEGAL = {
    "a number beyond a double": (b'{"id": "e", "timeout_s": 1e400}', "number"),
    "an integer of 5000 digits": (b'{"id": "e", "timeout_s": ' + b"9" * 5000 + b"}", "number"),
    "half of a surrogate pair": (b'{"id": "e", "url": "\\ud800"}', "surrogate"),
    "half of one as a key": (b'{"\\udc00x": 1}', "surrogate"),
    "half of one before text": (b'{"id": "\\ud83dx"}', "surrogate"),
    "depth": (b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested"),
}
BROKEN = (
    *(b"", b"{", b"{]", b"nul", b"NaN", b'{"a": Infinity}', b'{"a": 01}', b'{"a": "\\ud80"}', b"\xff", b'{"a": 1} x'),
    *(b"\xef\xbb\xbf{", b"{'a': 1}"),
)
PATHS = ("/api/v1/endpoints", "/api/v1/sources", "/api/v1/replays", "/api/v1/events")


@pytest.mark.parametrize(("body", "word"), LEGAL.values(), ids=LEGAL)
async def test_legal_json_that_is_not_taken_is_not_called_broken(tmp_path: Path, body: bytes, word: str) -> None:
    async with api(settings(tmp_path)) as of:
        for path in PATHS:
            said = await of("POST", path, body)
            assert (said.status, said.body["type"]) == (400, "/problems/unsupported-json")
            assert "not JSON" not in said.body["title"]
            assert word in said.body["detail"]
        said = await of("POST", "/api/v1/events", b'{"type": "t", "data": ' + body + b"}")
        assert (said.status, said.body["type"]) == (400, "/problems/unsupported-json")


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
async def test_broken_json_is_called_so(tmp_path: Path, body: bytes) -> None:
    async with api(settings(tmp_path)) as of:
        said = await of("POST", "/api/v1/replays", body)
        assert (said.status, said.body["type"]) in (
            (400, "/problems/malformed-json"),
            (415, "/problems/unsupported-media-type"),
        )


@pytest.mark.parametrize("number", ["1e308", "9" * 400, "-0", "1e-400"])
async def test_any_other_number_may_be_published(tmp_path: Path, number: str) -> None:
    async with api(settings(tmp_path)) as of:
        said = await of("POST", "/api/v1/events", b'{"type": "t", "data": {"n": ' + number.encode() + b"}}")
        assert said.status == 202
        listed: Any = (await of("GET", "/api/v1/events")).body["data"]
        assert [one["id"] for one in listed] == [said.body["id"]]
