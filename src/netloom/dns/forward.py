"""Questions for upstream servers: from the cache, or asked once however many wait, within bounds.

Comes in: a Query with an Ask. Goes out: an Answer, now or later, through a callback. Not here: sockets (upstream.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from netloom.dns.answers import REFUSED, SERVFAIL, Answer, Ask, write_answer
from netloom.dns.cache import AnswerCache, Question, Reply, read_reply
from netloom.dns.counters import Counters
from netloom.dns.upstream import Upstreams
from netloom.dns.wire import AA, CD, Malformed, Query, name_text
from netloom.errors import Unavailable

QUESTIONS_LIMIT = 1000
"""Different questions that may be open at once."""
WAITING_LIMIT = 10_000
"""Queries that may wait for them."""

log = logging.getLogger(__name__)

_Waiter = Callable[[Reply | None], None]


class Forwarder:
    """Answers what others know. ``tasks`` is entered by the owner, who also ends it."""

    def __init__(
        self, *, upstreams: Upstreams, cache: AnswerCache, counters: Counters, tasks: asyncio.TaskGroup
    ) -> None:
        self._upstreams = upstreams
        self._cache = cache
        self._counters = counters
        self._tasks = tasks
        self._open: dict[Question, tuple[asyncio.Task[None], list[_Waiter]]] = {}
        self._waiting = 0

    def ask(self, query: Query, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Have ``done`` called once: at once where the answer is known, or cannot be got."""
        if not query.recursion_desired or not len(self._upstreams):
            done(write_answer(query.name, ask.prefix, flags=AA) if ask.prefix else REFUSED)
            return
        question = _question(query, ask)
        kept = self._cache.get(question)
        if kept is not None:
            self._counters.cache_hits += 1
            _tell(query, ask, done, kept[0], kept[1])
            return
        self._counters.cache_misses += 1
        if self._waiting >= WAITING_LIMIT or (
            question not in self._open and len(self._open) >= QUESTIONS_LIMIT
        ):
            self._counters.refused_busy += 1
            done(SERVFAIL)
            return
        self._wait(question, partial(_tell, query, ask, done))

    def close(self) -> None:
        """Stop asking; who waits gets no answer any more."""
        for task, _ in list(self._open.values()):
            task.cancel()

    def _wait(self, question: Question, waiter: _Waiter) -> None:
        self._waiting += 1
        opened = self._open.get(question)
        if opened is not None:
            opened[1].append(waiter)
            return
        self._counters.forwarded += 1
        waiters = [waiter]
        task = self._tasks.create_task(self._resolve(question, waiters), name="dns-forward")
        self._open[question] = (task, waiters)

    async def _resolve(self, question: Question, waiters: list[_Waiter]) -> None:
        reply = None
        try:
            reply = read_reply(question, await self._upstreams.exchange(question))
            self._cache.put(reply)
        except (Unavailable, Malformed, OSError):
            self._counters.upstream_failures += 1
        except Exception:  # the boundary: what a stranger sent must not end the server
            self._counters.faults += 1
            log.exception("upstream answer for %s type %d failed", name_text(question.name), question.type)
        finally:
            del self._open[question]
            self._waiting -= len(waiters)
        for waiter in waiters:
            waiter(reply)


def _question(query: Query, ask: Ask) -> Question:
    wants_dnssec = query.edns is not None and query.edns.dnssec_ok
    return Question(ask.name, query.type, wants_dnssec, bool(query.flags & CD))


def _tell(
    query: Query, ask: Ask, done: Callable[[Answer], None], reply: Reply | None, age_s: int = 0
) -> None:
    if reply is None:
        answer = SERVFAIL
    elif not ask.prefix:
        answer = reply.answer(age_s)
    else:
        try:
            answer = reply.answer_after(query, ask, age_s)
        except Malformed:
            answer = SERVFAIL
    done(answer)
