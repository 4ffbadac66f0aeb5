"""Reading `hookseal.toml`: what the file, the environment and the command line make together, and every fault."""

import os
from pathlib import Path

import pytest

from hookseal.settings import Overrides, RetrySettings, Settings, SigningSettings, read

SECRET = "correct-horse-battery-staple"

WHOLE = """
[server]
listen = "0.0.0.0:9000"
public_url = "https://hooks.example.com"
trusted_proxies = ["10.0.0.0/8"]

[store]
url = "sqlite:///data/events.db"

[api]
keys = ["env:API_KEY"]

[egress]
allow = ["10.20.0.0/16", "10.30.0.0/16:8443"]

[[source]]
id = "idenfy-prod"
provider = "idenfy"
secrets = ["env:IDENFY_SECRET", "file:idenfy.secret"]
max_age_s = 300
stale = "refuse"

[[source]]
id = "bankid"
provider = "bankid_antifraud"
options = { audience = "11111111-2222-4333-8444-555555555555", allowed_rate = 100 }

[[endpoint]]
id = "core"
url = "https://core.example.com/hooks"
signing = { scheme = "standard_webhooks", secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" }
retry = { delays_s = [5, 300], success = ["2xx", "300-301"], permanent = [410] }
handshake = "none"
headers = { X-Tenant = "blue" }
"""


def write(folder: Path, text: str | bytes, name: str = "hookseal.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(path: Path | None, environ: dict[str, str] | None = None, **overrides: object) -> list[str]:
    return [str(fault) for fault in read(path, Overrides(**overrides), environ or {}).faults]  # type: ignore[arg-type]


def good(path: Path, environ: dict[str, str] | None = None, **overrides: object) -> Settings:
    reading = read(path, Overrides(**overrides), environ or {})  # type: ignore[arg-type]
    assert reading.faults == ()
    assert reading.settings is not None
    return reading.settings


def the_one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]


def test_a_whole_file_becomes_settings(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)
    write(tmp_path, SECRET, "idenfy.secret")
    settings = good(path, {"IDENFY_SECRET": "0123456789abcdef", "API_KEY": "k" * 32})
    assert settings.file == path
    assert settings.server.listen == "0.0.0.0:9000"
    assert settings.store.path == tmp_path / "data/events.db"
    assert settings.store.key_path == tmp_path / "hookseal.key"
    assert settings.api.keys == (b"k" * 32,)
    idenfy, bankid = settings.sources
    assert idenfy.secrets == (b"0123456789abcdef", SECRET.encode())
    assert idenfy.max_age_s == 300
    assert bankid.options["allowed_rate"] == 100
    (core,) = settings.endpoints
    assert core.signing == SigningSettings(
        scheme="standard_webhooks", secrets=(b"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",)
    )
    assert core.retry == RetrySettings(delays_s=(5.0, 300.0), success=("2xx", "300-301"), permanent=("410",))
    assert core.headers == {"X-Tenant": "blue"}


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = good(write(tmp_path, ""))
    assert settings.server == Settings().server
    assert settings.store.path == tmp_path / "hookseal.db"
    assert settings.sources == ()


def test_relative_paths_count_from_the_file_and_not_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    write(tmp_path / "etc", '[store]\nurl = "sqlite:///../events.db"\nkeyring = "file:keys/ring"')
    monkeypatch.chdir(tmp_path)
    settings = good(Path("etc/hookseal.toml"))
    assert settings.store.path.resolve() == tmp_path / "events.db"
    assert settings.store.key_path == tmp_path / "etc/keys/ring"


def test_an_absolute_store_path_is_kept(tmp_path: Path) -> None:
    assert good(write(tmp_path, '[store]\nurl = "sqlite:////var/lib/h.db"')).store.path == Path("/var/lib/h.db")


def test_data_replaces_both_store_defaults_and_counts_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, '[store]\nurl = "sqlite:///a.db"\nkeyring = "file:a.key"')
    monkeypatch.chdir(tmp_path)
    settings = good(path, data=Path("var"))
    assert settings.store.path == tmp_path / "var/hookseal.db"
    assert settings.store.key_path == tmp_path / "var/hookseal.key"


def test_the_command_line_wins_over_a_variable_which_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nlisten = "127.0.0.1:1"\nmax_headers = 10')
    environ = {"HOOKSEAL_SERVER_LISTEN": "127.0.0.1:2", "HOOKSEAL_SERVER_MAX_HEADERS": "20"}
    assert good(path, environ).server.listen == "127.0.0.1:2"
    assert good(path, environ, listen="127.0.0.1:3").server.listen == "127.0.0.1:3"
    assert good(path, environ).server.max_headers == 20


