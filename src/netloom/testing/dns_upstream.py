"""A scripted upstream DNS server on sockets that the test made (in whatever namespace), over UDP and TCP.

Comes in: answers as lines of text, and how to misbehave. Goes out: datagrams and streams; what was asked is noted.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netloom.testing.dns_messages import TYPES, read_reply, write_record

_WORDS = {number: word for word, number in TYPES.items()}


class ScriptedUpstream:
    """Answers ``(name, type)`` with records; anything else is NXDOMAIN with a SOA record.

    ``twist`` sees each reply over UDP before it leaves, with the question, and may change it, hold it back (None), or give
    several.
    """

    SOA = "example.org. 300 SOA ns.example.org. hostmaster.example.org. 1 7200 1800 86400 60"

    def __init__(self, answers: Mapping[tuple[str, str], Sequence[str]]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, str]] = []
        """Name in lower case and type of each query by UDP."""
        self.asked_by_tcp: list[tuple[str, str]] = []
        self.ports: list[int] = []
        """Source port of each query by UDP."""
        self.arrived = asyncio.Event()
        """Set with each query; for the test to clear."""
        self.twist: Callable[[bytes], Sequence[bytes]] = lambda reply: (reply,)
        self._datagrams: socket.socket | None = None
        self._listener: asyncio.Server | None = None

    async def start(self, datagrams: socket.socket, stream: socket.socket | None = None) -> None:
        """Serve on bound sockets; they are closed by ``close``."""
        datagrams.setblocking(False)
        self._datagrams = datagrams
        asyncio.get_running_loop().add_reader(datagrams.fileno(), self._readable)
        if stream is not None:
            self._listener = await asyncio.start_server(self._serve_stream, sock=stream)

    def close(self) -> None:
        """Stop serving."""
        if self._datagrams is not None:
            asyncio.get_running_loop().remove_reader(self._datagrams.fileno())
            self._datagrams.close()
        if self._listener is not None:
            self._listener.close()

    def _readable(self) -> None:
        assert self._datagrams is not None  # noqa: S101  it is what became readable
        data, peer = self._datagrams.recvfrom(4096)
        self._note(data, self.asked)
        self.ports.append(peer[1])
        self.send(peer, data)
        self.arrived.set()

    def send(self, peer: tuple[Any, ...], query: bytes) -> None:
        """Reply to a query, now."""
        if self._datagrams is not None:
            for reply in self.twist(self.reply(query)):
                self._datagrams.sendto(reply, peer)

    def reply(self, query: bytes) -> bytes:
        """The honest reply to a query."""
        name, _, number = read_reply(query).question.lower().split(" ")
        word = _WORDS.get(int(number), "")
        lines = self.answers.get((name, word))
        known = lines is not None or any(known == name for known, _ in self.answers)
        authority = [] if lines else [self.SOA]
        end = query.index(b"\0", 12) + 5
        head = query[:2] + struct.pack(
            ">HHHHH", 0x8180 | (0 if known else 3), 1, len(lines or ()), len(authority), 1
        )
        opt = b"\0" + struct.pack(">HHIH", TYPES["OPT"], 1232, 0, 0)
        return (
            head + query[12:end] + b"".join(write_record(line) for line in (*(lines or ()), *authority)) + opt
        )

    def _note(self, query: bytes, where: list[tuple[str, str]]) -> None:
        name, _, number = read_reply(query).question.lower().split(" ")
        where.append((name, _WORDS.get(int(number), number)))

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            self._note(query, self.asked_by_tcp)
            reply = self.reply(query)
            writer.write(len(reply).to_bytes(2, "big") + reply)
            await writer.drain()
        finally:
            writer.close()
