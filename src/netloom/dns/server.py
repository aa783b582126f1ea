"""The boundary of requests: bytes of a query in, bytes of a reply out, whatever the transport, whoever knows the answer.

Comes in: a message, who sent it, and a way to send. Goes out: one reply, or silence where a reply would be wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from netloom.dns.answers import SERVFAIL, Answer, Ask, Kept, Later, assemble
from netloom.dns.cache import Found
from netloom.dns.clients import Client
from netloom.dns.cookies import Cookies
from netloom.dns.counters import Counters
from netloom.dns.counts import NameCounts
from netloom.dns.forward import Forwarder
from netloom.dns.handlers import Handler
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.wire import (
    HEADER,
    OPTION_KEEPALIVE,
    QR,
    Malformed,
    Query,
    Rcode,
    error_reply,
    name_text,
    opcode_of,
    option,
    parse_query,
)
from netloom.dns.zone import Zone

STREAM_SIZE = 65535
"""Bytes of a reply over TCP at most (RFC 1035, section 4.2.2)."""
IDLE_S = 10.0
"""A connection on which nothing comes for so long is closed (RFC 7766, section 6.2.3)."""
PATIENCE_S = 2.0
"""So long a query waits for the cluster's names: resolvers ask again after 5 s (glibc) and 2.5 s (musl)."""
PARKED_LIMIT = 2_000
_LOGGED_FAULTS = 20
_RELEASED_AT_ONCE = 50

log = logging.getLogger(__name__)


class Call(msgspec.Struct, frozen=True, gc=False):
    """A query that was read, and what is to become of its answer."""

    query: Query
    data: bytes
    client: Client
    send: Callable[[bytes], None]
    stream: bool


