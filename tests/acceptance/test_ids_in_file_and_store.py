"""One id in the configuration file and in the store: the file's registration counts, and the conflict is reported.

Oracles: the API's answers, `/readyz`, the log, where deliveries arrive, and exit code and words of `hookseal check`.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gateways import API_KEY
from registered_live import SECRET, Api, Receiver, api, receiver, settings
from stores import STORES, store_settings
from test_registering import publish

from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import EndpointSettings, SigningSettings, SourceSettings

SIGNING = {"scheme": "standard_webhooks", "secret": SECRET}


def of_file(url: str) -> dict[str, Any]:
    signing = SigningSettings(scheme="none")
    source = SourceSettings(id=SourceId("in"), provider=ProviderId("zignsec"), secrets=(b"a secret of the file",))
    return {
        "endpoints": (EndpointSettings(id=EndpointId("core"), url=url, signing=signing),),
        "sources": (source,),
    }


async def register_both(of: Api, target: Receiver) -> None:
    await of.made("endpoints", {"id": "core", "url": target.url + "/of-the-api", "signing": SIGNING})
    await of.made("sources", {"id": "in", "provider": "idenfy", "secrets": [SECRET]})


async def check_of(of: Api) -> str:
    async with of.session.get(of.gateway.url + "/readyz") as ready:
        assert ready.status == 200
        [check] = [one for one in (await ready.json())["checks"] if one["name"] == "registrations_unique"]
        assert check["ok"] is True
        return str(check["detail"])


@pytest.mark.parametrize("kind", STORES)
async def test_the_file_counts_and_the_other_one_is_listed_with_a_problem(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with receiver() as target, store_settings(kind, tmp_path) as store:
        made = settings(tmp_path, store=store)
        async with api(made) as of:
            await register_both(of, target)
            assert await check_of(of) == ""
        async with api(settings(tmp_path, store=store, **of_file(target.url + "/of-the-file"))) as of:
            for section, field in (("endpoints", "url"), ("sources", "provider")):
                rows = (await of("GET", f"/api/v1/{section}")).body["data"]
                assert [(one["id"], one["origin"]) for one in rows] == [(rows[0]["id"], "file"), (rows[0]["id"], "api")]
                assert rows[0]["problem"] is None
                assert "configuration file" in rows[1]["problem"]
                assert rows[1][field] in ("idenfy", target.url + "/of-the-api")
                one = (await of("GET", f"/api/v1/{section}/{rows[0]['id']}")).body
                assert (one["origin"], one["problem"]) == ("file", None)
            detail = await check_of(of)
            assert "endpoint core" in detail
            assert "source in" in detail
            await publish(of)
            assert (await target.next()).path == "/of-the-file"
            assert target.got.empty()


async def test_the_log_names_each_once(tmp_path: Path) -> None:
    async with receiver() as target, api(settings(tmp_path)) as of:
        await register_both(of, target)
    (tmp_path / "hookseal.toml").write_text(toml(tmp_path))
    started = await asyncio.to_thread(started_log, tmp_path)
    lines = [line for line in started.splitlines() if "id of the file" in line]
    assert len(lines) == 2
    assert sum('"endpoint": "core"' in line or '"endpoint":"core"' in line for line in lines) == 1
    assert sum('"source": "in"' in line or '"source":"in"' in line for line in lines) == 1


async def test_deleting_it_over_the_api_removes_only_what_the_api_made(tmp_path: Path) -> None:
    async with receiver() as target:
        async with api(settings(tmp_path)) as of:
            await register_both(of, target)
        target.status = 500
        async with api(settings(tmp_path, **of_file(target.url + "/of-the-file"))) as of:
            await publish(of)
            await target.next()
            assert (await of("PATCH", "/api/v1/endpoints/core", {"timeout_s": 3})).status == 409
            assert (await of("POST", "/api/v1/endpoints/core/rotate", {})).status == 409
            for path in ("/api/v1/endpoints/core", "/api/v1/sources/in"):
                assert (await of("DELETE", path)).status == 204
                assert (await of("GET", path)).body["origin"] == "file"
                assert (await of("DELETE", path)).status == 409
            assert await check_of(of) == ""
            [row] = (await of("GET", "/api/v1/deliveries?endpoint=core")).body["data"]
            assert row["state"] == "pending"
        async with api(settings(tmp_path)) as of:
            assert (await of("GET", "/api/v1/endpoints")).body["data"] == []


def toml(folder: Path) -> str:
    return (
        f'[server]\nlisten = "127.0.0.1:0"\npublic_url = "https://hooks.example.com"\n'
        f'[store]\nurl = "sqlite:///{folder}/hookseal.db"\nkeyring = "file:{folder}/hookseal.key"\n'
        f'[api]\nkeys = ["{API_KEY}"]\n'
        '[egress]\nallow = ["127.0.0.0/8"]\nallow_http = true\n'
        '[[source]]\nid = "in"\nprovider = "zignsec"\nsecrets = ["a secret of the file"]\n'
        '[[endpoint]]\nid = "core"\nurl = "https://core.example.com/"\nsigning = "none"\n'
    )


def started_log(folder: Path) -> str:
    """What a gateway of these files writes to stderr until it is asked to end."""
    command = [sys.executable, "-m", "hookseal", "serve", "--config", str(folder / "hookseal.toml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listening on" in line:
                process.terminate()
        return "".join(lines)


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hookseal", "check", "--config", str(folder / "hookseal.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def test_check_refuses_ids_that_the_store_has(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(toml(tmp_path))
    before = await asyncio.to_thread(check, tmp_path)
    assert before.returncode == 0, before.stderr
    async with receiver() as target, api(settings(tmp_path)) as of:
        await register_both(of, target)
        # While the gateway runs, the store's file may not have everything: that is said, and nothing is disturbed.
        running = await asyncio.to_thread(check, tmp_path)
        assert "hookseal: note: store: " in running.stderr or running.returncode == 2
        assert (await of("GET", "/api/v1/endpoints")).status == 200
    found = await asyncio.to_thread(check, tmp_path)
    assert found.returncode == 2
    for section, id in (("endpoint", "core"), ("source", "in")):
        [line] = [one for one in found.stderr.splitlines() if f'[[{section}]] "{id}": is' in one]
        assert "hookseal.toml" in line
        assert f"hookseal {section}s delete {id}" in line


async def test_check_says_that_it_does_not_look_into_postgresql(tmp_path: Path) -> None:
    text = toml(tmp_path).replace(f"sqlite:///{tmp_path}/hookseal.db", "postgresql://nobody@127.0.0.1:1/none")
    keyring = "k1:" + "A" * 43 + "="
    text = text.replace(f"file:{tmp_path}/hookseal.key", keyring)
    (tmp_path / "hookseal.toml").write_text(text)
    checked = await asyncio.to_thread(check, tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "hookseal: note: store: " in checked.stderr
