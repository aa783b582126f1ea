"""One question to one upstream server, over UDP, TCP or TLS.

Comes in: a Question and a Server. Goes out: the bytes of an answer whose sender, id and question are right, or Failed. Not here: which
server, how often, what is kept. Each question by UDP has a socket of its own, so its source port is the kernel's random choice, and
an id of its own (RFC 5452).
"""

from __future__ import annotations

import asyncio
import secrets
import socket

from netloom.dns.cache import Question
from netloom.dns.servers import Server
from netloom.dns.wire import AD, CD, HEADER, QR, RD, TC, Malformed, Rcode, opt_record, skip_name
from netloom.errors import NetloomError

NO_HELP = frozenset({Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED, Rcode.FORMERR})
"""With these another server may know better."""


class Failed(NetloomError):
    """A server has no usable answer: it cannot be reached, refuses, or says something else than asked."""

    def __init__(self, problem: str, hint: str = "", *, answered: bool = False) -> None:
        super().__init__(problem, hint)
        self.answered = answered
        """It is there, and said that it cannot help."""


def write_query(question: Question) -> tuple[int, bytes]:
    """A query for this question, and its id."""
    ident = secrets.randbelow(1 << 16)
    flags = RD | (CD if question.checking_disabled else 0) | (AD if question.dnssec_ok else 0)
    opt = opt_record(dnssec_ok=question.dnssec_ok)
    return ident, HEADER.pack(ident, flags, 1, 0, 0, 1) + question.section + opt


def is_answer(data: bytes, ident: int, question: Question) -> bool:
    """Whether these bytes answer that question, and no other."""
    if len(data) < HEADER.size:
        return False
    got, flags, questions, *_ = HEADER.unpack_from(data)
    if got != ident or not flags & QR or flags >> 11 & 15 or questions != 1:
        return False
    try:
        end = skip_name(data, HEADER.size, compressed=False)
    except Malformed:
        return False
    return data[HEADER.size : end].lower() + data[end : end + 4] == question.section


def checked(data: bytes, server: Server) -> bytes:
    """The answer, unless it says that the server cannot help.

    Raises:
        Failed: it does.
    """
    if data[3] & 15 in NO_HELP:
        raise Failed(f"upstream {server}: answered with {Rcode(data[3] & 15).name}", answered=True)
    return data


async def by_udp(question: Question, server: Server) -> bytes:
    """Ask by UDP; where the answer was cut, again by TCP. Waits until cancelled.

    Raises:
        Failed: the server cannot be reached, or cannot help.
    """
    loop = asyncio.get_running_loop()
    ident, query = write_query(question)
    with socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect((server.address, server.port))  # so that the kernel drops what others send
            sock.send(query)
            while True:
                data = await loop.sock_recv(sock, 65535)
                # what is not our answer is somebody's guess, or broken: the right one may still come
                if is_answer(data, ident, question):
                    break
        except OSError as error:
            raise Failed(f"upstream {server}: {error.strerror}") from error
    if int.from_bytes(data[2:4], "big") & TC:
        return await by_tcp(question, server)
    return checked(data, server)


async def by_tcp(question: Question, server: Server) -> bytes:
    """Ask by TCP, over a connection of its own. Waits until cancelled.

    Raises:
        Failed: the server cannot be reached, or cannot help.
    """
    try:
        reader, writer = await asyncio.open_connection(server.address, server.port)
        try:
            ident, query = write_query(question)
            writer.write(len(query).to_bytes(2, "big") + query)
            data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.transport.abort()  # nothing more is to come, and closing must not wait for a peer
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Failed(f"upstream {server}: no answer over TCP") from error
    if not is_answer(data, ident, question):
        raise Failed(f"upstream {server}: answered over TCP with something else than asked")
    return checked(data, server)
