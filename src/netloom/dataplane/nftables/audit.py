"""Watches over a node's table: what others change in it is noticed, named, repaired and reported.

In: commits of others, as they come, and the time. Out: a kernel that has what the plane put there, and :class:`Audit` values.
Two ways lead to an audit: the kernel's notification of a commit that was not ours, which looks at what that commit touched, and a slow
timer, which looks at everything. Nothing is compared while a change is being put in force: see :class:`Turns`.

Reading everything happens beside the changes (``suspects``); what looks wrong then is looked up again while the engine holds still. Whoever keeps changing our table gets at most a tenth of our time (:class:`Allowance`).
Not here: what is wrong and what it means (``drift``), what a commit touched (``scope``), how it is put right (``repair``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from netloom.clock import Clock
from netloom.dataplane.nftables import drift
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.contents import containers_of
from netloom.dataplane.nftables.drift import Difference, Drift
from netloom.dataplane.nftables.drift_words import described
from netloom.dataplane.nftables.reference import References
from netloom.dataplane.nftables.repair import Repairs
from netloom.dataplane.nftables.scope import Place, Scope, scope_of
from netloom.dataplane.nftables.skeleton import layout
from netloom.dataplane.nftables.suspects import suspects_in
from netloom.errors import NetloomError
from netloom.linux.nft_commits import Commit, Event, Overrun
from netloom.linux.nft_dump import NftDump
from netloom.linux.nft_events import AccountedNft, NftEvents
from netloom.model.inputs import NodeFacts
from netloom.model.state import NetworkState
from netloom.program import names
from netloom.program.nft import Key
from netloom.units import Family

log = logging.getLogger(__name__)

TIMER = "timer"
"""Cause of audits that nobody's doing made necessary."""
INTERVAL_S = 300.0
"""Seconds from one audit of everything to the next, give or take a tenth."""
_FIRST = 0.1
"""The first comes after this part of it."""
_RETRY_S = 0.25
"""Between two looks whether the engine has put the model in force."""
_SHARE = 0.1
_MOST_SAVED_S = 3.0
_MOST_OWED_S = 1.0
"""Nobody waits longer than ten seconds, however large the table."""
_MOST_TOLD = 100
"""Of more differences in one audit the number is told."""


class Turns(Protocol):
    """Who puts changes in force (the engine)."""

    @property
    def facts(self) -> NodeFacts:
        """What the node is, as it was programmed."""

    def still(self) -> AbstractAsyncContextManager[NetworkState | None]:
        """While this is held no change is put in force. Gives what is in force, None where that is not known."""


class Audit(msgspec.Struct, frozen=True):
    """One look at the table."""

    cause: str
    """``nft (process 4711)``, who committed; ``timer``; ``notifications were lost``."""
    everything: bool
    drifts: tuple[Drift, ...] = ()
    """At most the first hundred."""
    count: int = 0
    """Of all of them."""
    unrepaired: tuple[Drift, ...] = ()
    """Of these, what could not be put right."""
    seconds: float = 0.0


