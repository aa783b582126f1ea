"""The cables of a local cluster's nodes: pulled, parted, slowed and mended. In: wishes; out: what the cluster's own namespace has for them.

A cable that is pulled has lost its carrier, as the node sees. Between two nodes packets just vanish, whichever way they take through the
underlay: what comes in by one's port is marked, and must not go out by the other's. Both outlive the nodes: one that is switched
off and on again finds its cable as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netloom.errors import KernelError, Unsupported, UsageError
from netloom.linux.nft import load_now
from netloom.linux.rtnl import Rtnl
from netloom.linux.tc import Tc, is_missing
from netloom.local.failures.words import Delay, State
from netloom.local.settings import ClusterSettings
from netloom.local.underlay import NODE_DEVICE, NodeRoom, plug
from netloom.program.names import LINKS_TABLE
from netloom.program.tc import Impairment

_QUEUE_PACKETS = 10_000
"""That may wait in a slow cable: half a second at the rate of a busy pod."""


class Cables:
    """What is wrong with them; lives in the cluster's own network namespace."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._pulled: set[str] = set()
        self._apart: set[tuple[str, str]] = set()
        self._slow: dict[str, Delay] = {}

    @property
    def state(self) -> State:
        """What is cut and slow."""
        return State(
            pulled=tuple(sorted(self._pulled)), apart=tuple(sorted(self._apart)), slow=dict(self._slow)
        )

    def plug(self, name: str) -> NodeRoom:
        """A new network namespace for a node, at its cable.

        Raises:
            KernelError: the kernel refused a link, an address or a route.
        """
        room = plug(self._settings, name)
        if name in self._slow:
            self._impair(room, self._slow[name])
        if name in self._pulled:
            self._carry(name, is_up=False)
        return room

    def unplug(self, name: str) -> None:
        """Take a node's cable away, both ends."""
        with Rtnl() as cluster:
            cluster.delete_link(name)

    def cut(self, nodes: tuple[str, ...]) -> None:
        """Pull the cable of one node, or part two.

        Raises:
            UsageError: twice the same node.
            KernelError: the kernel refused it.
        """
        if len(nodes) == 1:
            self._carry(nodes[0], is_up=False)
            self._pulled.add(nodes[0])
            return
        self._part(self._apart | {_pair(nodes)})

    def heal(self, nodes: tuple[str, ...], rooms: Mapping[str, NodeRoom]) -> None:
        """Undo what was done: to one node's cable and between it and others, between two nodes, or, without a node, everything.

        Raises:
            UsageError: twice the same node.
            KernelError: the kernel refused it.
        """
        if len(nodes) == 2:
            self._part(self._apart - {_pair(nodes)})
            return
        mended = set(nodes) or self._pulled | set(self._slow)
        self._part({pair for pair in self._apart if nodes and nodes[0] not in pair})
        for name in mended & self._pulled:
            self._carry(name, is_up=True)
            self._pulled.discard(name)
        for name in mended & set(self._slow):
            if name in rooms:
                self._repair(rooms[name])
            del self._slow[name]

    def slow(self, name: str, delay: Delay, room: NodeRoom | None) -> None:
        """Let packets of a node wait, now and whenever it is on; no delay and no loss mends it.

        Raises:
            Unsupported: this kernel cannot.
        """
        if room is not None:
            self._repair(room)
            if delay != Delay():
                self._impair(room, delay)
        self._slow.pop(name, None)
        if delay != Delay():
            self._slow[name] = delay

    def _carry(self, name: str, *, is_up: bool) -> None:
        with Rtnl() as cluster:
            if cluster.find_link(name) is None:
                return  # the node is off
            if is_up:
                cluster.set_up(name)
            else:
                cluster.set_down(name)

    def _part(self, wanted: set[tuple[str, str]]) -> None:
        if wanted != self._apart:
            load_now(render(wanted))
            self._apart = wanted

    def _impair(self, room: NodeRoom, delay: Delay) -> None:
        wanted = Impairment(
            delay_ns=round(delay.delay_ms * 1e6),
            jitter_ns=round(delay.jitter_ms * 1e6),
            loss=delay.loss_percent / 100,
            queue=_QUEUE_PACKETS,
        )
        try:
            for netns, device in _ends(room):
                with Rtnl(netns) as link, Tc(netns) as tc:
                    tc.put_impairment(link.index(device), wanted)
        except KernelError as error:
            if not is_missing(error):
                raise
            raise Unsupported(
                "this kernel cannot delay or lose packets: it lacks netem (CONFIG_NET_SCH_NETEM, module sch_netem)",
                "load the module, or cut links instead: netloom link cut NODE [NODE]",
            ) from error

    def _repair(self, room: NodeRoom) -> None:
        for netns, device in _ends(room):
            with Rtnl(netns) as link, Tc(netns) as tc:
                tc.delete_bucket(link.index(device))


def _ends(room: NodeRoom) -> tuple[tuple[int | None, str], ...]:
    return ((None, room.name), (room.netns, NODE_DEVICE))


def _pair(nodes: tuple[str, ...]) -> tuple[str, str]:
    one, other = sorted(nodes)
    if one == other:
        raise UsageError(f"{one}: a node has no link to itself", "name two nodes, or one")
    return one, other


def render(apart: Iterable[tuple[str, str]]) -> str:
    """The rules that let nothing through between these nodes, in nft's words; takes the place of those that are there.

    Marks begin with 1 and are those of this namespace only: a packet loses its mark when it enters another one.
    """
    pairs = sorted(apart)
    numbers = {name: number for number, name in enumerate(sorted({n for pair in pairs for n in pair}), 1)}
    lines = [f"table bridge {LINKS_TABLE}", f"delete table bridge {LINKS_TABLE}"]
    if pairs:
        lines += [
            f"table bridge {LINKS_TABLE} {{",
            "chain from {",
            "type filter hook prerouting priority -300;",
        ]
        lines += [f'iifname "{name}" meta mark set {number}' for name, number in numbers.items()]
        lines += ["}", "chain to {", "type filter hook postrouting priority 300;"]
        for one, other in pairs:
            lines += [
                f'oifname "{other}" meta mark {numbers[one]} drop',
                f'oifname "{one}" meta mark {numbers[other]} drop',
            ]
        lines += ["}", "}"]
    return "\n".join(lines) + "\n"
