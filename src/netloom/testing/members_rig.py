"""Speakers of several nodes without sockets: members and holdings of each, joined by ways that can be cut, in a time of our own.

In: what happens and when. Out: who holds whom dead, and who answers for what. Not here: the real sockets (``announce/members/exchange``).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from netloom.announce.members.beats import Heartbeat, pages_of
from netloom.announce.members.holdings import Holdings
from netloom.announce.members.state import Members, claimants
from netloom.model.announcing.elect import elected
from netloom.units import Addr

TICK_S = 0.05
ADDRESSES: tuple[Addr, ...] = tuple(ip_address(f"192.0.2.{number}") for number in range(1, 9))


class Node:
    """One speaker."""

    def __init__(self, name: str, rig: Rig, *, incarnation: int) -> None:
        self.name = name
        self.members = Members(name)
        self.holdings = Holdings(name)
        self._rig = rig
        self._incarnation = incarnation
        self._sequence = 0
        self._beat_due = rig.now
        self.asleep_until = 0.0
        self.was_ready = False
        self.members.know(rig.names, rig.now)
        self._say(tuple(self.members.peers), asks=True)

    @property
    def gone(self) -> frozenset[str]:
        """Who has no duties, as this node sees it."""
        now = self._rig.now
        own = () if self.members.is_settled(now) else (self.name,)
        return self.members.silent(now) | self.members.unready(now) | frozenset(own)

    def tick(self) -> None:
        """Some times a heartbeat."""
        now = self._rig.now
        self.members.turn(now)
        self.turn()
        if now >= self._beat_due:
            self._say(self.members.to_beat(now))
            self._beat_due = now + self.members.rhythm.beat_s
        self._say(self.members.to_ask(now), asks=True)

    def turn(self) -> None:
        """What this node answers for now."""
        now = self._rig.now
        if not self.members.is_settled(now):
            return
        if not self.was_ready:
            self.was_ready = True
            self.members.became_ready(now)
            self._say(tuple(self.members.peers))
        wanted = self._rig.elected(frozenset(self._rig.names) - self.gone).get(self.name, [])
        moves = self.holdings.turn(
            wanted,
            claimants(self.members.live(now)),
            now,
            may_take=self.members.has_majority(now) and self.members.is_introduced(now),
            is_fenced=self.members.is_fenced(now),
        )
        if moves:
            self._rig.has_moved = True
            self._say(tuple(self.members.peers))

    def hear(self, beat: Heartbeat) -> None:
        """A heartbeat arrives."""
        self.members.turn(self._rig.now)
        self.turn()
        if self.members.heard(beat, self._rig.now):
            if beat.asks:
                self._say((beat.sender,))
            self.turn()

    def leave(self) -> None:
        """A planned stop."""
        self.holdings.drop_all()
        self._say(tuple(self.members.peers), is_leaving=True)

    def _say(self, names: Iterable[str], *, asks: bool = False, is_leaving: bool = False) -> None:
        now = self._rig.now
        (page,) = pages_of(self.holdings.held)
        for name in names:
            self._sequence += 1
            beat = Heartbeat(
                sender=self.name,
                incarnation=self._incarnation,
                sequence=self._sequence,
                is_ready=self.members.is_settled(now) and not is_leaving,
                is_leaving=is_leaving,
                asks=asks,
                heard=self.members.hears(now),
                claims_version=self.holdings.version,
                claims=page,
            )
            self._rig.send(self.name, name, beat)


class Rig:
    """The nodes, the ways between them, and the time.

    Args:
        names: of the nodes; all begin at once.
        delay_s: how long a heartbeat takes.
    """

    def __init__(self, names: Sequence[str], *, delay_s: float = 0.001) -> None:
        self.names = tuple(names)
        self.now = 0.0
        self.cut: set[tuple[str, str]] = set()
        """Ways that carry nothing, from and to."""
        self.overlaps: list[tuple[float, Addr, tuple[str, ...]]] = []
        """When two nodes that hear each other answered for one address."""
        self.has_moved = False
        self._elections: dict[frozenset[str], dict[str, list[Addr]]] = {}
        self._delay_s = delay_s
        self._flying: list[tuple[float, int, str, Heartbeat]] = []
        self._count = 0
        self._born = 0
        self.nodes: dict[str, Node] = {}
        for name in self.names:
            self.start(name)

    def start(self, name: str) -> None:
        """A node's speaker begins."""
        self._born += 1
        self.nodes[name] = Node(name, self, incarnation=self._born)

    def kill(self, name: str) -> None:
        """It ends without a word."""
        self.nodes.pop(name, None)

    def sleep(self, name: str, seconds: float) -> None:
        """It does nothing for so long, and knows nothing of it."""
        if name in self.nodes:
            self.nodes[name].asleep_until = self.now + seconds

    def send(self, source: str, target: str, beat: Heartbeat) -> None:
        """Unless the way is cut."""
        if (source, target) not in self.cut:
            self._count += 1
            heapq.heappush(self._flying, (self.now + self._delay_s, self._count, target, beat))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self._tick()
            step = min(end, self.now + TICK_S)
            while self._flying and self._flying[0][0] <= step:
                at, _, target, beat = heapq.heappop(self._flying)
                self.now = max(self.now, at)
                node = self.nodes.get(target)
                if node is not None:
                    if node.asleep_until > self.now:  # it waits in the socket
                        heapq.heappush(self._flying, (node.asleep_until + 1e-6, self._count, target, beat))
                        self._count += 1
                    else:
                        node.hear(beat)
                        self._look()
            self.now = step

    def _tick(self) -> None:
        self.has_moved = True
        for node in list(self.nodes.values()):
            if node.asleep_until <= self.now:
                node.tick()
        self._look()

    def _look(self) -> None:
        """Whoever is asleep answers for nothing: it asks itself before each answer how long it slept."""
        if not self.has_moved:
            return
        self.has_moved = False
        for address in ADDRESSES:
            owners = tuple(
                n.name
                for n in self.nodes.values()
                if address in n.holdings.held and n.asleep_until <= self.now
            )
            for one in owners:
                others = [o for o in owners if o != one and self._hear_each_other(one, o)]
                if others:
                    self.overlaps.append((self.now, address, owners))

    def _hear_each_other(self, one: str, other: str) -> bool:
        return (one, other) not in self.cut and (other, one) not in self.cut

    def elected(self, able: frozenset[str]) -> dict[str, list[Addr]]:
        """Who of these has which addresses."""
        if able not in self._elections:
            found: dict[str, list[Addr]] = {}
            for address in ADDRESSES:
                if (owner := elected(str(address), able)) is not None:
                    found.setdefault(owner, []).append(address)
            self._elections[able] = found
        return self._elections[able]

    def owners(self, address: Addr) -> tuple[str, ...]:
        """Who answers for an address."""
        return tuple(sorted(n.name for n in self.nodes.values() if address in n.holdings.held))