class Allowance:
    """A share of the time: who has used more waits.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._saved_s = _MOST_SAVED_S
        self._at = clock.monotonic()

    def wait_s(self) -> float:
        """Seconds to wait before more may be used."""
        now = self._clock.monotonic()
        self._saved_s = min(_MOST_SAVED_S, self._saved_s + (now - self._at) * _SHARE)
        self._at = now
        return max(0.0, -self._saved_s / _SHARE)

    def use(self, seconds: float) -> None:
        """So much was used."""
        self._saved_s = max(self._saved_s - seconds, -_MOST_OWED_S)


class Auditor:
    """Keeps what the plane has put into the kernel.

    Args:
        plane: whose table it is.
        nft: the one that the plane uses.
        turns: who uses the plane, and knows the node.
        report: is told of each audit that found something, and of each that looked at everything.
        clock: the time.
        netns_fd: the namespace of the table; None for the caller's own.
        interval_s: seconds between two audits of everything.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        plane: NftablesPlane,
        nft: AccountedNft,
        turns: Turns,
        report: Callable[[Audit], None],
        clock: Clock,
        netns_fd: int | None = None,
        interval_s: float = INTERVAL_S,
        rng: random.Random | None = None,
    ) -> None:
        self._plane = plane
        self._nft = nft
        self._turns = turns
        self._report = report
        self._clock = clock
        self._netns_fd = netns_fd
        self._interval_s = interval_s
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._references = References()
        self._allowance = Allowance(clock)
        self.ready = asyncio.Event()
        """Set once others are listened to."""

    async def run(self) -> None:
        """Watch until cancelled, from the moment that the whole cluster is in force: listening makes a load slower.

        Raises:
            KernelError: no right to listen.
            Unsupported: this kernel has no nftables.
        """
        await self._until_in_force()
        with (
            NftEvents(
                netns_fd=self._netns_fd, tables=(names.NFT_TABLE,), but_not=(self._nft.port,)
            ) as events,
            NftDump(netns_fd=self._netns_fd) as dump,
        ):
            due = self._clock.monotonic() + self._interval_s * _FIRST
            await self._prepare()
            self.ready.set()
            while True:
                found = await self._next(events, due)
                if found is not None and not found:
                    continue
                scope = Scope() if found else Scope(cause=TIMER, everything=True)
                if scope.everything:
                    due = self._clock.monotonic() + self._interval_s * (0.9 + 0.2 * self._rng.random())
                await self._insist(dump, found or [], scope)
                await asyncio.sleep(self._allowance.wait_s())

    async def audit(self) -> Audit:
        """Look at everything now; the way of tests and of whoever asks.

        Raises:
            KernelError: the kernel refused to be read, or to be repaired.
        """
        with NftDump(netns_fd=self._netns_fd) as dump:
            audit = None
            while audit is None:
                audit = await self._audit(dump, [], Scope(cause=TIMER, everything=True))
                if audit is None:
                    await asyncio.sleep(_RETRY_S)
            return audit

    async def _until_in_force(self) -> None:
        while True:
            async with self._turns.still() as state:
                if state is not None:
                    return
            await asyncio.sleep(_RETRY_S)

    async def _prepare(self) -> None:
        """The first audit after a commit should not have to make references."""
        try:
            for family, table in self._plane.tables.items():
                await self._references.table(layout(self._turns.facts, family), table)
        except NetloomError as error:
            log.warning("rules cannot be watched on %s: %s", self._turns.facts.name, error)

    async def _next(self, events: NftEvents, due: float) -> list[Event] | None:
        """What has been done to our table, perhaps nothing; None when it is time to look at everything."""
        try:
            async with asyncio.timeout(max(0.0, due - self._clock.monotonic())):
                first = await events.next()
        except TimeoutError:
            return None
        # Most of what others do is in tables of their own.
        return [event for event in (first, *events.pending()) if isinstance(event, Overrun) or event.changes]

    async def _insist(self, dump: NftDump, events: list[Event], scope: Scope) -> None:
        """Audit; where that cannot be done now, later."""
        while True:
            try:
                audit = await self._audit(dump, events, scope)
            except (NetloomError, OSError) as error:
                log.warning("audit of nftables on %s, again in a moment: %s", self._turns.facts.name, error)
                audit = None
            if audit is not None:
                if audit.drifts or audit.everything:
                    self._report(audit)
                return
            await asyncio.sleep(max(_RETRY_S, self._allowance.wait_s()))

    async def _audit(self, dump: NftDump, events: list[Event], scope: Scope) -> Audit | None:
        """One audit; None where nothing is in force to compare with."""
        if scope.is_empty:
            async with self._turns.still() as state:
                if state is None:
                    return None
                began = self._clock.monotonic()
                containers = {family: containers_of(table) for family, table in self._plane.tables.items()}
                foreign = (e for e in events if not (isinstance(e, Commit) and self._nft.made(e)))
                scope = scope_of(foreign, containers)
                if not scope.needs_reading:
                    found = await self._settle(dump, state, scope) if not scope.is_empty else Findings()
                    return self._told(scope, found, began)
        began = self._clock.monotonic()
        keys = await self._read(dump, scope)
        shapes = frozenset(self._plane.tables) if scope.everything else scope.shapes
        async with self._turns.still() as state:
            if state is None:
                return None
            found = await self._settle(dump, state, msgspec.structs.replace(scope, shapes=shapes, keys=keys))
            return self._told(scope, found, began)

    def _told(self, scope: Scope, found: Findings, began: float) -> Audit:
        seconds = self._clock.monotonic() - began
        if scope.cause != TIMER:
            self._allowance.use(seconds)
        return Audit(
            cause=scope.cause,
            everything=scope.everything,
            drifts=tuple(found.drifts[:_MOST_TOLD]),
            count=found.count,
            unrepaired=tuple(found.unrepaired[:_MOST_TOLD]),
            seconds=seconds,
        )

    # --- reading beside the changes ----------------------------------------------------------------------------------

    async def _read(self, dump: NftDump, scope: Scope) -> dict[Place, frozenset[Key]]:
        """The keys at which something looks wrong in the containers of the scope; those of the scope, too."""
        suspects = {place: set(keys) for place, keys in scope.keys.items()}
        for family, table in self._plane.tables.items():
            places = [
                container
                for name, container in containers_of(table).items()
                if scope.everything or (family, name) in scope.whole
            ]
            for name, keys in (await suspects_in(dump, table, places)).items():
                suspects.setdefault((family, name), set()).update(keys)
        return {place: frozenset(keys) for place, keys in suspects.items()}

    # --- while the engine holds still --------------------------------------------------------------------------------

    async def _settle(self, dump: NftDump, state: NetworkState, scope: Scope) -> Findings:
        """Look again at what looked wrong, and put it right."""
        facts = self._turns.facts
        if not self._plane.tables:
            await self._plane.start(state, facts)
        repairs = Repairs(plane=self._plane, nft=self._nft, dump=dump, references=self._references)
        found = Findings()
        shapes: dict[Family, list[Drift]] = {}
        wrong: dict[Family, list[Difference]] = {}
        for family, table in self._plane.tables.items():
            shapes[family] = (
                await repairs.shape_drifts(family, state, facts) if family in scope.shapes else []
            )
            found.add(shapes[family], len(shapes[family]))
            keys = {name: some for (where, name), some in scope.keys.items() if where is family}
            if keys and not drift.is_gone(shapes[family]):
                wrong[family] = await repairs.differences(table, keys)
                some = wrong[family][:_MOST_TOLD]
                found.add((described(one, state, table, facts.name) for one in some), len(wrong[family]))
        if any(shapes.values()):
            found.unrepaired = await repairs.shapes(state, facts, shapes)
            for family in wrong:  # a start has compared all of them
                keys = {name: some for (where, name), some in scope.keys.items() if where is family}
                wrong[family] = await repairs.differences(self._plane.tables[family], keys)
        if any(wrong.values()):
            await repairs.elements(state, facts, wrong)
        return found


class Findings:
    """What an audit has found so far."""

    def __init__(self) -> None:
        self.drifts: list[Drift] = []
        self.count = 0
        self.unrepaired: list[Drift] = []

    def add(self, drifts: Iterator[Drift] | list[Drift], count: int) -> None:
        """Some of ``count`` more."""
        self.drifts.extend(drifts)
        self.count += count
