"""A name server of the tests: a few bytes of DNS over UDP, on a loopback address of its own, with names that fail.

The first part of a name says what becomes of a question for it: `gone-3.test` does not exist (NXDOMAIN), `broken-3.test`
is a server's failure (SERVFAIL), `silent-3.test` is never answered, and every other one lives at 127.0.0.1. Once
`healed`, all of them do.
"""

import asyncio
import os
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

GONE, BROKEN, SILENT = "gone", "broken", "silent"

_PORT = 53
"""The system's resolver asks no other one."""
_HEAD = struct.Struct(">6H")
_ANSWERS, _NO_FAULT, _SERVFAIL, _NXDOMAIN = 0x8180, 0, 2, 3
_A, _IN = 1, 1
_OF_THE_QUESTION = 0xC00C  # a pointer to the name that was asked for
_FRESH_S = 0


class NameServer:
    """asked: how often each name was asked for."""

    def __init__(self, socket_: socket.socket) -> None:
        self.address: str = socket_.getsockname()[0]
        self.asked: Counter[str] = Counter()
        self.healed = False
        self._socket = socket_

    def answer(self) -> None:
        """The question that waits."""
        data, asker = self._socket.recvfrom(512)
        name, kind, end = _question(data)
        self.asked[name] += 1
        fate = "" if self.healed else name.partition("-")[0]
        if fate == SILENT:
            return
        code = {GONE: _NXDOMAIN, BROKEN: _SERVFAIL}.get(fate, _NO_FAULT)
        found = b""
        if code == _NO_FAULT and kind == _A:
            found = struct.pack(">3HIH", _OF_THE_QUESTION, _A, _IN, _FRESH_S, 4) + IPv4Address("127.0.0.1").packed
        [number] = struct.unpack_from(">H", data)
        head = _HEAD.pack(number, _ANSWERS | code, 1, 1 if found else 0, 0, 0)
        self._socket.sendto(head + data[_HEAD.size : end] + found, asker)


def _question(data: bytes) -> tuple[str, int, int]:
    """The name, what is asked of it, and where the question ends."""
    at, labels = _HEAD.size, []
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode("ascii"))
        at += size + 1
    [kind] = struct.unpack_from(">H", data, at + 1)
    return ".".join(labels).lower(), kind, at + 5


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Needs root, for the port."""
    own, loop = os.getpid(), asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.setblocking(False)
        bound.bind((f"127.53.{own >> 8 & 255}.{own & 255}", _PORT))
        server = NameServer(bound)
        loop.add_reader(bound, server.answer)
        try:
            yield server
        finally:
            loop.remove_reader(bound)
