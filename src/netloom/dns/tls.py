"""DNS over TLS (RFC 7858): connections to upstream servers, kept open and shared by many questions.

Comes in: a Question for a Server with ``tls``. Goes out: the bytes of its answer. The server's certificate must be good for its name:
nothing is ever sent in clear text instead. Not here: which server.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from netloom.dns.cache import Question
from netloom.dns.exchange import Failed, checked, is_answer, write_query
from netloom.dns.servers import Server

IDLE_S = 20.0
"""A connection that nobody used for so long is closed (RFC 7858 section 3.4)."""
OPEN_LIMIT = 500
"""Questions that may wait on one connection."""
_CONNECT_S = 3.0


class TlsPool:
    """One connection to each server, made when it is needed.

    Args:
        context: what certificates are trusted; the system's where nobody says otherwise.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._connections: dict[Server, _Connection] = {}
        self._making: dict[Server, asyncio.Lock] = {}

    async def exchange(self, question: Question, server: Server) -> bytes:
        """Ask over TLS. Waits until cancelled.

        Raises:
            Failed: the server cannot be reached, is not who it should be, or cannot help.
        """
        for is_last in (False, True):
            connection = await self._connection(server)
            try:
                return checked(await connection.ask(question), server)
            except ConnectionError as error:
                # it was closed while it lay idle, as servers do: once more over a new one
                if is_last or not connection.was_used:
                    raise Failed(f"upstream {server}: closed the connection") from error
        raise AssertionError  # the loop returns or raises

    def close(self) -> None:
        """Close all connections; who waits fails."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    async def _connection(self, server: Server) -> _Connection:
        async with self._making.setdefault(server, asyncio.Lock()):
            kept = self._connections.get(server)
            if kept is not None and kept.is_open:
                return kept
            if self._context is None:
                self._context = ssl.create_default_context()
            try:
                async with asyncio.timeout(_CONNECT_S):
                    _, made = await asyncio.get_running_loop().create_connection(
                        lambda: _Connection(server),
                        server.address,
                        server.port,
                        ssl=self._context,
                        server_hostname=server.name or server.address,
                    )
            except ssl.SSLCertVerificationError as error:
                raise Failed(
                    f"upstream {server}: {error.verify_message}", "give its name after '#'"
                ) from error
            except (OSError, TimeoutError) as error:
                raise Failed(f"upstream {server}: no connection: {error}") from error
            self._connections[server] = made
            return made


class _Connection(asyncio.Protocol):
    """Messages with a length before each (RFC 1035, 4.2.2), answered in any order: each is known by its id."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: dict[int, tuple[Question, asyncio.Future[bytes]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.is_open = False
        self.was_used = False
        """An answer came over it before."""

    async def ask(self, question: Question) -> bytes:
        """The answer to a question.

        Raises:
            ConnectionError: the connection ended before.
            Failed: too many wait.
        """
        transport = self._transport
        if transport is None or not self.is_open:
            raise ConnectionResetError
        if len(self._waiting) >= OPEN_LIMIT:
            raise Failed(f"upstream {self._server}: too many questions are open")
        ident, query = write_query(question)
        while ident in self._waiting:
            ident, query = write_query(question)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = (question, answer)
        try:
            transport.write(len(query).to_bytes(2, "big") + query)
            self._rest()
            return await answer
        finally:
            self._waiting.pop(ident, None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  a stream makes no other
        self._transport = transport
        self.is_open = True
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Everybody who waits hears of it."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        """Bytes of answers."""
        self._buffer += data
        while len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) < size + 2:
                return
            message = bytes(self._buffer[2 : size + 2])
            del self._buffer[: size + 2]
            self._take(message)

    def close(self) -> None:
        """End now."""
        self.is_open = False
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.abort()

    def _take(self, message: bytes) -> None:
        ident = int.from_bytes(message[:2], "big")
        question, answer = self._waiting.get(ident, (None, None))
        if question is None or answer is None or answer.done():
            return  # nobody waits for it any more
        if not is_answer(message, ident, question):
            self.close()  # whoever is there does not speak DNS
            return
        self.was_used = True
        answer.set_result(message)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._idle)

    def _idle(self) -> None:
        if self._waiting:
            self._rest()
        else:
            self.close()
