"""Which addresses are nobody's business of ours: the networks that no outgoing call may reach.

It knows addresses only; names, URLs and what the operator allows are `policy.py`. Python's `is_global` is no guard: it
calls `::127.0.0.1`, `64:ff9b::a9fe:a9fe`, `fec0::1`, `ff02::1`, `224.0.0.1` and `168.63.129.16` global (3.11 to 3.13).
IPv4 is judged by a list of what is denied; IPv6 by the one block that is handed out, `2000::/3`, less the parts of it
that are special (https://www.iana.org/assignments/iana-ipv6-special-registry), so that unassigned space is denied too.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_V4: tuple[IPv4Network, ...] = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: a public address that every virtual machine there reaches
        "169.254.0.0/16",  # link-local, the clouds' metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved
        "255.255.255.255/32",  # broadcast
    )
)

ROUTED_V6 = IPv6Network("2000::/3")

DENIED_V6: tuple[IPv6Network, ...] = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)

_REST_OF_V6 = IPv6Network("::/0")


def unmapped(address: Address) -> Address:
    """`::ffff:127.0.0.1` is 127.0.0.1: the kernel connects to the IPv4 address. Everything else is itself."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def denied_network(address: Address) -> Network | None:
    """The network that denies this address, None when it may be called. `::/0` stands for all outside `2000::/3`."""
    address = unmapped(address)
    if isinstance(address, IPv4Address):
        return next((network for network in DENIED_V4 if address in network), None)
    if address.scope_id is not None or address not in ROUTED_V6:
        return _REST_OF_V6
    return next((network for network in DENIED_V6 if address in network), None)


def address_of(text: str) -> Address:
    """An address from its text as `getaddrinfo` gives it, zone id included. ValueError for all else."""
    return ip_address(text)
