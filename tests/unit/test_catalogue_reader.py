"""Provider files: read strictly, bound to options strictly, and lightly loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from hookseal import catalogue
from hookseal.errors import CatalogueError, ConfigurationError
from hookseal.schemes.jwt_bearer import JwtBearer
from hookseal.schemes.keyed_hash import Content, KeyedHash

HEAD = 'id = "acme"\nname = "Acme"\ndocs = "https://docs.acme.example"\nchecked = 2026-11-21\n'
SCHEME = '[scheme]\nkind = "hmac"\nheader = "X-Acme"\n'


def read(folder: Path, text: str, name: str = "acme.toml") -> catalogue.Provider:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return catalogue.read(path)


def test_the_seed_providers_are_there() -> None:
    assert set(catalogue.ids()) >= {"bankid_antifraud", "idenfy", "seal_id", "standard_webhooks", "zignsec"}
    assert [provider.id for provider in catalogue.providers()] == list(catalogue.ids())


@pytest.mark.parametrize("id", catalogue.ids())
def test_every_fact_has_a_source_and_a_date(id: str) -> None:
    provider = catalogue.provider(id)
    assert provider.docs
    assert provider.checked >= "2026-01-01"
    assert provider.proof_headers
    assert all(name == name.lower() for name in (*provider.proof_headers, *provider.credentials))


def test_entry_is_read_once() -> None:
    assert catalogue.provider("idenfy") is catalogue.provider("idenfy")


@pytest.mark.parametrize("id", ["zignsek", "", "../zignsec", "ZIGNSEC", "zignsec.vectors", "x" * 100, "zignsec\n"])
def test_unknown_provider_is_told_with_those_near_to_it(id: str) -> None:
    with pytest.raises(CatalogueError, match="zignsec"):
        catalogue.provider(id)


def test_answers_and_behaviour_are_the_providers_own() -> None:
    idenfy, bankid, zignsec = (catalogue.provider(id) for id in ("idenfy", "bankid_antifraud", "zignsec"))
    assert (idenfy.answers.refused, idenfy.answers.refused_title) == (403, "Invalid signature")
    assert (bankid.answers.accepted, bankid.answers.refused, bankid.answers.challenge) == (202, 401, "Bearer")
    assert (zignsec.answers.accepted, zignsec.answers.refused, zignsec.answers.challenge) == (200, 401, None)
    assert (zignsec.retry, bankid.retry) == ("zignsec_3_retries", "bankid")
    assert bankid.handshake is not None
    assert bankid.handshake.origins == ("eventgrid.azure.net",)
    assert idenfy.handshake is None
    assert bankid.credentials == (b"authorization",)
    assert not bankid.covers_body
    assert bankid.sending.content_type == "application/cloudevents+json; charset=utf-8"
    assert len(set(zignsec.addresses)) == len(zignsec.addresses) == 8


def test_proof_headers_are_all_that_the_proof_needs() -> None:
    assert set(catalogue.provider("seal_id").proof_headers) == {
        b"ubiid-notification-signature",
        b"ubiid-notification-timestamp",
        b"x-ubiid-notification-signature",
        b"x-ubiid-notification-timestamp",
    }
    assert set(catalogue.provider("standard_webhooks").proof_headers) == {
        b"webhook-id",
        b"webhook-timestamp",
        b"webhook-signature",
    }


# --- options


def test_options_fill_columns() -> None:
    scheme = catalogue.provider("bankid_antifraud").bind(
        {"audience": "a", "tenant": "t", "roles": ["r"], "allowed_rate": 100, "callback_hosts": ["eventgrid.azure.net"]}
    )
    assert isinstance(scheme, JwtBearer)
    assert (scheme.audience, scheme.tenant, scheme.roles) == (("a",), "t", ("r",))
    assert scheme.issuer == "https://login.microsoftonline.com/08a02467-3604-46e9-b818-6be676cf015b/v2.0"
    assert scheme.jwks_url.endswith("/08a02467-3604-46e9-b818-6be676cf015b/discovery/v2.0/keys")
    seal = catalogue.provider("seal_id")
    for options, content in (
        ({}, Content.MINIFIED),
        ({"mode": "raw"}, Content.RAW),
        ({"mode": "stripped"}, Content.STRIPPED),
    ):
        bound = seal.bind(options)
        assert isinstance(bound, KeyedHash)
        assert bound.content is content


@pytest.mark.parametrize(("rate", "settled"), [("*", "*"), (1, 1), (100, 100), ("100", 100), (None, "*")], ids=str)
def test_rate_is_a_star_or_a_positive_number(rate: object, settled: object) -> None:
    options = {"audience": "a"} if rate is None else {"audience": "a", "allowed_rate": rate}
    assert catalogue.provider("bankid_antifraud").settled(options)["allowed_rate"] == settled


@pytest.mark.parametrize(
    "rate",
    [0, -1, 1.5, True, None, [], "0", "-1", "1.5", "+5", "1_000", " 100", "100\n", "١٠٠", "1e3", "fast", "", "01"],
)
def test_rate_that_int_would_take_too_gladly_is_refused(rate: object) -> None:
    with pytest.raises(ConfigurationError) as raised:
        catalogue.provider("bankid_antifraud").bind({"audience": "a", "allowed_rate": rate})
    assert raised.value.key == "allowed_rate"


@pytest.mark.parametrize(
    ("id", "options", "key"),
    [
        ("bankid_antifraud", {}, "audience"),
        ("bankid_antifraud", {"audience": ""}, "audience"),
        ("bankid_antifraud", {"audience": []}, "audience"),
        ("bankid_antifraud", {"audience": " a"}, "audience"),
        ("bankid_antifraud", {"audience": 5}, "audience"),
        ("bankid_antifraud", {"audience": "a", "audiences": "b"}, "audiences"),
        ("bankid_antifraud", {"audience": "a", "jwks_url": "keys.json"}, "jwks_url"),
        ("bankid_antifraud", {"audience": "a", "jwks_url": "file:///keys.json"}, "jwks_url"),
        ("bankid_antifraud", {"audience": "a", "jwks_url": "https://a b"}, "jwks_url"),
        ("bankid_antifraud", {"audience": "a", "issuer": ""}, "issuer"),
        ("bankid_antifraud", {"audience": "a", "jwks": 5}, "jwks"),
        ("seal_id", {"mode": "loose"}, "mode"),
        ("seal_id", {"mode": ["raw"]}, "mode"),
        ("zignsec", {"mode": "raw"}, "mode"),
    ],
)
def test_option_that_cannot_be_is_named(id: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        catalogue.provider(id).bind(options)
    assert raised.value.key == key
    assert raised.value.remedy


def test_age_limit_needs_a_time_in_the_proof() -> None:
    assert catalogue.provider("seal_id").bind({}, max_age_s=60) != catalogue.provider("seal_id").bind({})
    for id in ("zignsec", "idenfy"):
        with pytest.raises(ConfigurationError) as raised:
            catalogue.provider(id).bind({}, max_age_s=60)
        assert raised.value.key == "max_age_s"


# --- files


def test_least_file_is_read_with_the_usual_answers(tmp_path: Path) -> None:
    provider = read(tmp_path, HEAD + SCHEME)
    assert (provider.id, provider.docs, provider.checked) == ("acme", ("https://docs.acme.example",), "2026-11-21")
    assert (provider.answers.accepted, provider.answers.refused, provider.retry) == (200, 401, "standard")
    assert (provider.dedupe, provider.envelope, provider.covers_body) == ("body", "none", True)


def test_examples_and_sending_are_carried(tmp_path: Path) -> None:
    more = (
        '[sending]\ntimeout_s = 10\n[sending.headers]\nX-A = "1"\n[examples.ok]\nbody = "{}"\nheaders = {X-B = "2"}\n'
    )
    provider = read(tmp_path, HEAD + SCHEME + more)
    assert provider.sending.headers == (("X-A", "1"),)
    assert provider.sending.timeout_s == 10
    assert provider.examples["ok"].body == b"{}"
    assert provider.examples["ok"].headers == (("X-B", "2"),)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("id = ", ""),
        (HEAD, "scheme.kind"),
        (HEAD.replace("acme", "other", 1) + SCHEME, "id"),
        (HEAD.replace('name = "Acme"\n', "") + SCHEME, "name"),
        (HEAD.replace("2026-11-21", '"2026-11-21"') + SCHEME, "checked"),
        (HEAD.replace("2026-11-21", "2026-11-21T00:00:00Z") + SCHEME, "checked"),
        (HEAD.replace('"https://docs.acme.example"', "[]") + SCHEME, "docs"),
        (HEAD + 'colour = "blue"\n' + SCHEME, "colour"),
        (HEAD + '[scheme]\nkind = "magic"\n', "scheme.kind"),
        (HEAD + SCHEME + 'hedaer = "X"\n', "scheme.hedaer"),
        (HEAD + SCHEME + 'encoding = "base32"\n', "scheme.encoding"),
        (HEAD + SCHEME + "tolerance_s = 5\n", "scheme.tolerance_s"),
        (HEAD + SCHEME + "[secret]\nwhere = 5\n", "secret.where"),
        (HEAD + SCHEME + '[secret]\nhint = "x"\n', "secret.hint"),
        (HEAD + SCHEME + "[answers]\naccepted = 205\n", "answers.accepted"),
        (HEAD + SCHEME + "[answers]\nrefused = 503\n", "answers.refused"),
        (HEAD + SCHEME + "[answers]\nrefused = true\n", "answers.refused"),
        (HEAD + SCHEME + '[handshake]\nkind = "options"\n', "handshake.origins"),
        (HEAD + SCHEME + '[handshake]\nkind = "smile"\norigins = ["a"]\n', "handshake.kind"),
        (HEAD + SCHEME + '[handshake]\nkind = "options"\norigins = ["a"]\nrate_option = "r"\n', "handshake"),
        (HEAD + SCHEME + '[retry]\npolicy = "standard"\nfast = true\n', "retry.fast"),
        (HEAD + SCHEME + "[retry]\npolicy = 5\n", "retry.policy"),
        (HEAD + SCHEME + "[addresses]\npublished = [5]\n", "addresses.published"),
        (HEAD + SCHEME + '[sending]\nformat = "yaml"\n', "sending.format"),
        (HEAD + SCHEME + '[sending]\ntimeout_s = "5"\n', "sending.timeout_s"),
        (HEAD + SCHEME + "[sending.headers]\nX-A = 1\n", "sending.headers.X-A"),
        (HEAD + SCHEME + '[examples.a]\nheaders = {X = "y"}\n', "examples.a.body"),
        (HEAD + SCHEME + '[options.mode]\nkind = "choice"\n', "options.mode"),
        (HEAD + SCHEME + '[options.mode]\nhelp = "x"\nkind = "chioce"\n', "options.mode.kind"),
        (HEAD + SCHEME + '[options.mode]\nhelp = "x"\ncolumn = "mode"\n', "options.mode.column"),
        (HEAD + SCHEME + '[options.mode]\nhelp = "x"\nrequired = "yes"\n', "options.mode.required"),
        (HEAD + SCHEME + '[options.mode]\nhelp = "x"\nrequired = true\ndefault = "y"\n', "options.mode.default"),
        (HEAD + SCHEME + '[options]\nmode = "x"\n', "options.mode"),
        (HEAD + "covers_body = 1\n" + SCHEME, "covers_body"),
        (HEAD + "credentials = [5]\n" + SCHEME, "credentials"),
        (HEAD + "scheme = 5\n", "scheme"),
        (HEAD + SCHEME + '[event]\nsubjekt = "json:/id"\n', "event.subjekt"),
    ],
)
def test_faulty_file_names_its_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(CatalogueError) as raised:
        read(tmp_path, text)
    assert raised.value.place.endswith("acme.toml")
    assert raised.value.key == key
    assert raised.value.remedy


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"acme\.toml: cannot be read"):
        catalogue.read(tmp_path / "acme.toml")
    (tmp_path / "acme.toml").write_bytes(b'id = "\xff"')
    with pytest.raises(CatalogueError, match=r"acme\.toml: is not TOML in UTF-8"):
        catalogue.read(tmp_path / "acme.toml")
    (tmp_path / "Acme.toml").write_text(HEAD + SCHEME, encoding="utf-8")
    with pytest.raises(CatalogueError, match="id: must be"):
        catalogue.read(tmp_path / "Acme.toml")


# --- lightness

HEAVY = {"aiohttp", "apsw", "asyncpg", "granian", "starlette", "jwt", "cryptography", "uvloop", "typer", "rich"}


def test_judging_a_keyed_hash_loads_no_server_database_client_or_jose() -> None:
    program = (
        "import sys\n"
        "from hookseal import catalogue\n"
        "from hookseal.message import Request\n"
        "from hookseal.schemes.verdict import Keys\n"
        "catalogue.provider('zignsec').bind({}).verify(Request(body=b'{}'), Keys(secrets=(b's',)), 0)\n"
        "print(' '.join(name.partition('.')[0] for name in sys.modules))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert HEAVY & set(loaded.split()) == set()


def test_python_face_judges_a_keyed_hash_without_server_database_client_or_jose() -> None:
    program = (
        "import sys, hookseal\n"
        "try:\n"
        "    hookseal.verify('zignsec', b'{}', {}, secrets=['s'])\n"
        "except hookseal.Refused as refused:\n"
        "    assert refused.reason == 'header_missing'\n"
        "print(' '.join(name.partition('.')[0] for name in sys.modules))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert (HEAVY - {"cryptography"}) & set(loaded.split()) == set()
