"""This node's dropped packets: read from the kernel, named, kept for a while, counted, and told to who asks or follows.

In: NFLOG. Out: a report, a stream, samples. Bounded: the last drops are kept, a follower who does not read loses some, and the
metrics know so many policies. Not here: names (``observe/drops``), the socket (``questions``).
"""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import AsyncGenerator, Callable, Iterable

from netloom.errors import KernelError, Unsupported
from netloom.linux.ip_headers import read_headers
from netloom.linux.nflog import Logged, Missed, Nflog
from netloom.metrics import Sample, counter
from netloom.observe.drops import Drop, DropNamer, DropReport
from netloom.program.names import NFT_DENIED_PREFIX, NFT_LOG_GROUP

log = logging.getLogger(__name__)

_KEPT = 1000
_MOST_UNREAD = 1000
_MOST_POLICIES = 200
_OTHERS = "others"
_UNKNOWN = "unknown"
_AGAIN_S = 30.0
"""Until another try where somebody else listens to our group."""


class DropWatch:
    """Follows the drops of the network namespace that it runs in; see ``run``.

    Args:
        node: this node's name.
        namer: gives them names.
        listen: opens the group.
    """

    def __init__(
        self, *, node: str, namer: DropNamer, listen: Callable[[], Nflog] = lambda: Nflog(NFT_LOG_GROUP)
    ) -> None:
        self._node = node
        self._namer = namer
        self._listen = listen
        self._kept: collections.deque[Drop] = collections.deque(maxlen=_KEPT)
        self._counts: dict[tuple[str, str], int] = {}
        self._seen = 0
        self._missed = 0
        self._problem = "not listening yet"
        self._followers: set[asyncio.Queue[Drop]] = set()

    async def run(self) -> None:
        """Until cancelled. Where nothing can be heard, :meth:`report` says why; the network works all the same."""
        while True:
            try:
                with self._listen() as nflog:
                    self._problem = ""
                    while True:
                        self.take(await nflog.next())
            except (KernelError, Unsupported) as error:
                self._problem = str(error)
                log.warning("drops are not seen: %s", error)
            await asyncio.sleep(_AGAIN_S)

    def take(self, logged: Iterable[Logged]) -> None:
        """These were logged."""
        for one in logged:
            if isinstance(one, Missed):
                self._missed += one.count
                continue
            headers = read_headers(one.family, one.data)
            if headers is None or not one.prefix.startswith(NFT_DENIED_PREFIX):
                continue
            self._seen += 1
            drop = self._namer.name(self._seen, headers, one.prefix, one.at)
            self._count(drop)
            self._kept.append(drop)
            for follower in self._followers:
                if not follower.full():
                    follower.put_nowait(drop)

    def report(self) -> DropReport:
        """The last drops, and how many there were."""
        return self._reported(tuple(self._kept))

    async def follow(self) -> AsyncGenerator[DropReport, None]:
        """First what :meth:`report` says, then one with each drop that comes; their numbers say where some were left out."""
        queue: asyncio.Queue[Drop] = asyncio.Queue(_MOST_UNREAD)
        self._followers.add(queue)
        try:
            yield self.report()
            while True:
                yield self._reported((await queue.get(),))
        finally:
            self._followers.discard(queue)

    def _reported(self, drops: tuple[Drop, ...]) -> DropReport:
        return DropReport(self._node, self._seen, self._missed, self._problem, drops)

    def samples(self) -> Iterable[Sample]:
        """For the page of metrics."""
        for (direction, policy), count in sorted(self._counts.items()):
            yield counter(
                "netloom_policy_drops_total",
                "Packets that policies dropped, as far as they were logged: at most 50 a second for each rule.",
                count,
                direction=direction,
                policy=policy,
            )
        yield counter(
            "netloom_policy_drops_missed_total",
            "Dropped packets that were logged faster than they could be read.",
            self._missed,
        )

    def _count(self, drop: Drop) -> None:
        source = drop.rule or next(iter(drop.policies), None)
        key = (drop.direction or _UNKNOWN, source.subject if source is not None else _UNKNOWN)
        if key not in self._counts and len(self._counts) >= _MOST_POLICIES:
            key = (key[0], _OTHERS)
        self._counts[key] = self._counts.get(key, 0) + 1
