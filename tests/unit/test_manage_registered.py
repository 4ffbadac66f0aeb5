"""Registrations are shown without anything secret in them."""

import pytest

from hookseal.api import wire
from hookseal.manage import registered
from hookseal.model import EndpointId, ProviderId, SourceId
from hookseal.settings import EndpointSettings, SigningSettings, SourceSettings

CANARY = "canary-9f31c07d"

SOURCE = SourceSettings(
    id=SourceId("bankid"),
    provider=ProviderId("bankid_antifraud"),
    secrets=(CANARY.encode(), b"other"),
    retired_secrets=(CANARY.encode(),),
    options={"audience": "11111111-2222-4333-8444-555555555555", "client_secret": CANARY, "jwks_url": "https://a/keys"},
)
ENDPOINT = EndpointSettings(
    id=EndpointId("core"),
    url=f"https://me:{CANARY}@core.example.com:8443/hooks?token={CANARY}#{CANARY}",
    signing=SigningSettings(scheme="standard_webhooks", secrets=(CANARY.encode(),)),
    headers={"X-Api-Key": CANARY},
)


def test_nothing_secret_is_shown_of_a_source() -> None:
    shown = registered.source(SOURCE, "https://hooks.example.com/")
    assert CANARY not in repr(shown)
    assert CANARY.encode() not in wire.encode(wire.source(shown))
    assert (shown.secrets, shown.retired_secrets, shown.origin) == (2, 1, "file")
    assert shown.url == "https://hooks.example.com/in/bankid"
    assert shown.options["jwks_url"] == "https://a/keys"


def test_nothing_secret_is_shown_of_an_endpoint() -> None:
    shown = registered.endpoint(ENDPOINT)
    assert CANARY not in repr(shown)
    assert CANARY.encode() not in wire.encode(wire.endpoint(shown))
    assert shown.url == "https://***@core.example.com:8443/hooks?***"
    assert (shown.signing, shown.secrets, shown.headers) == ("standard_webhooks", 1, ("X-Api-Key",))


@pytest.mark.parametrize("url", ["http://[", "", "no url", "https://h/?"])
def test_no_url_is_too_odd_to_be_shown(url: str) -> None:
    assert isinstance(registered.without_secrets(url), str)


def test_what_senders_write_can_always_be_written_as_json() -> None:
    assert (
        wire.encode({"payload": [10**30, "\ud800", 1]}) == b'{"payload":[1000000000000000000000000000000,"\\ud800",1]}'
    )