class QueryServer:
    """Reads queries, asks the handlers in order, sends replies. Replies that may be are kept ready."""

    def __init__(  # noqa: PLR0913  what one query may need
        self,
        *,
        handlers: Sequence[Handler],
        forwarder: Forwarder,
        zone: Zone,
        prepared: PreparedAnswers,
        cookies: Cookies,
        counters: Counters,
        names: NameCounts,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._handlers = tuple(handlers)
        self._forwarder = forwarder
        self._zone = zone
        self._prepared = prepared
        self._cookies = cookies
        self._counters = counters
        self._names = names
        self._patience_s = patience_s
        self._parked: deque[tuple[float, Call]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        zone.when_synced(self._release)

    def ready(self, data: bytes, client: Client) -> bytes | None:
        """The reply to a message by stream, where one is prepared."""
        return self._prepared.reply(data, client.answers)

    def handle(self, data: bytes, client: Client, send: Callable[[bytes], None], *, stream: bool) -> bool:
        """Reply to one message through ``send``, now or later; False where there will be no reply.

        Never raises for what is in the message.
        """
        if len(data) >= HEADER.size and opcode_of(data):
            return self._refuse(
                data, Rcode.NOTIMP, send
            )  # NOTIFY, UPDATE: their sections are not ours to read
        try:
            query = parse_query(data)
        except Malformed:
            self._counters.malformed += 1
            return self._refuse(data, Rcode.FORMERR, send)
        if query.flags & QR:
            self._counters.malformed += 1
            return False  # an answer that nobody asked for
        self._answer(Call(query, data, client, send, stream), last=False)
        return True

    def decide(self, query: Query, client: Client) -> tuple[str, Answer | Ask | Later]:
        """Which handler has something to say to a query, and what."""
        for handler in self._handlers:
            said = handler.answer(query, client)
            if said is not None:
                return type(handler).__name__, said
        return "", SERVFAIL

    async def ask_upstream(self, query: Query, ask: Ask) -> Answer:
        """What upstream servers say, or the cache."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._forwarder.ask(query, ask, answer.set_result)
        return await answer

    def kept(self, query: Query, ask: Ask) -> Found | None:
        """What is known of an upstream answer."""
        return self._forwarder.kept(query, ask)

    def close(self) -> None:
        """Forget those who wait."""
        if self._timer is not None:
            self._timer.cancel()
        self._parked.clear()

    def _refuse(self, data: bytes, rcode: int, send: Callable[[bytes], None]) -> bool:
        reply = error_reply(data, rcode)
        if reply is None:
            return False
        self._counters.rcodes[rcode] += 1
        send(reply)
        return True

    def _answer(self, call: Call, *, last: bool) -> None:
        try:
            said = self._decide(call)
        except Exception as error:  # noqa: BLE001  the boundary: a defect costs a query its answer, not the server its life
            self._note_fault(call.query, error)
            said = SERVFAIL
        if isinstance(said, Later):
            if not last and self._park(call):
                return
            said = SERVFAIL
        if isinstance(said, Ask):
            finish = partial(self._finish_searched, call) if said.owner else partial(self._finish, call)
            self._forwarder.ask(call.query, said, finish)
        else:
            self._finish(call, said)

    def _decide(self, call: Call) -> Answer | Ask | Later:
        return self.decide(call.query, call.client)[1]

    def _finish_searched(self, call: Call, answer: Answer) -> None:
        """A name outside of the cluster that the search path led to. What is denied there is denied as the name that was asked."""
        if answer.rcode == Rcode.NXDOMAIN or (answer.rcode == Rcode.NOERROR and not answer.answers):
            answer = self._zone.deny(call.query, answer.rcode)
        self._finish(call, answer)

    def _finish(self, call: Call, answer: Answer) -> None:
        query = call.query
        limit = STREAM_SIZE if call.stream else query.udp_size
        try:
            reply = assemble(query, answer, limit, self._options(call))
            if answer.kept is not Kept.NOT and not call.stream:
                self._prepared.keep(call.data, query, answer, reply, call.client.path)
        except Exception as error:  # noqa: BLE001  as above
            self._note_fault(query, error)
            answer = SERVFAIL
            reply = assemble(query, answer, limit)
        self._counters.rcodes[answer.rcode] += 1
        self._names.note(query.folded, answer.rcode)
        call.send(reply)

    def _options(self, call: Call) -> bytes:
        edns = call.query.edns
        if edns is None or edns.version:
            return b""
        options = self._cookies.option(edns.cookie, call.client.address) if edns.cookie else b""
        if edns.keepalive and call.stream:  # over UDP it means nothing (RFC 7828, section 3.2.1)
            options += option(OPTION_KEEPALIVE, int(IDLE_S * 10).to_bytes(2, "big"))
        return options

    def _park(self, call: Call) -> bool:
        """Let a query wait for the first whole set; False where too many do."""
        if self._patience_s <= 0 or len(self._parked) >= PARKED_LIMIT:
            return False
        loop = asyncio.get_running_loop()
        self._parked.append((loop.time() + self._patience_s, call))
        if len(self._parked) == 1:
            self._timer = loop.call_later(self._patience_s, self._give_up)
        return True

    def _release(self) -> None:
        """The names are there: answer who waited, a few at a time."""
        for _ in range(min(_RELEASED_AT_ONCE, len(self._parked))):
            self._answer(self._parked.popleft()[1], last=True)
        if self._parked:
            asyncio.get_running_loop().call_soon(self._release)

    def _give_up(self) -> None:
        loop = asyncio.get_running_loop()
        while self._parked and self._parked[0][0] <= loop.time() + 0.001:
            self._answer(self._parked.popleft()[1], last=True)
        if self._parked:
            self._timer = loop.call_at(self._parked[0][0], self._give_up)

    def _note_fault(self, query: Query, error: Exception) -> None:
        self._counters.faults += 1
        if self._counters.faults <= _LOGGED_FAULTS:
            log.error("query for %s type %d failed", name_text(query.name), query.type, exc_info=error)
