"""One question to upstream servers, over UDP and, where an answer was cut, TCP.

Comes in: a Question. Goes out: the bytes of an answer whose sender, id and question are right. Not here: what is kept,
who waits. Each try has a socket of its own, so its source port is the kernel's random choice (RFC 5452).
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from collections.abc import Sequence

import msgspec

from netloom.clock import Clock
from netloom.dns.cache import Question
from netloom.dns.counters import Counters
from netloom.dns.wire import AD, CD, HEADER, QR, RD, TC, Malformed, Rcode, name_text, opt_record, skip_name
from netloom.errors import Unavailable, UsageError

_NO_HELP = frozenset({Rcode.SERVFAIL, Rcode.NOTIMP, Rcode.REFUSED, Rcode.FORMERR})
"""With these another server may know better."""
_PREFERENCE_S = 30.0
"""So long the server that answered in another's place goes first."""


class Server(msgspec.Struct, frozen=True):
    """Address and port of an upstream server."""

    address: str
    port: int = 53

    @property
    def family(self) -> socket.AddressFamily:
        """Family of its sockets."""
        return socket.AF_INET6 if ":" in self.address else socket.AF_INET


def parse_server(text: str) -> Server:
    """``192.0.2.1``, ``192.0.2.1:5353``, ``2001:db8::1`` or ``[2001:db8::1]:5353``.

    Raises:
        UsageError: the text is none of these.
    """
    host, port = text, "53"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":") if rest else "53" if bracket else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        address = str(ipaddress.ip_address(host))
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise UsageError(
            f"upstream {text!r}: no address with a port", "write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"
        )
    return Server(address, number)


class Upstreams:
    """Servers in order of preference."""

    def __init__(
        self,
        *,
        servers: Sequence[Server],
        clock: Clock,
        counters: Counters,
        attempt_s: float = 0.3,
        total_s: float = 4.0,
    ) -> None:
        self._servers = tuple(servers)
        self._clock = clock
        self._counters = counters
        self._attempt_s = attempt_s
        self._total_s = total_s
        self._preferred = 0
        self._preferred_until = 0.0

    def __len__(self) -> int:
        return len(self._servers)

    async def exchange(self, question: Question) -> bytes:
        """The first usable answer. Each server that is silent for ``attempt_s`` has the next one asked beside it.

        Raises:
            Unavailable: nobody answered within ``total_s``, or nobody had anything to say.
        """
        try:
            async with asyncio.timeout(self._total_s):
                answer, server = await self._by_udp(question)
                self._prefer(server)
                if int.from_bytes(answer[2:4], "big") & TC:
                    answer = await self._by_tcp(question, server)
                return answer
        except TimeoutError:
            raise _unanswered(question, "nobody answered in time") from None

    def _order(self) -> tuple[Server, ...]:
        if self._preferred and self._clock.monotonic() >= self._preferred_until:
            self._preferred = 0
        return self._servers[self._preferred :] + self._servers[: self._preferred]

    def _prefer(self, server: Server) -> None:
        index = self._servers.index(server)
        if index != self._preferred:
            self._preferred = index
            self._preferred_until = self._clock.monotonic() + _PREFERENCE_S

    async def _by_udp(self, question: Question) -> tuple[bytes, Server]:
        race = _Race(question)
        try:
            attempts = self._order() * 2
            for number, server in enumerate(attempts):
                self._counters.upstream_retries += number > 0
                race.send(server)
                try:
                    async with asyncio.timeout(self._attempt_s):
                        await race.event.wait()
                except TimeoutError:
                    continue
                if race.winner is not None:
                    return race.winner
            return await race.last(question)
        finally:
            race.close()

    async def _by_tcp(self, question: Question, first: Server) -> bytes:
        for server in (first, *(s for s in self._order() if s != first)):
            try:
                return await _stream_exchange(question, server)
            except (OSError, asyncio.IncompleteReadError, Malformed):
                self._counters.upstream_retries += 1
        raise _unanswered(question, "the answer was cut, and nobody gave it over TCP")


class _Race:
    """Open tries of one question; the first usable answer wins, late ones of earlier tries included."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._loop = asyncio.get_running_loop()
        self._open: list[socket.socket] = []
        self.winner: tuple[bytes, Server] | None = None
        self.event = asyncio.Event()
        """Something happened that makes waiting for longer pointless: an answer, or a refusal."""

    def send(self, server: Server) -> None:
        """Begin one more try."""
        self.event.clear()
        ident, query = _query(self._question)
        sock = socket.socket(server.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect((server.address, server.port))  # so that the kernel drops what others send
            sock.send(query)
        except OSError:
            sock.close()
            self.event.set()
            return
        self._open.append(sock)
        self._loop.add_reader(sock.fileno(), self._read, sock, server, ident)

    async def last(self, question: Question) -> tuple[bytes, Server]:
        """Wait for any of the tries that are still open.

        Raises:
            Unavailable: none is.
        """
        while self.winner is None:
            if not self._open:
                raise _unanswered(question, "every upstream server refused or cannot be reached")
            self.event.clear()
            await self.event.wait()
        return self.winner

    def close(self) -> None:
        """Give up all tries."""
        for sock in list(self._open):
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock.fileno())
        self._open.remove(sock)
        sock.close()

    def _read(self, sock: socket.socket, server: Server, ident: int) -> None:
        try:
            data = sock.recv(65535)
        except BlockingIOError:
            return
        except OSError:  # refused (ICMP): the server is not there
            self._drop(sock)
            self.event.set()
            return
        if not _is_answer(data, ident, self._question):
            return  # somebody guesses, or it is broken: the right one may still come
        if data[3] & 15 in _NO_HELP:
            self._drop(sock)
        elif self.winner is None:
            self.winner = (data, server)
        self.event.set()


def _query(question: Question) -> tuple[int, bytes]:
    ident = secrets.randbelow(1 << 16)
    flags = RD | (CD if question.checking_disabled else 0) | (AD if question.dnssec_ok else 0)
    opt = opt_record(dnssec_ok=question.dnssec_ok)
    return ident, HEADER.pack(ident, flags, 1, 0, 0, 1) + question.section + opt


def _is_answer(data: bytes, ident: int, question: Question) -> bool:
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


async def _stream_exchange(question: Question, server: Server) -> bytes:
    reader, writer = await asyncio.open_connection(server.address, server.port)
    try:
        ident, query = _query(question)
        writer.write(len(query).to_bytes(2, "big") + query)
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.transport.abort()  # nothing more is to come, and closing must not wait for a peer
    if not _is_answer(data, ident, question) or data[3] & 15 in _NO_HELP:
        raise Malformed(f"{server.address} answered over TCP with something else than asked")
    return data


def _unanswered(question: Question, problem: str) -> Unavailable:
    return Unavailable(
        f"upstream answer for {name_text(question.name)}: {problem}", "see the upstreams of this node"
    )
