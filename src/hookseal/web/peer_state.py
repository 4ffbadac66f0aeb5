"""Asks the system whether the client has ended its side of a connection.

The server library reports a malformed chunk and the end of the connection inside of a chunk alike. The state of the TCP
connection tells them apart: after the client's FIN it is CLOSE_WAIT, after a reset the connection is gone. Linux only,
through sock_diag(7); it needs no privilege.
"""

import socket
import struct
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _NLMSG_ERROR, _NLMSG_DONE = 20, 2, 3
_REQUEST_DUMP = 0x301
_ESTABLISHED = 1
# Of an accepted connection that is open on our side: ESTABLISHED, and CLOSE_WAIT after the client's FIN.
_STATES = 1 << _ESTABLISHED | 1 << 8
_HEADER = struct.Struct("=IHHII")
_LENGTH_AND_TYPE = struct.Struct("=IH")
_FAMILY_AND_STATE = struct.Struct("=BB")
_DESTINATION = 16 + 4 + 4 + 16
"""Offset of the remote address in an answer: header, family to retransmits, ports, local address."""
_TIMEOUT_S = 1.0


def has_client_ended(scope: Mapping[str, Any]) -> bool | None:
    """Return whether the client of an ASGI request sends no more; None if the system cannot say.

    It takes about 1 ms, because the system looks through its table of connections: call it in a thread. The table is
    searched by ports and client, since the server reports the address of the listener, which may be 0.0.0.0.
    """
    try:
        (host, port), (_, own_port) = scope["client"], scope["server"]
        address = ip_address(host)
        family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
        states = list(_states(family, int(own_port), int(port), address.packed))
    # No client, a socket of another kind, another system, or a sandbox without netlink.
    except (KeyError, TypeError, ValueError, AttributeError, OSError, struct.error):
        return None
    return _ESTABLISHED not in states


def _states(family: int, own_port: int, port: int, address: bytes) -> Iterator[int]:
    """The states of the connections between these ports and this client; usually of one."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_TIMEOUT_S)
        ports = struct.pack("!HH", own_port, port) + bytes(32) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
        query = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _STATES) + ports
        header = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
        netlink.sendto(header + query, (0, 0))
        while True:
            answer = netlink.recv(65_536)
            at = 0
            while at < len(answer):
                length, kind = _LENGTH_AND_TYPE.unpack_from(answer, at)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise OSError("sock_diag refused the query")
                _, state = _FAMILY_AND_STATE.unpack_from(answer, at + _HEADER.size)
                start = at + _DESTINATION
                if answer[start : start + len(address)] == address:
                    yield state
                at += (length + 3) & ~3
