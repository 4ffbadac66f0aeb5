"""`hookseal endpoints|sources VERB ID` and `hookseal events publish` against a running gateway, each in its own process.

Oracles: exit code, stdout, stderr, and what arrives at a receiver of the test's own.
"""

import hmac
import json
from pathlib import Path

import pytest
from gateways import API_KEY
from registered_live import SECRET, Api, api, receiver, settings
from test_api_cli import Run, hookseal


async def run(of: Api, *arguments: str) -> Run:
    return await hookseal(*arguments, url=of.gateway.url, key=API_KEY)


async def test_an_endpoint_is_made_shown_changed_tested_rotated_and_deleted(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        made = await run(
            of,
            *("endpoints", "create", "core", "--set", f"url={target.url}", "--set", "signing.scheme=standard_webhooks"),
            *("--set", 'types=["order.*"]', "--set", "timeout_s=3"),
        )
        assert made.code == 0, made.err
        assert "whsec_" in made.out.decode()
        assert "this once" in made.err
        shown = (await run(of, "endpoints", "core", "--json")).json
        assert (shown["types"], shown["timeout_s"], shown["origin"]) == (["order.*"], 3.0, "api")
        changed = await run(of, "endpoints", "update", "core", "--set", "types=null", "--json")
        assert changed.json["types"] == ["*"]
        tested = await run(of, "endpoints", "test", "core", "--json")
        assert (tested.code, tested.json["delivered"]) == (0, True)
        target.status = 500
        tested = await run(of, "endpoints", "test", "core", "--json")
        assert (tested.code, tested.json["reason"]) == (1, "http_500")
        (tmp_path / "new").write_text(SECRET)
        rotated = await run(
            of, "endpoints", "rotate", "core", "--secret-file", str(tmp_path / "new"), "--overlap-s", "60", "--json"
        )
        assert (rotated.code, rotated.json["secret"]) == (0, None)
        assert SECRET not in made.out.decode() + rotated.out.decode()
        assert (await run(of, "endpoints", "delete", "core")).code == 0
        gone = await run(of, "endpoints", "core")
        assert (gone.code, "no such thing" in gone.err) == (1, True)


async def test_a_source_is_made_from_a_file_tested_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(json.dumps({"provider": "idenfy", "secrets": [SECRET]}))
    async with api(settings(tmp_path)) as of:
        made = await run(of, "sources", "create", "idf", "--from", str(tmp_path / "table.json"))
        assert made.code == 0, made.err
        assert SECRET not in made.out.decode() + made.err
        tested = await run(of, "sources", "test", "idf", "--json")
        assert (tested.code, tested.json["result"]) == (0, "accepted")
        assert (await run(of, "sources", "delete", "idf", "--json")).json == {"id": "idf", "deleted": True}
        assert (await run(of, "sources", "--json")).json["data"] == []


async def test_signing_none_needs_no_table(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        given = ("--set", "url=https://x.example/", "--set", "signing=none")
        made = await run(of, "endpoints", "create", "e", *given, "--json")
        assert (made.code, made.json["signing"]) == (0, "none"), made.err
        (tmp_path / "secret").write_text(SECRET)
        refused = await run(of, "endpoints", "create", "f", *given, "--secret-file", str(tmp_path / "secret"))
        assert (refused.code, "remove the secret" in refused.err) == (2, True)


async def test_what_the_answer_warns_of_is_told_beside_it(tmp_path: Path) -> None:
    async with api(settings(tmp_path)) as of:
        made = await run(of, "endpoints", "create", "e", "--set", "url=https://x.example/", "--set", "as=zignsec")
        assert made.code == 0
        assert "warning: /signing" in made.err
        assert "unsigned" in made.err


async def test_a_secret_comes_from_a_file_and_not_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    secret = ("--secret-file", str(tmp_path / "secret"))
    async with receiver() as target, api(settings(tmp_path)) as of:
        made = await run(of, "sources", "create", "idf", "--set", "provider=idenfy", *secret, "--json")
        assert (made.code, made.json["secrets"], made.json["secret"]) == (0, 1, None), made.err
        assert (await run(of, "sources", "test", "idf", "--json")).json["result"] == "accepted"
        made = await run(of, "endpoints", "create", "e", "--set", f"url={target.url}", "--set", "as=idenfy", *secret)
        assert made.code == 0, made.err
        assert (await run(of, "endpoints", "test", "e")).code == 0
        got = await target.next()
        assert got.values("idenfy-signature") == [hmac.digest(SECRET.encode(), got.body, "sha256").hex()]
        assert SECRET not in made.out.decode() + made.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["endpoints", "create", "e"], 2, "/url"),
        (["endpoints", "create", "e", "--set", "url=http://127.0.0.1/", "--set", "types=5"], 2, "square brackets"),
        (["endpoints", "create", "e", "--set", "url"], 2, "KEY=VALUE"),
        (["endpoints", "create", "e", "--from", "no/such/file"], 2, "cannot be read"),
        (["endpoints", "create", "e", "x"], 2, "one id"),
        (["endpoints", "delete", "e"], 1, "no such thing: endpoints/e"),
        (["endpoints", "rotate"], 1, "no such thing: endpoints/rotate"),
        (["subjects", "s", "a/b"], 1, "no such thing: subjects/s/a/b"),
        (["sources", "rotate", "s"], 1, "no such thing"),
        (["events", "publish"], 2, "publish"),
        (["events", "publish", "a.b", "/dev/null"], 2, "not JSON"),
    ],
)
async def test_what_cannot_be_is_told_with_its_remedy(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    async with api(settings(tmp_path)) as of:
        said = await run(of, *arguments)
        assert (said.code, words in said.err) == (code, True), said.err


async def test_publishing_passes_the_data_on_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"n": 1.0, "big": 123456789012345678901234567890}')
    async with receiver() as target, api(settings(tmp_path)) as of:
        signing = {"scheme": "standard_webhooks", "secret": SECRET}
        await of.made("endpoints", {"id": "e", "url": target.url, "format": "json", "signing": signing})
        arguments = ["events", "publish", "order.paid", str(tmp_path / "data.json"), "--subject", "o-7"]
        arguments += ["--idempotency-key", "k-1", "--json"]
        first, second = await run(of, *arguments), await run(of, *arguments)
        assert first.code == 0, first.err
        assert first.json == second.json
        assert (await target.next()).body == b'{"n":1.0,"big":123456789012345678901234567890}'
        [event] = await of.gateway.events("api")
        assert (event["id"], event["subject"]) == (first.json["id"], "o-7")
        assert target.got.empty()