def test_variables_carry_lists_switches_and_fractions(tmp_path: Path) -> None:
    environ = {
        "HOOKSEAL_EGRESS_ALLOW": "10.0.0.0/8, 192.168.0.0/16",
        "HOOKSEAL_EGRESS_ALLOW_HTTP": "true",
        "HOOKSEAL_SERVER_DRAIN_S": "2.5",
    }
    settings = good(write(tmp_path, ""), environ)
    assert settings.egress.allow == ("10.0.0.0/8", "192.168.0.0/16")
    assert settings.egress.allow_http is True
    assert settings.server.drain_s == 2.5


def test_a_variable_that_does_not_fit_is_named_as_the_place(tmp_path: Path) -> None:
    found = the_one(faults(write(tmp_path, ""), {"HOOKSEAL_STORE_RETAIN_DAYS": "a month"}))
    assert found == "environment: HOOKSEAL_STORE_RETAIN_DAYS: write a whole number from 1 to 36500"


def test_without_a_file_only_dev_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert the_one(faults(None)).startswith("hookseal.toml: there is no configuration file here")
    reading = read(None, Overrides(dev=True), {})
    assert reading.settings is not None
    assert reading.settings.file is None
    assert reading.settings.store.path == tmp_path / "hookseal.db"


def test_a_file_that_is_named_must_be_there_even_for_dev(tmp_path: Path) -> None:
    assert "is not there" in the_one(faults(tmp_path / "none.toml", dev=True))


def test_dev_takes_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[server]\nlisten = "127.0.0.1:77"')
    monkeypatch.chdir(tmp_path)
    reading = read(None, Overrides(dev=True), {})
    assert reading.settings is not None
    assert reading.settings.server.listen == "127.0.0.1:77"


SOURCE = '[[source]]\nid = "a"\nprovider = "idenfy"\n'
ENDPOINT = '[[endpoint]]\nid = "a"\nurl = "https://a.example"\nsigning = { scheme = "none" }\n'

