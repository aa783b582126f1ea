"""Addresses of the domain names that policies speak of, as the node's DNS server tells them to its pods.

Comes in: the DNS process's word, before a pod gets it; which names policies mean. Goes out: inputs of the model (``KnownName``), and the word
that they are in force. An address is forgotten when its time is over, and some more, and no connection uses it any more. Not here: which
policy says what (the model), the DNS process's end (``dns/told``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.dns.frames import LENGTH, frame, length_of
from netloom.dns.told import InForce, Remembered, ToAgent, Told, Watch
from netloom.linux import netns
from netloom.linux.conntrack import Conntrack
from netloom.metrics import Sample, gauge
from netloom.model.inputs import NodeFacts
from netloom.model.policy.domains import KnownName
from netloom.model.policy.state import DomainPeers
from netloom.model.state import Delta, NetworkState
from netloom.program.conntrack import FlowFilter
from netloom.units import Addr, ObjectKey, family_of, parse_addr

log = logging.getLogger(__name__)

GRACE_S = 60.0
"""So long an address stays allowed after its ttl: programs keep what they were told for a little longer."""
_LOOK_S = 15.0
"""How often what has ended is looked for."""
_NAMES_LIMIT = 4096
_ADDRESSES_LIMIT = 1024
"""Of one name; the ones told of longest ago go first."""
_RETRY_S = (0.05, 0.2, 1.0)
_RECALL_S = 2.0
"""So long a start waits for what was told before it."""
_to_agent: msgspec.msgpack.Decoder[ToAgent] = msgspec.msgpack.Decoder(ToAgent)


class DomainNames:
    """What this node's pods were told of names that policies mean.

    Args:
        path: the socket of the DNS process (``dns.frames.told_beside``).
        mark: hands an input to the model; gives the number of its turn.
        in_force: waits for that turn.
        clock: the time.
        used: of some addresses, those that connections of this node lead to.
    """

    def __init__(
        self,
        *,
        path: Path,
        mark: Callable[[ObjectKey, KnownName | None], int],
        in_force: Callable[[int], Awaitable[None]],
        clock: Clock,
        used: Callable[[frozenset[Addr]], Awaitable[frozenset[Addr]]] | None = None,
    ) -> None:
        self._path = path
        self._mark = mark
        self._in_force = in_force
        self._clock = clock
        self._used = used if used is not None else used_addresses
        self._known: dict[str, dict[Addr, float]] = {}
        """By name: each address with the moment of its end, on the monotonic clock."""
        self._patterns: frozenset[str] = frozenset()
        self._writer: asyncio.StreamWriter | None = None
        self._recalled = asyncio.Event()

    # --- who is told what is in force (engine.Others)

    def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """All of this is in force: which names do policies mean?"""
        del facts
        self._watch(
            frozenset(n for key in state.policy.sets if isinstance(key, DomainPeers) for n in key.names)
        )

    def apply(self, delta: Delta) -> None:
        """This has come in force."""
        sets = {key: change for key, change in delta.policy.sets.items() if isinstance(key, DomainPeers)}
        come = {
            name for key, change in sets.items() if change is not None and change.is_new for name in key.names
        }
        if come - self._patterns:
            # What nobody means any more is told of a little longer, until the next start: that does no harm.
            self._watch(self._patterns | come)

    def _watch(self, patterns: frozenset[str]) -> None:
        if patterns != self._patterns:
            self._patterns = patterns
            self._say(Watch(tuple(sorted(patterns))))

    # --- the DNS process

    async def recall(self) -> None:
        """Return when what was told before our start is known; after two seconds in any case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECALL_S):
                await self._recalled.wait()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forget_in_time(), name="domains-forget")
            failures = 0
            while True:
                try:
                    reader, self._writer = await asyncio.open_unix_connection(self._path)
                    failures = 0
                    await self._listen(reader, tasks)
                except (OSError, asyncio.IncompleteReadError, ValueError, msgspec.DecodeError):
                    pass  # it ends, or is not there yet: what it told stays known
                finally:
                    self._recalled.set()  # whoever is not there, or not any more, has nothing to say of before
                    if self._writer is not None:
                        self._writer.transport.abort()
                        self._writer = None
                await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1

    async def _listen(self, reader: asyncio.StreamReader, tasks: asyncio.TaskGroup) -> None:
        if self._patterns:
            self._say(Watch(tuple(sorted(self._patterns))))
        while True:
            size = length_of(await reader.readexactly(LENGTH))
            message = _to_agent.decode(await reader.readexactly(size))
            if isinstance(message, Remembered):
                self._recalled.set()
            else:
                tasks.create_task(self._confirm(message.number, self._take(message)), name="domains-told")

    async def _confirm(self, number: int, mark: int | None) -> None:
        if mark is not None:
            await self._in_force(mark)
        self._say(InForce(number))

    def _say(self, message: Watch | InForce) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(frame(message))

    def _take(self, told: Told) -> int | None:
        """The number of the turn that puts it in force; None where it is already."""
        addresses = [a for text in told.addresses if (a := parse_addr(text)) is not None]
        until = self._clock.monotonic() + told.ttl_s + GRACE_S
        marks = [self._learn(name, addresses, until) for name in told.names]
        return max((mark for mark in marks if mark is not None), default=None)

    def _learn(self, name: str, addresses: list[Addr], until: float) -> int | None:
        held = self._known.get(name)
        if held is None:
            if len(self._known) >= _NAMES_LIMIT:
                log.warning("domain name %s is not followed: policies mean too many names at once", name)
                return None
            held = self._known[name] = {}
        before = held.keys() | set()
        for address in addresses:
            held[address] = max(until, held.pop(address, 0.0))
        while len(held) > _ADDRESSES_LIMIT:
            del held[next(iter(held))]
        return self._tell(name) if held.keys() != before else None

    def _tell(self, name: str) -> int:
        held = self._known.get(name)
        key = ObjectKey("", name)
        if not held:
            return self._mark(key, None)
        return self._mark(key, KnownName(name, tuple(sorted(held, key=lambda a: (a.version, a)))))

    # --- the end of what was told

    async def _forget_in_time(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self.forget()

    async def forget(self) -> None:
        """Forget addresses whose time is over and that no connection uses."""
        now = self._clock.monotonic()
        ended = {a for held in self._known.values() for a, until in held.items() if until <= now}
        if not ended:
            return
        used = await self._used(frozenset(ended))
        for name, held in list(self._known.items()):
            gone = [a for a, until in held.items() if until <= now and a not in used]
            for address in gone:
                del held[address]
            if gone:
                self._tell(name)
            if not held:
                del self._known[name]

    # --- who asks

    def report(self) -> list[dict[str, object]]:
        """Names with their addresses, and for how many seconds more."""
        now = self._clock.monotonic()
        return [
            {"name": name, "addresses": {str(a): round(until - now) for a, until in held.items()}}
            for name, held in sorted(self._known.items())
        ]

    def samples(self) -> Iterator[Sample]:
        """What is to be seen from outside."""
        help_text = "Domain names that policies mean and pods were told of."
        yield gauge("netloom_policy_domain_names", help_text, len(self._known))


async def used_addresses(addresses: frozenset[Addr]) -> frozenset[Addr]:
    """Of some addresses, those that connections lead to, as the kernel tracks them."""
    return await netns.run_in_async(None, functools.partial(_tracked, addresses))


def _tracked(addresses: frozenset[Addr]) -> frozenset[Addr]:
    found: set[Addr] = set()
    with Conntrack() as conntrack:
        for family in {family_of(address) for address in addresses}:
            flows = conntrack.dump(FlowFilter(family=family, protocol=None))
            found.update(flow.original.destination for flow in flows)
    return frozenset(found) & addresses
