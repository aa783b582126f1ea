"""Questions for upstream servers: from the cache, or asked once however many wait, within bounds.

Comes in: a Query with an Ask. Goes out: an Answer, now or later, through a callback. Not here: sockets (``exchange``), who is asked
(``upstream``).

What is used often is fetched anew before it ends. What has ended is given all the same where nobody says it anew in time (RFC 8767),
and who has just failed is not asked again at once (RFC 9520).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from netloom.clock import Clock
from netloom.dns.answers import REFUSED, SERVFAIL, Answer, Ask, write_answer
from netloom.dns.cache import AnswerCache, Found, Question, Reply, read_reply
from netloom.dns.counters import Counters
from netloom.dns.upstream import Resolvers
from netloom.dns.wire import AA, CD, Malformed, Query, name_text
from netloom.errors import Unavailable

QUESTIONS_LIMIT = 1000
"""Different questions that may be open at once."""
WAITING_LIMIT = 10_000
"""Queries that may wait for them."""
STALE_AFTER_S = 0.6
"""So long a client waits for upstream servers where there is an answer of before (RFC 8767 section 5 has at most 1.8 s)."""
FAILED_S = 1.0
"""So long a question that nobody answered is not asked again (RFC 9520 section 3.2 has at least 1 s)."""
_FAILED_LIMIT = 10_000

log = logging.getLogger(__name__)


class _Open:
    """A question that has been sent upstream."""

    def __init__(self) -> None:
        self.waiters: list[_Waiter] = []


class _Waiter(msgspec.Struct, frozen=True, eq=False):
    """A query that waits for it."""

    query: Query
    ask: Ask
    done: Callable[[Answer], None]

    def tell(self, found: Found | None) -> None:
        """Answer it; None: nobody knows."""
        self.done(SERVFAIL if found is None else _answer(self.query, self.ask, found))


class Forwarder:
    """Answers what others know. ``tasks`` is entered by the owner, who also ends it."""

    def __init__(  # noqa: PLR0913 - who wires it names each part
        self,
        *,
        resolvers: Resolvers,
        cache: AnswerCache,
        clock: Clock,
        counters: Counters,
        tasks: asyncio.TaskGroup,
        announce: Callable[[Reply], Awaitable[None]],
        stale_after_s: float = STALE_AFTER_S,
    ) -> None:
        """``announce`` is awaited with each answer before anybody gets it."""
        self._announce = announce
        self._resolvers = resolvers
        self._cache = cache
        self._clock = clock
        self._counters = counters
        self._tasks = tasks
        self._stale_after_s = stale_after_s
        self._open: dict[Question, tuple[asyncio.Task[None], _Open]] = {}
        self._failed: dict[Question, float] = {}
        self._waiting = 0

    def ask(self, query: Query, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Have ``done`` called once: at once where the answer is known, or cannot be got."""
        if not query.recursion_desired or self._resolvers.group_of(ask.name) is None:
            done(write_answer(query.name, ask.prefix, flags=AA) if ask.prefix else REFUSED)
            return
        question = _question(query, ask)
        waiter = _Waiter(query, ask, done)
        found = self._cache.get(question)
        if found is not None and not found.is_stale:
            self._counters.cache_hits += 1
            waiter.tell(found)
            if found.is_wanted and question not in self._open and len(self._open) < QUESTIONS_LIMIT:
                self._counters.prefetched += 1
                self._send(question)
            return
        self._counters.cache_misses += 1
        if self._has_failed(question) or not self._has_room(question):
            self._give_up(waiter, found)
            return
        self._wait(question, waiter)
        if found is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._stale_after_s, partial(self._give_stale, question, waiter, found))

    def kept(self, query: Query, ask: Ask) -> Found | None:
        """What the cache has for this, be it stale; looking changes nothing but what was used last."""
        return self._cache.get(_question(query, ask))

    def close(self) -> None:
        """Stop asking; who waits gets no answer any more."""
        for task, _ in list(self._open.values()):
            task.cancel()

    def _has_room(self, question: Question) -> bool:
        is_open = question in self._open or len(self._open) < QUESTIONS_LIMIT
        if is_open and self._waiting < WAITING_LIMIT:
            return True
        self._counters.refused_busy += 1
        return False

    def _has_failed(self, question: Question) -> bool:
        until = self._failed.get(question)
        if until is not None and self._clock.monotonic() >= until:
            del self._failed[question]
            until = None
        return until is not None

    def _give_up(self, waiter: _Waiter, found: Found | None) -> None:
        self._counters.stale += found is not None
        waiter.tell(found)

    def _give_stale(self, question: Question, waiter: _Waiter, found: Found) -> None:
        """Upstream servers take their time: what was true before is better than nothing; they are still asked."""
        opened = self._open.get(question)
        if opened is not None and waiter in opened[1].waiters:
            opened[1].waiters.remove(waiter)
            self._waiting -= 1
            self._give_up(waiter, found)

    def _wait(self, question: Question, waiter: _Waiter) -> None:
        self._waiting += 1
        opened = self._open.get(question)
        (opened[1] if opened is not None else self._send(question)).waiters.append(waiter)

    def _send(self, question: Question) -> _Open:
        self._counters.forwarded += 1
        opened = _Open()
        task = self._tasks.create_task(self._resolve(question, opened), name="dns-forward")
        self._open[question] = (task, opened)
        return opened

    async def _resolve(self, question: Question, opened: _Open) -> None:
        reply = None
        began = self._clock.monotonic()
        try:
            message, server = await self._resolvers.exchange(question)
            reply = read_reply(question, message, str(server))
            await self._announce(reply)
            self._cache.put(reply)
            self._counters.upstream_seconds.observe(self._clock.monotonic() - began)
        except (Unavailable, Malformed, OSError):
            self._fail(question)
        except Exception:  # the boundary: what a stranger sent must not end the server
            self._counters.faults += 1
            self._fail(question)
            log.exception("upstream answer for %s type %d failed", name_text(question.name), question.type)
        finally:
            del self._open[question]
            self._waiting -= len(opened.waiters)
        found = Found(reply, 0) if reply is not None else self._of_before(question, opened)
        for waiter in opened.waiters:
            if reply is None:
                self._give_up(waiter, found)
            else:
                waiter.tell(found)

    def _of_before(self, question: Question, opened: _Open) -> Found | None:
        return self._cache.get(question) if opened.waiters else None

    def _fail(self, question: Question) -> None:
        self._counters.upstream_failures += 1
        if len(self._failed) >= _FAILED_LIMIT:
            del self._failed[next(iter(self._failed))]
        self._failed[question] = self._clock.monotonic() + FAILED_S


def _question(query: Query, ask: Ask) -> Question:
    wants_dnssec = query.edns is not None and query.edns.dnssec_ok
    return Question(ask.name, query.type, wants_dnssec, bool(query.flags & CD))


def _answer(query: Query, ask: Ask, found: Found) -> Answer:
    if not ask.prefix and not ask.owner:
        return found.reply.answer(found.age_s, stale=found.is_stale)
    try:
        return found.reply.answer_after(query, ask, found.age_s, stale=found.is_stale)
    except Malformed:
        return SERVFAIL
