"""`hookseal check` over endpoints that act as a provider, ask for consent or keep to a rate: what is possible and what not."""

from pathlib import Path

import pytest
from cli_process import hookseal

from hookseal.manage.configuration import Judgement, judge

KEY = 'secret = "correct-horse-battery-staple"'

GOOD = {
    "zignsec": f'as = "zignsec"\nsigning = {{ {KEY} }}',
    "zignsec xml, older policy": f'as = "zignsec"\nformat = "xml"\nretry = "zignsec_20_in_48h"\nsigning = {{ {KEY} }}',
    "zignsec unsigned": 'as = "zignsec"\nsigning = { scheme = "none" }',
    "idenfy": f'as = "idenfy"\nsigning = {{ scheme = "idenfy", {KEY} }}',
    "idenfy of one's own waits": f'as = "idenfy"\nretry = {{ delays_s = [1, 2] }}\nsigning = {{ {KEY} }}',
    "seal_id": f'as = "seal_id"\nsigning = {{ {KEY} }}',
    "bankid": 'as = "bankid_antifraud"\nsigning = { audience = "one" }',
    "bankid in full": (
        'as = "bankid_antifraud"\nrate_per_min = 60\n'
        'signing = { scheme = "bankid_antifraud", audience = "one", issuer = "https://a.example/v2.0", tenant = "t" }\n'
        'handshake = { kind = "cloudevents", origin = "hooks.example.com", request_rate = 120, callback = true }'
    ),
    "bankid without consent": 'as = "bankid_antifraud"\nsigning = { audience = "one" }\nhandshake = "none"',
    "consent without a provider": 'signing = { scheme = "none" }\nhandshake = "cloudevents"',
}

WRONG = {
    "nobody": ('as = "zignsek"', "as", "did you mean `zignsec`?"),
    "seal_id without a key": ('as = "seal_id"', "signing", "always signs"),
    "bankid without an audience": ('as = "bankid_antifraud"', "signing", "audience"),
    "bankid with a tenant only": (
        'as = "bankid_antifraud"\nsigning = { tenant = "t" }',
        "signing.audience",
        "is required",
    ),
    "bankid with a secret": (f'as = "bankid_antifraud"\nsigning = {{ {KEY} }}', "signing.secret", "our own issuer"),
    "an audience for a key": (
        f'as = "zignsec"\nsigning = {{ {KEY}, audience = "one" }}',
        "signing.audience",
        "signs no token",
    ),
    "no rate": ('signing = { scheme = "none" }\nrate_per_min = 0', "rate_per_min", "from 1"),
    "a batch of another form": (f'as = "zignsec"\nsigning = {{ {KEY} }}\nbatch = 10', "batch", '"cloudevents" only'),
    "a batch of nothing": ('signing = { scheme = "none" }\nbatch = 0', "batch", "from 1"),
    "signing left out": ("", "signing", "is missing"),
    "a scheme left out": (f"signing = {{ {KEY} }}", "signing.scheme", '"none"'),
    "a format that there is not": (f'as = "idenfy"\nformat = "yaml"\nsigning = {{ {KEY} }}', "format", "xml"),
}


def judged(file: Path) -> Judgement:
    return judge(file, environ={})


SERVER = '[server]\npublic_url = "https://hooks.example.com"\n'


def written(folder: Path, keys: str, server: str = SERVER) -> Path:
    file = folder / "hookseal.toml"
    file.write_text(f'{server}[[endpoint]]\nid = "core"\nurl = "https://core.example.com/a?b=1"\n{keys}\n')
    return file


@pytest.mark.requirement("Z12", "Z22", "I02")
@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_is_found_good(name: str, tmp_path: Path) -> None:
    assert judged(written(tmp_path, GOOD[name])).faults == ()


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_told_by_its_key(name: str, tmp_path: Path) -> None:
    keys, key, remedy = WRONG[name]
    told = [str(fault) for fault in judged(written(tmp_path, keys)).faults]
    assert any(f'[[endpoint]] "core" {key}: ' in line and remedy in line for line in told), told
    assert not any("correct-horse" in line for line in told)


def test_consent_needs_a_name_to_ask_by(tmp_path: Path) -> None:
    for keys, key in (
        ('handshake = "cloudevents"', "handshake.origin"),
        ('handshake = { origin = "a.example", callback = true }', "handshake.callback"),
    ):
        (fault,) = judged(written(tmp_path, f'signing = {{ scheme = "none" }}\n{keys}', server="")).faults
        assert fault.key == f'[[endpoint]] "core" {key}'
        assert "public_url" in fault.remedy


@pytest.mark.requirement("Z22")
def test_an_unsigned_provider_by_omission_is_told(tmp_path: Path) -> None:
    ended = hookseal("check", "--config", written(tmp_path, 'as = "zignsec"'), folder=tmp_path)
    assert ended.code == 0
    assert "nothing sent here is signed" in ended.err


@pytest.mark.requirement("Z01", "B01")
@pytest.mark.parametrize(
    "url", ["http://h.example/", "ftp://h", "//h", "https://", "https://u:p@h/", "https://10.0.0.1/"]
)
def test_a_url_that_may_not_be_called_is_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "hookseal.toml"
    file.write_text(f'[[endpoint]]\nid = "core"\nurl = "{url}"\nas = "idenfy"\n')
    assert [fault.key for fault in judged(file).faults] == ['[[endpoint]] "core" url']


def test_the_command_says_the_same(tmp_path: Path) -> None:
    keys, key, remedy = WRONG["bankid without an audience"]
    ended = hookseal("check", "--config", written(tmp_path, keys), folder=tmp_path)
    assert ended.code == 2
    assert f'"core" {key}: ' in ended.err
    assert remedy in ended.err
