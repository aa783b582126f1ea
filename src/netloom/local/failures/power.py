"""Switches nodes of a local cluster off and on, in process 1. In: wishes; out: processes that end or start, and cables.

A node is a machine: its processes, its pods, a network namespace with all of the kernel's state in it, and a directory, which is its disk.
Switched off it has the directory only; on again it begins with it, in a new namespace, as a machine that boots. One that is killed says
nothing to anybody: its cable goes first, so that no connection is ended before its power is gone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.errors import AlreadyExists, NetloomError, NotFound
from netloom.linux import process_table
from netloom.local.failures.cables import Cables
from netloom.local.failures.desk import Desk
from netloom.local.failures.words import Answer, Cut, Heal, Look, Slow, State, Switch, Wish
from netloom.local.init import Child, Init
from netloom.local.paths import ClusterPaths
from netloom.local.roles import Machine
from netloom.local.runner.records import Records
from netloom.local.runner.sandbox import start_ticks
from netloom.local.underlay import NodeRoom

log = logging.getLogger(__name__)

_STOP_S = 5.0
"""Seconds that everything on a node has to end when it is switched off in order."""
_KILLED_S = 20.0
_LOOK_S = 0.05


class Power:
    """The nodes of a cluster, on and off; does everything that is wished at the desk.

    Args:
        nodes: names of all nodes.
        machines: those that are on, which is all of them at the start.
        build: makes the processes of a node in a new namespace.
    """

    def __init__(
        self,
        *,
        paths: ClusterPaths,
        nodes: Sequence[str],
        machines: Iterable[Machine],
        cables: Cables,
        build: Callable[[NodeRoom], Machine],
        clock: Clock,
    ) -> None:
        self._paths = paths
        self._nodes = tuple(nodes)
        self._on = {machine.room.name: machine for machine in machines}
        self._cables = cables
        self._build = build
        self._clock = clock
        self._desk = Desk(paths.failures_socket)
        self._own_net = process_table.net_of("/proc/self/ns/net")

    def serve(self, init: Init) -> None:
        """Do what is wished at the desk; called when somebody came."""
        self._desk.serve(lambda wish: self._do(wish, init))

    def let_go(self, child: Child) -> None:
        """What a child of process 1 does first: it keeps no other machine's namespace alive, and hears no wishes."""
        self._desk.close()
        for name, machine in self._on.items():
            if name != child.machine:
                machine.close()

    @property
    def state(self) -> State:
        """What is off, cut and slow."""
        off = tuple(name for name in self._nodes if name not in self._on)
        return msgspec.structs.replace(self._cables.state, off=off)

    def _do(self, wish: Wish, init: Init) -> Answer:
        match wish:
            case Switch(node, to):
                self._switch(self._known(node), to, init)
            case Cut(nodes):
                self._cables.cut(self._all_known(nodes))
            case Heal(nodes):
                rooms = {name: machine.room for name, machine in self._on.items()}
                self._cables.heal(self._all_known(nodes), rooms)
            case Slow(node, delay):
                machine = self._on.get(self._known(node))
                self._cables.slow(node, delay, machine.room if machine else None)
            case Look():
                pass
        log.info("%s", wish)
        return self.state

    def _known(self, node: str) -> str:
        if node not in self._nodes:
            raise NotFound(
                f"node {node} of cluster {self._paths.root.name}", f"its nodes are {', '.join(self._nodes)}"
            )
        return node

    def _all_known(self, nodes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(self._known, nodes))

    def _switch(self, node: str, to: str, init: Init) -> None:
        if to == "on":
            if node in self._on:
                raise AlreadyExists(
                    f"node {node} is on", f"see: netloom node ls --name {self._paths.root.name}"
                )
            self._switch_on(node, init)
            return
        machine = self._on.get(node)
        if machine is None:
            raise AlreadyExists(f"node {node} is off", f"switch it on: netloom node start {node}")
        if to == "off":
            self._shut_down(machine, init)
        self._cables.unplug(node)
        self._kill(machine, init)
        del self._on[node]
        machine.close()

    def _switch_on(self, node: str, init: Init) -> None:
        room = self._cables.plug(node)
        try:
            machine = self._build(room)
        except (NetloomError, OSError):
            self._cables.unplug(node)
            os.close(room.netns)
            raise
        self._on[node] = machine
        init.add(machine.children)

    def _shut_down(self, machine: Machine, init: Init) -> None:
        """Ask its own processes to end, then its pods, and wait a little: a runner that still lives would start pods again."""
        roots = set(init.retire(child.name for child in machine.children))
        deadline = self._clock.monotonic() + _STOP_S
        told: set[int] = set()
        while (living := self._living(machine, roots)) and self._clock.monotonic() < deadline:
            for pid in (living & roots or living) - told:
                _signal(pid, signal.SIGTERM)
                told.add(pid)
            init.pass_time(_LOOK_S)

    def _kill(self, machine: Machine, init: Init) -> None:
        """End everything on it at once, pods and what is in them too."""
        roots = init.retire(child.name for child in machine.children)
        for pid in roots:
            _freeze(pid)  # so that none is born where we have looked already
        deadline = self._clock.monotonic() + _KILLED_S
        while (living := self._living(machine, roots)) and self._clock.monotonic() < deadline:
            for pid in living:
                _signal(pid, signal.SIGKILL)
            init.pass_time(_LOOK_S)
        if living:
            log.error("node %s is off, and processes %s of it do not end", machine.room.name, sorted(living))

    def _living(self, machine: Machine, roots: Iterable[int]) -> set[int]:
        node = self._paths.node(machine.room.name)
        holders = _holders(node.root / "sandboxes")
        found = process_table.entries()
        net = process_table.net_of(machine.room.netns)
        return process_table.belonging(found, roots=(*roots, *holders), nets=(net,), foreign=self._own_net)


def _holders(directory: Path) -> list[int]:
    """Processes that hold pods, whose runner may be long gone."""
    try:
        records = Records(directory).all()
    except NetloomError:
        return []
    return [r.pid for r in records if r.pid > 0 and start_ticks(r.pid) == r.start_ticks]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _freeze(pid: int) -> None:
    """Stop a child of ours, and wait until it is stopped or has ended."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
