"""What `hookseal check` warns of, and that it names every fault of a table. Oracles: its JSON, exit code and lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_process import hookseal

SECRET = "correct-horse-battery-staple"
SOURCE = f'[[source]]\nid = "idf"\nprovider = "idenfy"\nsecrets = ["{SECRET}"]\n'
ENDPOINT = '[[endpoint]]\nid = "core"\nurl = "https://core.example.com"\nsigning = "none"\n'
BANKID = '[[source]]\nid = "bankid"\nprovider = "bankid_antifraud"\noptions = {{ audience = "a"{} }}\n'


def checked(folder: Path, text: str, **environ: str) -> Any:
    (folder / "hookseal.toml").write_text(text)
    (folder / "hookseal.toml").chmod(0o600)
    return json.loads(hookseal("check", "--json", folder=folder, environ=environ).out)


def warnings(folder: Path, text: str, **environ: str) -> list[str]:
    told = checked(folder, text, **environ)
    assert told["faults"] == []
    assert SECRET not in json.dumps(told)
    return [line.removeprefix("hookseal.toml: ") for line in told["warnings"]]


def test_nothing_is_warned_of_without_a_cause(tmp_path: Path) -> None:
    assert warnings(tmp_path, SOURCE + ENDPOINT) == []


def test_no_source_at_all(tmp_path: Path) -> None:
    [warning] = warnings(tmp_path, ENDPOINT)
    assert warning.startswith("[[source]]: ")


@pytest.mark.parametrize(
    "text",
    [
        *("$IDENFY_SIGNING_KEY", "${IDENFY_SIGNING_KEY}", "$(cat /run/secrets/key)", "%IDENFY_SIGNING_KEY%"),
        *("ENV:IDENFY_SIGNING_KEY", "Env:IDENFY_SIGNING_KEY", "FILE:/run/secrets/idenfy", "{{ idenfy_signing_key }}"),
    ],
)
def test_a_secret_that_looks_like_a_variable(tmp_path: Path, text: str) -> None:
    for given, environ in ((text, {}), ("env:KEY", {"KEY": text})):
        [warning] = warnings(tmp_path, SOURCE.replace(SECRET, given) + ENDPOINT, **environ)
        assert warning.startswith('[[source]] "idf" secrets[0]: ') or warning.startswith('[[source]] "idf" secrets: ')
        assert "variable" in warning
    assert warnings(tmp_path, SOURCE.replace(SECRET, "a$money$is$not$one$of$them") + ENDPOINT) == []


@pytest.mark.parametrize(
    ("url", "egress", "warned"),
    [
        ("https://localhost:8443/hooks", "", True),
        ("https://LOCALHOST/hooks", "", True),
        ("https://core.localhost/hooks", "", True),
        ("https://localhost.example.com/hooks", "", False),
        ("https://localhost:8443/hooks", '[egress]\nallow = ["127.0.0.0/8"]\n', False),
        ("https://localhost:8443/hooks", '[egress]\nallow = ["::1/128"]\n', False),
        ("https://localhost:8443/hooks", '[egress]\nallow = ["127.0.0.0/8:9000"]\n', True),
    ],
)
def test_an_endpoint_on_localhost_that_egress_refuses(tmp_path: Path, url: str, egress: str, warned: bool) -> None:
    told = warnings(tmp_path, egress + SOURCE + ENDPOINT.replace("https://core.example.com", url))
    assert [line.split(": ")[0] for line in told] == ['[[endpoint]] "core" url'] * warned


@pytest.mark.parametrize(
    ("types", "warned"),
    [
        ('["identity.*"]', []),
        ('["*", "other", "identity.?erification.completed"]', []),
        ('["identity.verification.complete"]', ["types[0]"]),
        ('["risk.alarm.raised", "indentity.*", "Risk.*"]', ["types[1]", "types[2]"]),
    ],
)
def test_a_type_that_no_event_has(tmp_path: Path, types: str, warned: list[str]) -> None:
    told = warnings(tmp_path, SOURCE + ENDPOINT + f"types = {types}\n")
    assert [line.split(": ")[0] for line in told] == [f'[[endpoint]] "core" {key}' for key in warned]
    assert warnings(tmp_path, SOURCE + ENDPOINT + f'types = {types}\nsources = ["api"]\n') == []


@pytest.mark.parametrize(
    ("store", "source", "warned"),
    [
        ("retain_days = 30\nretain_metadata_days = 10", "", "[store] retain_metadata_days"),
        ("retain_days = 30\ndedupe_days = 10", "", "[store] dedupe_days"),
        ("dedupe_days = 30", "max_age_s = 2592001", '[[source]] "sealed" max_age_s'),
        ("dedupe_days = 30", "max_age_s = 2592000", None),
        ("retain_days = 30\nretain_metadata_days = 30\ndedupe_days = 30", "", None),
    ],
)
def test_ages_that_contradict_each_other(tmp_path: Path, store: str, source: str, warned: str | None) -> None:
    sealed = f'[[source]]\nid = "sealed"\nprovider = "seal_id"\nsecrets = ["{SECRET}"]\n{source}\n'
    told = warnings(tmp_path, f"[store]\n{store}\n{sealed}{ENDPOINT}")
    assert [line.split(": ")[0] for line in told] == ([] if warned is None else [warned])


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ("", True),
        (', tenant = "08a02467-3604-46e9-b818-6be676cf015b"', True),
        (', authorized_party = "4962773b-9cdb-44cf-a8bf-237846a00ab7"', False),
        (', roles = ["AzureEventGridSecureWebhookSubscriber"]', False),
        (", roles = []", True),
    ],
)
def test_a_source_that_takes_any_token_of_its_tenant(tmp_path: Path, options: str, warned: bool) -> None:
    told = warnings(tmp_path, BANKID.format(options) + ENDPOINT)
    assert [line.split(": ")[0] for line in told] == ['[[source]] "bankid" options'] * warned
    assert all("authorized_party" in line and "roles" in line for line in told)


def test_all_faults_of_a_table_are_named(tmp_path: Path) -> None:
    told = checked(
        tmp_path,
        """
