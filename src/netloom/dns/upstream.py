"""A question to a group of upstream servers: who is asked, when the next one is asked beside it, whose answer counts.

Comes in: a Question. Goes out: the bytes of an answer. Not here: how one server is asked (``exchange``, ``tls``), what is kept, who waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence

from netloom.dns.cache import Question
from netloom.dns.config import Checked, Group, Policy
from netloom.dns.counters import Counters
from netloom.dns.exchange import Failed, by_udp
from netloom.dns.health import Health
from netloom.dns.servers import Server
from netloom.dns.tls import TlsPool
from netloom.dns.wire import name_text, suffixes
from netloom.errors import Unavailable

Said = tuple[bytes, Server]
"""An answer, and the server that gave it."""


class Upstreams:
    """One group of servers.

    Args:
        servers: in order of preference.
        counters: what happened.
        tls: connections of those that are asked over TLS.
        policy: the order among those that answer.
        attempt_s: so long a server may be silent before the next one is asked beside it.
        total_s: so long a question may take in all.
    """

    def __init__(
        self,
        *,
        servers: Sequence[Server],
        counters: Counters,
        tls: TlsPool,
        policy: Policy = Policy.SEQUENTIAL,
        attempt_s: float = 0.3,
        total_s: float = 4.0,
    ) -> None:
        self._counters = counters
        self._tls = tls
        self._policy = policy
        self._attempt_s = attempt_s
        self.total_s = total_s
        self._turn = 0
        self._size = len(servers)
        self.health = Health(servers, self._ask)

    def __len__(self) -> int:
        return self._size

    async def exchange(self, question: Question) -> Said:
        """The first usable answer, and whose it is. Each server that is silent for ``attempt_s`` has the next one asked beside it.

        Raises:
            Unavailable: nobody answered within ``total_s``, or nobody had anything to say.
        """
        answer = None
        problem = "every upstream server refused or cannot be reached"
        try:
            async with asyncio.timeout(self.total_s), asyncio.TaskGroup() as tasks:
                tries: list[asyncio.Task[Said | None]] = []
                answer = await self._race(question, tasks, tries)
                for one in tries:
                    one.cancel()
        except TimeoutError:
            problem = "nobody answered in time"
        if answer is None:
            raise Unavailable(
                f"upstream answer for {name_text(question.name)}: {problem}", "see the upstreams of this node"
            )
        return answer

    async def _race(
        self, question: Question, tasks: asyncio.TaskGroup, tries: list[asyncio.Task[Said | None]]
    ) -> Said | None:
        waiting: set[asyncio.Task[Said | None]] = set()
        for number, server in enumerate(self._order() * 2):
            self._counters.upstream_retries += number > 0
            one = tasks.create_task(self._try(question, server), name="dns-upstream")
            tries.append(one)
            waiting.add(one)
            done, waiting = await asyncio.wait(
                waiting, timeout=self._attempt_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                self.health.silent(server)
            if (answer := _best(done)) is not None:
                return answer
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if (answer := _best(done)) is not None:
                return answer
        return None

    async def _try(self, question: Question, server: Server) -> Said | None:
        try:
            answer = await self._ask(question, server)
        except Failed as failed:
            if failed.answered:
                self.health.answered(server)
            else:
                self.health.silent(server)
            return None
        self.health.answered(server)
        return answer, server

    async def _ask(self, question: Question, server: Server) -> bytes:
        if server.tls:
            return await self._tls.exchange(question, server)
        return await by_udp(question, server)

    def _order(self) -> tuple[Server, ...]:
        order = self.health.order()
        healthy = [server for server in order if server not in self.health.down]
        rest = order[len(healthy) :]
        if self._policy is Policy.RANDOM:
            random.shuffle(healthy)
        elif self._policy is Policy.ROUND_ROBIN and healthy:
            self._turn = (self._turn + 1) % len(healthy)
            healthy = healthy[self._turn :] + healthy[: self._turn]
        return (*healthy, *rest)


class Resolvers:
    """Groups of servers by the domain that they are asked about.

    Args:
        others: the group for every name without one of its own; None: such names are refused.
        stubs: by domain, as a name on the wire in lower case; the longest that a name is in counts.
    """

    def __init__(self, others: Upstreams | None, stubs: Mapping[bytes, Upstreams] = {}) -> None:
        self._others = others
        self._stubs = dict(stubs)

    @classmethod
    def of(cls, checked: Checked, *, counters: Counters, tls: TlsPool) -> Resolvers:
        """As a configuration has them."""

        def upstreams(group: Group) -> Upstreams:
            return Upstreams(
                servers=group.servers,
                counters=counters,
                tls=tls,
                policy=group.policy,
                attempt_s=checked.settings.attempt_s,
            )

        stubs = {domain: upstreams(group) for domain, group in checked.stubs.items()}
        return cls(upstreams(checked.others), stubs)

    def group_of(self, name: bytes) -> Upstreams | None:
        """Who is asked about a name (on the wire, lower case)."""
        if self._stubs:
            for at in suffixes(name):
                if (stub := self._stubs.get(name[at:])) is not None:
                    return stub if len(stub) else None
        others = self._others
        return others if others is not None and len(others) else None

    async def exchange(self, question: Question) -> Said:
        """The answer of the group that is asked about this name, and whose it is.

        Raises:
            Unavailable: there is none, or it has no answer.
        """
        group = self.group_of(question.name)
        if group is None:
            problem = f"upstream answer for {name_text(question.name)}: nobody is asked about it"
            raise Unavailable(problem, "give this node an upstream server")
        return await group.exchange(question)

    @property
    def groups(self) -> tuple[Upstreams, ...]:
        """All groups, each once."""
        others = [self._others] if self._others is not None else []
        return tuple(dict.fromkeys([*others, *self._stubs.values()]))

    async def run(self) -> None:
        """Probe servers that are down, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for group in self.groups:
                tasks.create_task(group.health.run(), name="dns-health")


def _best(done: set[asyncio.Task[Said | None]]) -> Said | None:
    for one in done:
        with contextlib.suppress(asyncio.CancelledError):
            if (answer := one.result()) is not None:
                return answer
    return None
