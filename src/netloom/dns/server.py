"""The boundary of requests: bytes of a query in, bytes of a reply out, whatever the transport, whoever knows the answer.

Comes in: a message and a way to send. Goes out: one reply, or silence where a reply would be wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from netloom.dns.answers import SERVFAIL, Answer, Ask, assemble
from netloom.dns.counters import Counters
from netloom.dns.forward import Forwarder
from netloom.dns.handlers import Handler
from netloom.dns.wire import QR, Malformed, Query, Rcode, error_reply, name_text, parse_query

STREAM_SIZE = 65535
"""Bytes of a reply over TCP at most (RFC 1035, section 4.2.2)."""
_LOGGED_FAULTS = 20

log = logging.getLogger(__name__)


class QueryServer:
    """Reads queries, asks the handlers in order, sends replies."""

    def __init__(self, *, handlers: Sequence[Handler], forwarder: Forwarder, counters: Counters) -> None:
        self._handlers = tuple(handlers)
        self._forwarder = forwarder
        self._counters = counters

    def handle(self, data: bytes, send: Callable[[bytes], None], *, stream: bool) -> bool:
        """Reply to one message through ``send``, now or later; False where there will be no reply.

        Never raises for what is in the message.
        """
        try:
            query = parse_query(data)
        except Malformed:
            self._counters.malformed += 1
            reply = error_reply(data, Rcode.FORMERR)
            if reply is None:
                return False
            self._counters.rcodes[Rcode.FORMERR] += 1
            send(reply)
            return True
        if query.flags & QR:
            self._counters.malformed += 1
            return False  # an answer that nobody asked for
        limit = STREAM_SIZE if stream else query.udp_size
        finish = partial(self._finish, query, limit, send)
        try:
            said = self._decide(query)
        except Exception as error:  # noqa: BLE001  the boundary: a defect costs a query its answer, not the server its life
            self._note_fault(query, error)
            said = SERVFAIL
        if isinstance(said, Ask):
            self._forwarder.ask(query, said, finish)
        else:
            finish(said)
        return True

    def _finish(self, query: Query, limit: int, send: Callable[[bytes], None], answer: Answer) -> None:
        try:
            reply = assemble(query, answer, limit)
        except Exception as error:  # noqa: BLE001  as above
            self._note_fault(query, error)
            answer = SERVFAIL
            reply = assemble(query, answer, limit)
        self._counters.rcodes[answer.rcode] += 1
        send(reply)

    def _decide(self, query: Query) -> Answer | Ask:
        for handler in self._handlers:
            said = handler.answer(query)
            if said is not None:
                return said
        return SERVFAIL

    def _note_fault(self, query: Query, error: Exception) -> None:
        self._counters.faults += 1
        if self._counters.faults <= _LOGGED_FAULTS:
            log.error("query for %s type %d failed", name_text(query.name), query.type, exc_info=error)
