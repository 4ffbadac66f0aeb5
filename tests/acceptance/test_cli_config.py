"""`hookseal check`, `config show` and what becomes of a configuration that is wrong: exit 2 and one sentence."""

import json
from pathlib import Path

import pytest
from cli_process import hookseal

from hookseal.sealing import Keyring

SECRET = "correct-horse-battery-staple"

SOURCE = f"""
[[source]]
id = "idenfy-prod"
provider = "idenfy"
secrets = ["{SECRET}"]
"""
ENDPOINT = """
[[endpoint]]
id = "core"
url = "https://core.example.com/hooks"
signing = { scheme = "standard_webhooks", secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" }
"""
BANKID = '[[source]]\nid = "bankid"\nprovider = "bankid_antifraud"\n'


def endpoint(**keys: str) -> str:
    given = {"id": '"core"', "url": '"https://core.example.com"', "signing": '{ scheme = "none" }', **keys}
    return "[[endpoint]]\n" + "\n".join(f"{key} = {value}" for key, value in given.items())


def test_signing_none_needs_no_table(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(endpoint(signing='"none"'))
    assert hookseal("check", folder=tmp_path).code == 0
    shown = hookseal("config", "show", "--json", folder=tmp_path)
    assert json.loads(shown.out)["endpoint"][0]["signing"] == {"scheme": "none"}


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "0 sources, 0 endpoints"), (SOURCE, "1 source, 0 endpoints"), (SOURCE + ENDPOINT, "1 source, 1 endpoint")],
    ids=["none", "one and none", "one of each"],
)
def test_what_has_no_fault_is_counted(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hookseal.toml").write_text(text)
    assert hookseal("check", folder=tmp_path).lines[-1] == f"hookseal.toml: {said}, no fault"


WRONG = {
    "unknown key": (
        SOURCE + 'adresses = ["10.0.0.0/8"]',
        '[[source]] "idenfy-prod" adresses',
        "did you mean `addresses`?",
    ),
    "unknown table": ("[servers]", "[servers]", "did you mean `server`?"),
    "missing secret variable": (
        '[[source]]\nid = "a"\nprovider = "idenfy"\nsecrets = ["env:IDENFY_SECRET"]',
        '[[source]] "a" secrets[0]',
        "the variable IDENFY_SECRET is not set",
    ),
    "no secret": ('[[source]]\nid = "a"\nprovider = "idenfy"', '[[source]] "a" secrets', "such as env:NAME"),
    "blank space around a secret": (
        f'[[source]]\nid = "a"\nprovider = "idenfy"\nsecrets = ["{SECRET} "]',
        '[[source]] "a" secrets[0]',
        "blank space at its start or end",
    ),
    "secret file with a newline": (
        '[[source]]\nid = "a"\nprovider = "idenfy"\nsecrets = ["file:newline.secret"]',
        '[[source]] "a" secrets[0]',
        "printf %s",
    ),
    "secret that cannot be a key": (
        '[[source]]\nid = "a"\nprovider = "standard_webhooks"\nsecrets = ["whsec_not!base64!at!all"]',
        '[[source]] "a" secrets[0]',
        "is not base64",
    ),
    **{
        f"rate {rate!a}": (
            BANKID + f'options = {{ audience = "a", allowed_rate = {rate} }}',
            '[[source]] "bankid" options.allowed_rate',
            'must be "*" or a whole number',
        )
        for rate in ("0", "-1", "1.5", '"+5"', '"1_000"', '" 100"', '"\u0661\u0660\u0660"')
    },
    "missing audience": (BANKID, '[[source]] "bankid" options.audience', "is required"),
    "unknown option": (
        BANKID + 'options = { audience = "a", audiense = "b" }',
        '[[source]] "bankid" options.audiense',
        "is no option",
    ),
    "key set over http": (
        BANKID + 'options = { audience = "a", jwks_url = "http://keys.example.com" }',
        '[[source]] "bankid" options.jwks_url',
        "must be https",
    ),
    "nothing to hold": (SOURCE + 'stale = "hold"', '[[source]] "idenfy-prod" stale', "without `max_age_s`"),
    "age where no time is signed": (SOURCE + "max_age_s = 60", '[[source]] "idenfy-prod" max_age_s', "signs no time"),
    "unknown provider": (
        '[[source]]\nid = "a"\nprovider = "idenfi"\nsecrets = ["0123456789abcdef"]',
        '[[source]] "a" provider',
        "did you mean `idenfy`?",
    ),
    "unsigned without addresses": (
        '[[source]]\nid = "a"\nprovider = "zignsec"\nunsigned = true',
        '[[source]] "a" unsigned',
        "`addresses`",
    ),
    "bad network": (SOURCE + 'addresses = ["10.0.0.1/8"]', '[[source]] "idenfy-prod" addresses[0]', "10.20.0.0/16"),
    "addresses of a provider without any": (
        SOURCE + 'addresses = ["idenfy"]',
        '[[source]] "idenfy-prod" addresses[0]',
        "publishes addresses",
    ),
    "duplicate source": (SOURCE + SOURCE, "[[source]] #2 id", "rename one"),
    "http endpoint": (endpoint(url='"http://core.example.com"'), '[[endpoint]] "core" url', "allow_http = true"),
    "forbidden address": (endpoint(url='"https://169.254.169.254/"'), '[[endpoint]] "core" url', "[egress] allow"),
    "loopback endpoint": (endpoint(url='"https://127.0.0.1:9/"'), '[[endpoint]] "core" url', "[egress] allow"),
    "endpoint with a password": (endpoint(url=f'"https://u:{SECRET}@h.example/"'), '[[endpoint]] "core" url', "header"),
    "missing signing": (
        '[[endpoint]]\nid = "core"\nurl = "https://core.example.com"',
        '[[endpoint]] "core" signing',
        "is missing",
    ),
    "unknown signing scheme": (
        endpoint(signing='{ scheme = "standard-webhook", secret = "0123456789abcdef" }'),
        '[[endpoint]] "core" signing.scheme',
        "did you mean `standard_webhooks`?",
    ),
    "unknown format": (endpoint(format='"yaml"'), '[[endpoint]] "core" format', "cloudevents, json"),
    "unknown policy": (endpoint(retry='"often"'), '[[endpoint]] "core" retry', "standard, "),
    "status that delivers and ends": (
        endpoint(retry='{ success = ["2xx"], permanent = [204] }'),
        '[[endpoint]] "core" retry.permanent',
        "retry.success",
    ),
    "header of ours": (endpoint(headers='{ Host = "evil" }'), '[[endpoint]] "core" headers', "hookseal's own"),
    "original of a bearer token without signing": (
        BANKID + 'options = { audience = "a" }\n' + endpoint(format='"original"'),
        '[[endpoint]] "core" signing.scheme',
        "name a signing scheme",
    ),
    "as nobody": (endpoint(**{"as": '"zignsek"'}), '[[endpoint]] "core" as', "did you mean `zignsec`?"),
    "egress network": ('[egress]\nallow = ["10.0.0.1/8"]', "[egress] allow[0]", "10.20.0.0/16"),
    "public url over http": ('[server]\npublic_url = "http://hooks.example.com"', "[server] public_url", "https"),
    "two on one address": (
        '[server]\nlisten = "127.0.0.1:8400"\nmanage_listen = "127.0.0.1:8400"',
        "[server] manage_listen",
        "another port",
    ),
    "PostgreSQL without a database": ('[store]\nurl = "postgresql://u@h"', "[store] url", "USER@HOST/DATABASE"),
    "PostgreSQL without its keyring": (
        '[store]\nurl = "postgresql://u@h/db"',
        "[store] keyring",
        "that all nodes share",
    ),
    "store in no folder": (
        '[store]\nurl = "sqlite:///none/hookseal.db"\nkeyring = "file:good.key"',
        "[store] url",
        "folder",
    ),
    "store that is a folder": ('[store]\nurl = "sqlite:///folder"', "[store] url", "not a file"),
    "store that is something else": (
        '[store]\nurl = "sqlite:///text.db"\nkeyring = "file:good.key"',
        "[store] url",
        "not an SQLite database",
    ),
    "store without its key file": ('[store]\nurl = "sqlite:///old.db"', "[store] keyring", "backup"),
    "key file that is none": ('[store]\nkeyring = "file:text.key"', "[store] keyring", "base64 of 32 bytes"),
    "key file open to all": ('[store]\nkeyring = "file:open.key"', "[store] keyring", "chmod 600"),
    "keyring that is none": ('[store]\nkeyring = "hello"', "[store] keyring", "file:PATH"),
    "bad TOML": (f'[[source]]\nsecrets = ["{SECRET}\n"]', "", "it is not TOML at line 2"),
    "bad listen": ('[server]\nlisten = "8400"', "[server] listen", "HOST:PORT"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wrong configurations name."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "folder").mkdir()
    (folder / "newline.secret").write_text(SECRET + "\n")
    (folder / "text.db").write_text("this is not a database, but it is long enough to look at")
    (folder / "old.db").write_bytes(b"SQLite format 3\0" + bytes(4080))
    for name, text, mode in (
        ("good.key", Keyring.generate().dump(), 0o600),
        ("open.key", Keyring.generate().dump(), 0o644),
        ("text.key", "hello", 0o600),
    ):
        (folder / name).write_text(text)
        (folder / name).chmod(mode)
    return folder


@pytest.mark.requirement("B07", "B27", "I10")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_ends_in_2_and_one_sentence(name: str, folder: Path) -> None:
    text, key, remedy = WRONG[name]
    file = folder / "hookseal.toml"
    file.write_text(text)
    before = sorted(folder.iterdir())
    ended = hookseal("check", "--config", file, folder=folder)
    (line,) = [line for line in ended.lines if "warning:" not in line]
    assert ended.code == 2
    assert ended.out == ""
    assert line.startswith(f"hookseal: {file}: {key}")
    assert remedy in line
    assert SECRET not in ended.err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", [["serve"], ["config", "show"]])
def test_whoever_starts_with_a_wrong_configuration_says_the_same(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(BANKID)
    ended = hookseal(*command, folder=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    (line,) = ended.lines
    assert line.startswith('hookseal: hookseal.toml: [[source]] "bankid" options.audience: is required')
    assert sorted(tmp_path.iterdir()) == [tmp_path / "hookseal.toml"]


def test_check_says_all_faults_and_warnings_at_once(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(
        '[[source]]\nid = "a"\nprovider = "idenfy"\nsecrets = ["short"]\n' + BANKID + endpoint(url='"http://a"')
    )
    (tmp_path / "hookseal.toml").chmod(0o600)
    ended = hookseal("check", folder=tmp_path)
    assert ended.code == 2
    assert ["warning: " in line for line in ended.lines] == [False, False, True]
    told = json.loads(hookseal("check", "--json", folder=tmp_path).out)
    assert told["ok"] is False
    assert [fault["key"] for fault in told["faults"]] == [
        '[[source]] "bankid" options.audience',
        '[[endpoint]] "core" url',
    ]
    assert len(told["warnings"]) == 1


def test_a_good_configuration_is_judged_without_writing(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(SOURCE + ENDPOINT)
    ended = hookseal("check", folder=tmp_path)
    assert ended.code == 0, ended.err
    assert ended.out == ""
    assert sorted(tmp_path.iterdir()) == [tmp_path / "hookseal.toml"]


def test_no_configuration_file_is_a_fault_that_says_so(tmp_path: Path) -> None:
    ended = hookseal("check", folder=tmp_path)
    assert ended.code == 2
    assert (
        ended.err
        == "hookseal: hookseal.toml: there is no configuration file here; write one, or name it with --config\n"
    )


def test_config_show_masks_every_secret_in_both_forms(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text(SOURCE + ENDPOINT + '[api]\nkeys = ["env:KEY"]\n')
    for arguments in ([], ["--json"]):
        ended = hookseal("config", "show", *arguments, folder=tmp_path, environ={"KEY": SECRET + "-api"})
        assert ended.code == 0
        assert SECRET not in ended.out
        assert "C2FVsBQ" not in ended.out
        assert "idenfy-prod" in ended.out
    shown = json.loads(ended.out)
    assert shown["api"] == {"keys": ["***"]}
    assert shown["store"]["url"] == f"sqlite:///{tmp_path}/hookseal.db"


def test_data_names_the_folder_of_store_and_key(tmp_path: Path) -> None:
    (tmp_path / "hookseal.toml").write_text("")
    shown = json.loads(hookseal("config", "show", "--json", "--data", "var", folder=tmp_path).out)
    assert shown["store"]["url"] == f"sqlite:///{tmp_path}/var/hookseal.db"
    assert shown["store"]["keyring"] == f"file:{tmp_path}/var/hookseal.key"
    ended = hookseal("check", "--data", "var", folder=tmp_path)
    assert ended.code == 2
    assert ended.lines[0].startswith("hookseal: command line: [store] url: the folder of the store is not there")


def test_a_usage_error_ends_in_2_and_help_in_0(tmp_path: Path) -> None:
    assert hookseal("chekc", folder=tmp_path).code == 2
    assert hookseal("check", "--confg", "x", folder=tmp_path).code == 2
    helped = hookseal("--help", folder=tmp_path)
    assert helped.code == 0
    for command in ("serve", "check", "verify", "sign", "providers", "config"):
        assert command in helped.out


def test_an_unforeseen_error_is_one_line_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import hookseal.settings.reading as r\n"
        f"def fail(*a, **k): raise RuntimeError({SECRET!r})\n"
        "r._document = fail\n"
    )
    (tmp_path / "hookseal.toml").write_text("")
    environ = {"PYTHONPATH": str(tmp_path)}
    ended = hookseal("check", folder=tmp_path, environ=environ)
    assert ended.code == 1
    (line,) = ended.lines
    assert line.startswith("hookseal: RuntimeError at settings/reading.py:")
    assert SECRET not in ended.err
    assert "Traceback" in hookseal("--debug", "check", folder=tmp_path, environ=environ).err
