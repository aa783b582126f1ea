"""Drops of all nodes as they happen, by whose packet it was. In: the agents' sockets. Out: the drop of a packet, as soon as it is told.

Whoever sent a packet learns in milliseconds that a policy dropped it, instead of waiting for an answer that does not come. Where an
agent does not tell, a wait is all there is.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping

import msgspec

from netloom.errors import NetloomError
from netloom.observe.drops import Drop, DropReport

_READY_S = 3.0
_REMEMBERED = 4096

Flow = tuple[str, str, int]
"""Protocol in lower case, address and port of the sender."""

Follow = Callable[[], AsyncGenerator[bytes, None]]
"""What an agent tells, line by line (``agent.questions.follow``)."""


class DropFeed:
    """Hears the agents. ``run`` until cancelled; ``ready`` when all of them tell, or do not.

    Args:
        nodes: by node, how to follow its drops.
    """

    def __init__(self, nodes: Mapping[str, Follow]) -> None:
        self._nodes = dict(nodes)
        self._silent = set(self._nodes)
        self._all_told = asyncio.Event()
        self._waiting: dict[Flow, asyncio.Future[Drop]] = {}
        self._recent: collections.OrderedDict[Flow, Drop] = collections.OrderedDict()
        self._watchers: set[Callable[[Drop], None]] = set()
        self.problems: dict[str, str] = {}
        """By node, why its drops are not heard."""

    async def run(self) -> None:
        """Until cancelled; an agent that does not tell is noted."""
        if not self._nodes:
            self._all_told.set()
        async with asyncio.TaskGroup() as tasks:
            for node, follow in self._nodes.items():
                tasks.create_task(self._hear(node, follow), name=f"drops of {node}")

    async def ready(self) -> None:
        """Return when every agent tells, or has failed to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                await self._all_told.wait()
        for node in self._silent:
            self.problems.setdefault(node, "its agent has not said anything yet")

    def expect(self, flow: Flow) -> asyncio.Future[Drop]:
        """The drop of a packet with this sender; done already where it was told before."""
        found: asyncio.Future[Drop] = asyncio.get_running_loop().create_future()
        known = self._recent.pop(flow, None)
        if known is not None:
            found.set_result(known)
        else:
            self._waiting[flow] = found
        return found

    def forget(self, flow: Flow) -> None:
        """Nobody waits for this one any more."""
        found = self._waiting.pop(flow, None)
        if found is not None:
            found.cancel()

    @contextlib.contextmanager
    def watched(self, on_drop: Callable[[Drop], None]) -> Iterator[None]:
        """Meanwhile, tell of each drop that nobody expects."""
        self._watchers.add(on_drop)
        try:
            yield
        finally:
            self._watchers.discard(on_drop)

    async def _hear(self, node: str, follow: Follow) -> None:
        try:
            async with contextlib.aclosing(follow()) as told:
                async for line in told:
                    report = msgspec.json.decode(line, type=DropReport)
                    if node in self._silent:
                        self._told(node, report.problem)
                        continue  # what was before we asked
                    for drop in report.drops:
                        self._take(drop)
            self._told(node, "its agent has ended")
        except (NetloomError, msgspec.MsgspecError) as error:
            self._told(node, str(error))

    def _told(self, node: str, problem: str) -> None:
        if problem:
            self.problems[node] = problem
        self._silent.discard(node)
        if not self._silent:
            self._all_told.set()

    def _take(self, drop: Drop) -> None:
        flow = (drop.protocol, drop.source.address, drop.source.port)
        waiting = self._waiting.pop(flow, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(drop)
            return
        self._recent[flow] = drop
        while len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        for watcher in self._watchers:
            watcher(drop)