WRONG = {
    "unknown table": ("[sever]\n", "[sever]", "did you mean `server`?"),
    "table of tables written single": ('[source]\nid = "a"', "[[source]]", "double brackets"),
    "array for a table": ('[[server]]\nlisten = "127.0.0.1:1"', "[server]", "write a table"),
    "scalar for a table": ("store = 1", "[store]", "write a table"),
    "unknown key": ('[server]\nlisen = "x"', "[server] lisen", "did you mean `listen`?"),
    "unknown key that is near none": ("[api]\nzzzzzz = 1", "[api] zzzzzz", "known are keys"),
    "unknown key of a source": (SOURCE + 'secret = "x"', '[[source]] "a" secret', "did you mean `secrets`?"),
    "missing provider": ('[[source]]\nid = "a"', '[[source]] "a" provider', "is missing"),
    "missing id": ('[[source]]\nprovider = "idenfy"', "[[source]] #1 id", "is missing"),
    "upper case id": ('[[source]]\nid = "A"\nprovider = "idenfy"', "[[source]] #1 id", "a-z"),
    "long id": (f'[[source]]\nid = "{"a" * 64}"\nprovider = "idenfy"', "[[source]] #1 id", "1 to 63"),
    "id that ends with a newline": ('[[source]]\nid = "a\\n"\nprovider = "idenfy"', "[[source]] #1 id", "a-z"),
    "duplicate source": (SOURCE + SOURCE, "[[source]] #2 id", "rename one"),
    "duplicate endpoint": (ENDPOINT + ENDPOINT, "[[endpoint]] #2 id", "rename one"),
    "missing signing": (
        '[[endpoint]]\nid = "a"\nurl = "https://a.example"',
        '[[endpoint]] "a" signing',
        "is missing; write { scheme",
    ),
    "signing without a scheme": (
        '[[endpoint]]\nid = "a"\nurl = "https://a"\nsigning = {}',
        '[[endpoint]] "a" signing.scheme',
        "name a signing scheme",
    ),
    "signing without a secret": (
        '[[endpoint]]\nid = "a"\nurl = "https://a"\nsigning = { scheme = "standard_webhooks" }',
        '[[endpoint]] "a" signing.secret',
        "give the secret",
    ),
    "signing with nothing but a secret": (
        '[[endpoint]]\nid = "a"\nurl = "https://a"\nsigning = { scheme = "none", secret = "0123456789abcdef" }',
        '[[endpoint]] "a" signing.secret',
        "remove the secret",
    ),
    "signing with secret and secrets": (
        '[[endpoint]]\nid = "a"\nurl = "https://a"\n'
        'signing = { scheme = "x", secret = "0123456789abcdef", secrets = ["0123456789abcdef"] }',
        '[[endpoint]] "a" signing.secrets',
        "not both",
    ),
    "unknown key in signing": (
        '[[endpoint]]\nid = "a"\nurl = "https://a"\nsigning = { schema = "none" }',
        '[[endpoint]] "a" signing',
        "unknown key 'schema'",
    ),
    "unknown key in retry": (ENDPOINT + "retry = { delays = [1] }", '[[endpoint]] "a" retry', "unknown key 'delays'"),
    "negative delay": (ENDPOINT + "retry = { delays_s = [-1] }", '[[endpoint]] "a" retry.delays_s[0]', "from 0"),
    "odd status": (ENDPOINT + 'retry = { success = ["6xx"] }', '[[endpoint]] "a" retry.success[0]', "410"),
    "status true": (ENDPOINT + "retry = { success = [true] }", '[[endpoint]] "a" retry.success[0]', "410"),
    "as": (ENDPOINT + 'as = "Zignsec!"', '[[endpoint]] "a" as', "a-z"),
    "rate_per_min": (ENDPOINT + "rate_per_min = 0", '[[endpoint]] "a" rate_per_min', "from 1 to"),
    "handshake": (ENDPOINT + 'handshake = "webhooks"', '[[endpoint]] "a" handshake', '"cloudevents"'),
    "handshake key": (ENDPOINT + 'handshake = { orign = "a" }', '[[endpoint]] "a" handshake', "unknown key 'orign'"),
    "handshake origin": (
        ENDPOINT + 'handshake = { origin = "https://a.example" }',
        '[[endpoint]] "a" handshake.origin',
        "host name",
    ),
    "handshake rate": (
        ENDPOINT + "handshake = { request_rate = 0 }",
        '[[endpoint]] "a" handshake.request_rate',
        "from 1",
    ),
    "handshake of none": (
        ENDPOINT + 'handshake = { kind = "none", callback = true }',
        '[[endpoint]] "a" handshake.kind',
        "remove the other keys",
    ),
    "stale drop": (SOURCE + 'stale = "drop"', '[[source]] "a" stale', 'write "refuse" or "hold"'),
    "stale": (SOURCE + 'stale = "keep"', '[[source]] "a" stale', 'write "refuse"'),
    "listen without a port": ('[server]\nlisten = "127.0.0.1"', "[server] listen", "HOST:PORT"),
    "listen on a wrong address": ('[server]\nlisten = "127.0.0.256:80"', "[server] listen", "HOST:PORT"),
    "listen on a high port": ('[server]\nlisten = "127.0.0.1:65536"', "[server] listen", "HOST:PORT"),
    "listen on bare IPv6": ('[server]\nlisten = "::1:80"', "[server] listen", "HOST:PORT"),
    "listen number": ("[server]\nlisten = 8400", "[server] listen", "HOST:PORT"),
    "proxies with address bits": (
        '[server]\ntrusted_proxies = ["10.1.0.0/8"]',
        "[server] trusted_proxies[0]",
        "network",
    ),
    "proxies text": ('[server]\ntrusted_proxies = "10.0.0.0/8"', "[server] trusted_proxies", "square brackets"),
    "addresses": (SOURCE + 'addresses = ["1.2.3.4/33"]', '[[source]] "a" addresses[0]', "network"),
    "public url": ('[server]\npublic_url = "hooks.example.com"', "[server] public_url", "write a URL"),
    "public url with a password": ('[server]\npublic_url = "https://u:p@h"', "[server] public_url", "without user"),
    "body limit as text": ('[server]\nmax_body_bytes = "2 MB"', "[server] max_body_bytes", "whole number"),
    "body limit true": ("[server]\nmax_body_bytes = true", "[server] max_body_bytes", "whole number"),
    "body limit zero": ("[server]\nmax_body_bytes = 0", "[server] max_body_bytes", "from 1 to"),
    "body limit huge": ("[server]\nmax_body_bytes = 99999999999", "[server] max_body_bytes", "from 1 to"),
    "timeout nan": ("[server]\nbody_timeout_s = nan", "[server] body_timeout_s", "write a number"),
    "timeout inf": ("[server]\nbody_timeout_s = inf", "[server] body_timeout_s", "write a number"),
    "timeout date": ("[server]\nbody_timeout_s = 2026-11-21", "[server] body_timeout_s", "write a number"),
    "concurrency": (ENDPOINT + "concurrency = 0", '[[endpoint]] "a" concurrency', "from 1 to 1000"),
    "switch as text": ('[egress]\nallow_http = "yes"', "[egress] allow_http", "true or false"),
    "postgresql": ('[store]\nurl = "postgresql://u@h/"', "[store] url", "postgresql://USER@HOST/DATABASE"),
    "store elsewhere": ('[store]\nurl = "mysql://h/db"', "[store] url", "sqlite:///relative"),
    "store in memory": ('[store]\nurl = "sqlite:///:memory:"', "[store] url", "name a file"),
    "store without a path": ('[store]\nurl = "sqlite:///"', "[store] url", "sqlite:///relative"),
    "store with options": ('[store]\nurl = "sqlite:///a.db?mode=ro"', "[store] url", "sqlite:///relative"),
    "empty keyring": ('[store]\nkeyring = ""', "[store] keyring", "file:PATH"),
    "missing variable": (
        SOURCE + 'secrets = ["env:NOT_SET"]',
        '[[source]] "a" secrets[0]',
        "variable NOT_SET is not set",
    ),
    "empty variable name": (SOURCE + 'secrets = ["env:"]', '[[source]] "a" secrets[0]', "name of a variable"),
    "missing secret file": (SOURCE + 'secrets = ["file:none"]', '[[source]] "a" secrets[0]', "is not there"),
    "secret file is a folder": (SOURCE + 'secrets = ["file:."]', '[[source]] "a" secrets[0]', "is not a file"),
    "empty secret": (SOURCE + 'secrets = [""]', '[[source]] "a" secrets[0]', "is empty"),
    "secret number": (SOURCE + "secrets = [12345678]", '[[source]] "a" secrets[0]', "write text"),
    "secrets as text": (SOURCE + 'secrets = "abc"', '[[source]] "a" secrets', "square brackets"),
    "options text": (SOURCE + 'options = "x"', '[[source]] "a" options', "write a table"),
    "header number": (ENDPOINT + "headers = { X-A = 1 }", '[[endpoint]] "a" headers.X-A', "quotation marks"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fault_names_file_key_and_remedy(name: str, tmp_path: Path) -> None:
    text, key, remedy = WRONG[name]
    path = write(tmp_path, text)
    found = the_one(faults(path))
    assert found.startswith(f"{path}: {key}: ")
    assert remedy in found
    assert "\n" not in found


def test_one_run_finds_all_faults(tmp_path: Path) -> None:
    path = write(tmp_path, '[server]\nlisen = "x"\nmax_headers = -1\n[[source]]\nid = "a"\n[[endpoint]]\nid = "b"\n')
    assert len(faults(path)) == 5


UNREADABLE = {
    "bad TOML": (b"[server\nlisten = 1", "it is not TOML at line 1"),
    "latin-1": '# K\u00f6nig\n[server]\nlisten = "\u00e5"'.encode("latin-1"),
    "utf-16": "[server]".encode("utf-16"),
    "zero bytes": b"\0" * 100,
    "a byte order mark": b"\xef\xbb\xbf[server]\n",
    "nested without end": b"a = " + b"[" * 100_000,
    "nested tables without end": b"a = " + b"{a=" * 50_000,
    "a number of 5000 digits": b"a = " + b"9" * 5000,
    "a key twice": b'[server]\nlisten = "127.0.0.1:1"\nlisten = "127.0.0.1:2"',
    "too large": (b"#" * 1_048_577, "larger than 1048576 bytes"),
    "an image": bytes(range(256)) * 16,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_configuration_is_one_fault_in_one_line(name: str, tmp_path: Path) -> None:
    case = UNREADABLE[name]
    content, expected = case if isinstance(case, tuple) else (case, "")
    found = the_one(faults(write(tmp_path, content)))
    assert expected in found
    assert "\n" not in found
    assert found.isprintable()


def test_the_parser_does_not_quote_a_line_that_holds_a_secret(tmp_path: Path) -> None:
    path = write(tmp_path, f'[[source]]\nsecrets = ["{SECRET}\n"]')
    found = the_one(faults(path))
    assert SECRET not in found
    assert "line 2" in found


def test_a_linked_file_is_read_and_paths_count_from_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = write(tmp_path / "real", "[server]\n")
    link = tmp_path / "hookseal.toml"
    link.symlink_to(target)
    assert good(link).store.path == tmp_path / "hookseal.db"


def test_a_link_to_nothing_to_itself_a_folder_and_a_pipe_are_faults(tmp_path: Path) -> None:
    (tmp_path / "nothing").symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("nothing", "loop", "folder", "pipe"):
        the_one(faults(tmp_path / name))


def test_a_link_to_nothing_does_not_pass_for_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hookseal.toml").symlink_to(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    assert "is not there" in the_one(faults(None, dev=True))


def test_keys_with_control_characters_stay_on_one_line(tmp_path: Path) -> None:
    found = the_one(faults(write(tmp_path, '"a\\n\\u001b[31m\\u202e" = 1')))
    assert found.isprintable()