[[source]]
id = "bankid"
provider = "bankid_antifraud"
unknown = 1
max_age_s = 0
unsigned = true
addresses = ["10.0.0.1/8", "nobody", 7]
options = { jwks_url = "ftp://x", allowed_rate = 0, surprise = 1 }

[[endpoint]]
id = "core"
url = "http://core.example.com"
types = [1, "*", ""]
format = "yaml"
timeout_s = 99
concurrency = 0
batch = 2
headers = { Host = 7 }
signing = { scheme = "nope", secrets = ["", " "] }
retry = { policy = "often", delays_s = [-1, 5, "x"], success = ["9xx"] }
handshake = { kind = "maybe", origin = "x y", request_rate = 0 }
""",
    )
    keys = {fault["key"] for fault in told["faults"]}
    of_source = {key.removeprefix('[[source]] "bankid" ') for key in keys if key.startswith("[[source]]")}
    assert of_source >= {
        *("unknown", "max_age_s", "addresses[0]", "addresses[2]"),
        *("options.audience", "options.jwks_url", "options.allowed_rate", "options.surprise"),
    }
    of_endpoint = {key.removeprefix('[[endpoint]] "core" ') for key in keys if key.startswith("[[endpoint]]")}
    assert of_endpoint >= {
        *("url", "types[0]", "types[2]", "format", "timeout_s", "concurrency", "headers.Host"),
        *("signing.secrets[0]", "signing.secrets[1]"),
        *("retry.delays_s[0]", "retry.delays_s[2]", "retry.success[0]"),
        *("handshake.kind", "handshake.origin", "handshake.request_rate"),
    }


def test_a_fault_of_one_key_makes_no_other_of_its_own(tmp_path: Path) -> None:
    for wrong in ('secrets = "x"', "secrets = [7]", 'secrets = ["env:NOPE"]'):
        told = checked(tmp_path, f'[[source]]\nid = "a"\nprovider = "idenfy"\n{wrong}\n{ENDPOINT}')
        [fault] = told["faults"]
        assert fault["key"].startswith('[[source]] "a" secrets')
    told = checked(tmp_path, SOURCE + ENDPOINT.replace('"none"', '{ scheme = "idenfy", secret = "" }'))
    assert [fault["key"] for fault in told["faults"]] == ['[[endpoint]] "core" signing.secret']


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[server]\nlisten = "x', "quotation mark"),
        ("[server]\nlisten = 127.0.0.1:80\n", "line 2"),
        ("[server\n", "bracket"),
        ("[[source]\n", "bracket"),
        ("[server]\nlisten\n", "="),
        ("[server]\n[server]\n", "twice"),
        ("[server]\nleave_s = 1\nleave_s = 2\n", "twice"),
        ("[api]\nkeys = [\n", "bracket"),
        ("[a]\nb = { c = 1\n", "brace"),
        ("[a]\nb = yes\n", "quotation marks"),
        ('[a]\nb = "\\q"\n', "backslash"),
        (f"[a]\nb = {'9' * 5000}\n", "digits"),
        ('[a]\nb = "c" d\n', "line"),
        ("[a]\nb = { c = 1, c = 2 }\n", "twice"),
        ("[a]\nb = 2026-13-40\n", "quotation mark"),
        ("[a]\n\x01 = 1\n", "character"),
    ],
    ids=range(16),
)
def test_a_syntax_error_says_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    told = checked(tmp_path, text.replace("yes", SECRET))
    [fault] = told["faults"]
    assert words in fault["remedy"], fault
    assert SECRET not in json.dumps(told)
