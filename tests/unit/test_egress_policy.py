"""Which URLs and addresses the policy takes, and what it tells the operator when it does not."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookseal.egress.networks import DENIED_V4, DENIED_V6, ROUTED_V6, denied_network
from hookseal.egress.policy import Allowed, EgressPolicy, Refusal, Target, parse_allowed
from hookseal.errors import ConfigurationError
from hookseal.model import AttemptReason

STRICT = EgressPolicy()
PUBLIC = "93.184.215.14"


def refusal(policy: EgressPolicy, url: str) -> Refusal:
    judged = policy.judge_url(url)
    assert isinstance(judged, Refusal)
    return judged


def target(policy: EgressPolicy, url: str) -> Target:
    judged = policy.judge_url(url)
    assert isinstance(judged, Target), judged
    return judged


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://core.example.com/hooks", "core.example.com", 443),
        ("https://core.example.com", "core.example.com", 443),
        ("https://core.example.com?x=1", "core.example.com", 443),
        ("HTTPS://Core.Example.COM/Hooks", "core.example.com", 443),
        ("https://core.example.com:8443/a/b?c=d&e=%2f", "core.example.com", 8443),
        ("https://core.example.com:1/", "core.example.com", 1),
        ("https://core.example.com:65535/", "core.example.com", 65535),
        ("https://core.example.com/a@b:c", "core.example.com", 443),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443),
        ("https://my_service/", "my_service", 443),
        ("https://1a/", "1a", 443),
        (f"https://{PUBLIC}/", PUBLIC, 443),
        ("https://[2606:2800:220:1::1]:8443/", "2606:2800:220:1::1", 8443),
        ("https://" + ".".join(["a" * 63] * 3) + "/", ".".join(["a" * 63] * 3), 443),
        ("https://e.example/" + "a" * 2030, "e.example", 443),
    ],
)
def test_a_plain_https_url_is_taken_as_it_is(url: str, host: str, port: int) -> None:
    judged = target(STRICT, url)
    assert (judged.url, judged.scheme, judged.host, judged.port) == (url, "https", host, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https",
        "https:",
        "https://",
        "https:///hooks",
        "https:core.example.com",
        "//core.example.com/",
        "core.example.com/hooks",
        "ftp://core.example.com/",
        "file:///etc/passwd",
        "gopher://core.example.com/",
        "javascript://core.example.com/",
        "ws://core.example.com/",
        "http+unix://core.example.com/",
        " https://core.example.com/",
        "https://core.example.com/ ",
        "https://core.example.com/a b",
        "https://core.example.com/\n",
        "https://core.example.com/\r\nX: y",
        "https://core.example.com/\0",
        "https://core.example.com/\x7f",
        "https://core.example.com/ä",
        "https://bücher.example/",
        "https://core.example.com/#part",
        "https://core.example.com#part",
        "https://core.example.com\\evil",
        "https://core.example.com/\\evil",
        "https://user@core.example.com/",
        "https://user:secret@core.example.com/",
        "https://@core.example.com/",
        "https://core.example.com:0/",
        "https://core.example.com:65536/",
        "https://core.example.com:99999/",
        "https://core.example.com:999999/",
        "https://core.example.com:/",
        "https://core.example.com:-1/",
        "https://core.example.com:+443/",
        "https://core.example.com: 443/",
        "https://core.example.com:443:443/",
        "https://core.example.com:4４3/",
        "https://core.example.com./",
        "https://core..example.com/",
        "https://-core.example.com/",
        "https://core-.example.com/",
        "https://core!.example.com/",
        "https://core%2eexample.com/",
        "https://xn--/",
        "https://xn--a/",
        "https://xn--zzzzzzzzz999999999/",
        "https://[2606:2800:220:1::1/",
        "https://2606:2800:220:1::1/",
        "https://[2606:2800:220:1::1%25eth0]/",
        "https://[]/",
        "https://" + "a" * 64 + ".example/",
        "https://" + ".".join(["a" * 63] * 4) + "/",
        "https://e.example/" + "a" * 2031,
    ],
)
def test_a_url_that_is_not_plain_is_refused_and_never_mended(url: str) -> None:
    for policy in (STRICT, EgressPolicy(allow=("0.0.0.0/0", "::/0"), allow_http=True)):
        judged = refusal(policy, url)
        assert judged.reason is AttemptReason.CONFIG_ERROR
        assert judged.message


def test_http_is_called_only_where_the_operator_said_so() -> None:
    assert "allow_http" in refusal(STRICT, "http://core.example.com/").message
    assert target(EgressPolicy(allow_http=True), "http://core.example.com/").port == 80


@given(st.text(max_size=60) | st.text("htps:/@[]%.0x1-_\\#?a\0\n②", max_size=40).map("https://".__add__))
def test_no_text_brings_the_judge_to_fall(url: str) -> None:
    judged = EgressPolicy(allow_http=True).judge_url(url)
    if isinstance(judged, Target):
        assert judged.url == url
        assert judged.host
        assert judged.host.isascii()
        assert 1 <= judged.port <= 65535


def test_a_refused_address_tells_address_network_and_setting() -> None:
    judged = refusal(STRICT, "https://10.20.1.2:8443/hooks")
    assert judged.reason is AttemptReason.DENIED_ADDRESS
    for word in ("10.20.1.2", "10.0.0.0/8", "[egress] allow", "10.20.1.2:8443"):
        assert word in judged.message


@pytest.mark.parametrize("policy", [STRICT, EgressPolicy(allow=("10.20.0.0/16:8443",))], ids=["none", "port"])
def test_the_remedy_that_a_refusal_names_is_one_that_works(policy: EgressPolicy) -> None:
    for url in ("https://10.20.1.2:9443/", "https://[fd00::5]/", "https://[::ffff:127.0.0.1]:444/"):
        message = refusal(policy, url).message
        remedy = message.rsplit('allow = ["', 1)[1].split('"]')[0]
        assert isinstance(EgressPolicy(allow=(remedy,)).judge_url(url), Target)


# The edges of every denied network: its first and last address are denied, the ones beside it are not, unless another
# network has them.
@pytest.mark.parametrize("network", [*DENIED_V4, *DENIED_V6], ids=str)
def test_a_denied_network_is_denied_to_its_edges_and_no_further(network) -> None:  # type: ignore[no-untyped-def]
    assert denied_network(network[0]) is not None
    assert denied_network(network[-1]) is not None
    kind = type(network[0])
    for beside in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= beside < 2**network.max_prefixlen:
            address = kind(beside)
            denied = denied_network(address)
            assert denied is None or denied != network


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        PUBLIC,
        "8.8.8.8",
        "2000::",
        "2001:200::",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2606:4700::1111",
        "3ffe::1",
        "::ffff:8.8.8.8",
    ],
)
def test_the_public_internet_is_called(address: str) -> None:
    assert STRICT.judge_address(address, 443) is None
    assert STRICT.allows(ip_address(address), 443)


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_outside_the_routed_block_no_ipv6_address_is_called(address: IPv6Address) -> None:
    if address not in ROUTED_V6 and address.ipv4_mapped is None:
        assert not STRICT.allows(address, 443)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_a_mapped_address_is_judged_as_the_address_that_it_maps(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    assert STRICT.allows(mapped, 443) is STRICT.allows(address, 443)
    allowing = EgressPolicy(allow=(f"{address}/32",))
    assert allowing.allows(mapped, 443)


def test_a_zone_is_never_called_whatever_is_allowed() -> None:
    anything = EgressPolicy(allow=("::/0",))
    assert anything.allows("fe80::1", 443)
    assert not anything.allows("fe80::1%eth0", 443)
    assert not anything.allows("2606:4700::1111%1", 443)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.1", "1.2.3.4 ", "::g"])
def test_what_is_no_address_is_denied(text: str) -> None:
    assert not EgressPolicy(allow=("0.0.0.0/0", "::/0")).allows(text, 443)


def test_a_port_in_the_allow_list_narrows_it() -> None:
    policy = EgressPolicy(allow=("10.20.0.0/16:8443", "[fd00::/8]:8443", "192.168.1.0/24"))
    assert policy.allows("10.20.1.2", 8443)
    assert not policy.allows("10.20.1.2", 443)
    assert not policy.allows("10.21.1.2", 8443)
    assert policy.allows("fd00::1", 8443)
    assert not policy.allows("fd00::1", 443)
    assert policy.allows("192.168.1.9", 1)


def test_our_own_listener_is_called_only_where_its_port_is_named() -> None:
    own = (("127.0.0.1", 8400), ("::", 8401))
    wide = EgressPolicy(allow=("127.0.0.0/8", "::1"), own=own)
    assert not wide.allows("127.0.0.1", 8400)
    assert not wide.allows("::ffff:127.0.0.1", 8400)
    assert wide.allows("127.0.0.2", 8400)
    assert not wide.allows("127.0.0.1", 8401)
    assert not wide.allows("::1", 8401)
    assert EgressPolicy(allow=("127.0.0.1:8400",), own=own).allows("127.0.0.1", 8400)
    judged = wide.judge_address("127.0.0.1", 8400)
    assert judged is not None
    assert "127.0.0.1:8400" in judged.message
    public = EgressPolicy(own=((PUBLIC, 443),))
    assert not public.allows(PUBLIC, 443)
    assert public.allows(PUBLIC, 8443)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.20.0.0/16", Allowed(ip_network("10.20.0.0/16"))),
        ("10.20.0.0/16:8443", Allowed(ip_network("10.20.0.0/16"), 8443)),
        ("127.0.0.1", Allowed(ip_network("127.0.0.1/32"))),
        ("127.0.0.1:80", Allowed(ip_network("127.0.0.1/32"), 80)),
        ("fd00::/8", Allowed(ip_network("fd00::/8"))),
        ("::1", Allowed(ip_network("::1/128"))),
        ("[fd00::/8]:8443", Allowed(ip_network("fd00::/8"), 8443)),
        ("[::1]", Allowed(ip_network("::1/128"))),
    ],
)
def test_the_grammar_of_the_allow_list(text: str, expected: Allowed) -> None:
    assert parse_allowed(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "localhost",
        "10.20.1.0/16",
        "10.20.0.0/33",
        "10.0.0.0/8:0",
        "10.0.0.0/8:65536",
        "10.0.0.0/8:http",
        "10.0.0.0/8:",
        "[fd00::/8",
        "[fd00::/8]8443",
        "[fd00::/8]:",
        "fd00::/8:8443",
        "10.0.0.0/8 ",
        "10.0.0.0-10.0.0.9",
    ],
)
def test_an_unreadable_item_of_the_allow_list_is_a_configuration_fault(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EgressPolicy(allow=(text,))
    assert caught.value.key == "egress.allow"
