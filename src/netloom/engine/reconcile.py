"""The loop: changes -> model -> compile and apply -> ack. One writer, no knowledge of any plane.

Nothing is programmed before every watch has been read once (`start` gets the whole). After a failure the kernel may
hold anything: the next turn falls back to comparing all of it with the model, as at the start.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

from netloom.clock import Clock
from netloom.dataplane.face import Dataplane
from netloom.engine.acks import Acks
from netloom.engine.pending import Pending, Taken, is_empty
from netloom.errors import KernelError, NetloomError
from netloom.fabric.face import Fabric
from netloom.linux.libc import give_back_memory
from netloom.model.inputs import Changes, NodeFacts
from netloom.model.network import Network
from netloom.model.provenance import Finding
from netloom.model.state import Delta, NetworkState

log = logging.getLogger(__name__)

RETRY_S = (0.05, 0.2, 1.0, 5.0)
"""Seconds to wait after the first, second ... failure in a row."""


class Names(Protocol):
    """Who is told of changes for the cluster's DNS."""

    def update(self, changes: Changes) -> None:
        """Take note; must not block and must not fail."""


class Others(Protocol):
    """Who serves what the model says besides the kernel; told when the kernel has it."""

    def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """This is in force, all of it; must not block and must not fail."""

    def apply(self, delta: Delta) -> None:
        """This has come in force; must not block and must not fail."""


class WaysOut(Protocol):
    """Who leads what leaves by other nodes' addresses; one task at a time, told before the plane is."""

    async def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """Bring the kernel to this; KernelError."""

    async def apply(self, delta: Delta) -> None:
        """Put a change in force; KernelError."""


class Engine:
    """Keeps one node's kernel equal to the model."""

    def __init__(  # noqa: PLR0913 - the composition root names each part
        self,
        *,
        facts: NodeFacts,
        plane: Dataplane,
        fabric: Fabric,
        names: Names,
        acks: Acks,
        clock: Clock,
        report: Callable[[Iterable[Finding]], None],
        others: tuple[Others, ...] = (),
        ways_out: WaysOut | None = None,
        on_turn: Callable[[float], None] = lambda _: None,
    ) -> None:
        """``on_turn`` is called after each turn that succeeded, with the monotonic time at which it began."""
        self._facts = facts
        self._network = Network(facts)
        self._plane = plane
        self._fabric = fabric
        self._names = names
        self._acks = acks
        self._clock = clock
        self._report = report
        self._others = others
        self._ways_out = ways_out
        self._on_turn = on_turn
        self._new_facts: NodeFacts | None = None
        self._known_findings: tuple[Finding, ...] = ()
        self._in_force = False
        self._turning = asyncio.Lock()

    @property
    def is_in_force(self) -> bool:
        """True once the whole cluster has been programmed, and no failure since is unhealed."""
        return self._in_force

    @property
    def network(self) -> Network:
        """The model of this node."""
        return self._network

    @property
    def facts(self) -> NodeFacts:
        """What this node is, as it has been programmed."""
        return self._facts

    def refit(self, facts: NodeFacts) -> None:
        """This node is something else from now on; the next turn programs all of it anew. Wake the pending changes, too."""
        self._new_facts = facts

    @asynccontextmanager
    async def still(self) -> AsyncIterator[NetworkState | None]:
        """While this is held no change is put in force. Gives what is in force; None where that is not known."""
        async with self._turning:
            yield self._network.state if self._in_force else None

    async def run(self, pending: Pending) -> None:
        """Until cancelled. The first take must hold everything the watches listed."""
        failures = 0
        while True:
            taken = pending.take_now() if failures else await pending.take()
            try:
                await self.turn(taken)
                failures = 0
            except (NetloomError, OSError) as error:
                wait = RETRY_S[min(failures, len(RETRY_S) - 1)]
                failures += 1
                log.error("not in force, again in %.2f s: %s", wait, error)  # noqa: TRY400 - says all in one line
                await asyncio.sleep(wait)

    async def turn(self, taken: Taken) -> None:
        """Put these changes in force.

        Raises:
            KernelError: the kernel refused. The model has taken the changes: the next turn compares everything,
                so nothing is lost, and nothing has to be given back.
        """
        async with self._turning:
            await self._turn(taken)

    async def _turn(self, taken: Taken) -> None:
        began = self._clock.monotonic()
        self._acks.taken(taken)
        delta = Delta() if is_empty(taken.changes) else self._network.update(taken.changes)
        self._take_facts()
        self._show(self._network.findings)
        try:
            if self._in_force:
                await self._apply(delta)
            else:
                await self._apply_all()
        except KernelError:
            self._acks.refused()
            raise
        finally:
            # after the kernel, so that a name never leads to an address that is not served yet; and also where the
            # kernel refused, for these changes are not offered again
            self._names.update(taken.changes)
        self._acks.applied(began=began, ended=self._clock.monotonic())
        self._on_turn(began)

    def _take_facts(self) -> None:
        """Be what this node is now. The kernel is compared as a whole: any rule may speak of the node."""
        facts, self._new_facts = self._new_facts, None
        if facts is None or facts == self._facts:
            return
        log.info(
            "this node has changed: addresses %s, pods %s", _texts(facts.addresses), _texts(facts.pod_cidrs)
        )
        self._network.refit(facts)
        self._facts = facts
        self._in_force = False

    async def _apply(self, delta: Delta) -> None:
        try:
            if delta.routes:
                await self._fabric.apply(delta.routes)
            if not delta.is_empty:
                if self._ways_out is not None:
                    await self._ways_out.apply(delta)
                await self._plane.apply(delta)
        except KernelError as error:
            log.warning("a change was refused, comparing everything: %s", error)
            self._acks.refused()
            self._in_force = False
            await self._apply_all()
            return
        for other in self._others:
            other.apply(delta)

    async def _apply_all(self) -> None:
        state = self._network.state
        await self._fabric.start(state.routes, self._facts)
        if self._ways_out is not None:
            await self._ways_out.start(state, self._facts)
        await self._plane.start(state, self._facts)
        for other in self._others:
            other.start(state, self._facts)
        self._in_force = True
        if not gc.isenabled():
            # the process started without collections (agent.main): a whole cluster's objects live long, and what
            # comes after them need not pay for looking at them again and again
            gc.freeze()
            gc.enable()
            give_back_memory()  # what the lists and the first program took for a moment

    def _show(self, findings: tuple[Finding, ...]) -> None:
        if findings == self._known_findings:
            return
        new = set(findings) - set(self._known_findings)
        self._known_findings = findings
        if new:
            self._report(sorted(new))


def _texts(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or "none"
