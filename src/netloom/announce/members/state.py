"""Who of the nodes is alive, as one of them knows it: a state machine without sockets and without a clock.

Comes in: which nodes the cluster has, heartbeats, the time. Goes out: who is silent, whom to send heartbeats to, and whom to ask. Not here: bytes (``beats``),
sockets (``exchange``), and who answers for what (``holdings``).

A node counts as alive while anybody whom we hear has heard it lately: each heartbeat says whom its sender hears itself, and how long ago. So one broken way
between two nodes makes nobody dead, and all learn of a death within the same few milliseconds: when the last heartbeat that anybody heard is too old.
Up to a size everybody sends to everybody. In larger clusters a node sends to the next ones in a ring and to some at greater steps, so that every
node hears every other directly or from one that does; whom it is about to lose, it asks itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from netloom.announce.members.beats import Heartbeat, read_claims, read_heard, short_id, write_heard
from netloom.units import Addr

_NEVER = -math.inf
_MOMENT_S = 0.02
"""In a crowd, whom a node hears is written anew after so long."""
_FORGOTTEN_S = 60.0
"""So long a recorded heartbeat of a former process is refused."""


class Rhythm(msgspec.Struct, frozen=True):
    """Times in seconds, and the size from which not everybody sends to everybody."""

    beat_s: float = 0.2
    ask_s: float = 0.42
    """Whoever was not heard for so long is asked."""
    dead_s: float = 0.65
    """Whoever was not heard for so long is dead."""
    fence_s: float = 0.55
    """A node that nobody has heard for so long, or that has slept so long itself, answers for nothing: others will do."""
    slow_s: float = 2.0
    """How often those get a heartbeat that are not sent to all the time."""
    mesh: int = 24
    """Up to so many nodes everybody sends to everybody."""


_RHYTHM = Rhythm()


class Peer:
    """What is known of another node."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.id = short_id(name)
        self.rank = (0, 0)
        """Of the last heartbeat."""
        self.direct = _NEVER
        """When it was last heard."""
        self.evidence = _NEVER
        """When anybody has last heard it."""
        self.hears_us = _NEVER
        """When it has last heard us, by its own word."""
        self.left = _NEVER
        """When it said good-bye; whatever is of before does not count."""
        self.asked = _NEVER
        """When it was last asked whether it is there."""
        self.is_ready = False
        self.claims: frozenset[Addr] = frozenset()
        self._pages: dict[int, frozenset[Addr]] = {}
        self._claims_version = -1

    def take_claims(self, beat: Heartbeat) -> None:
        """A page of what it answers for; the whole counts once there are all pages."""
        version = beat.claims_version
        if version != self._claims_version:
            self._pages = {}
            self._claims_version = version
        self._pages[beat.page] = read_claims(beat.claims)
        if len(self._pages) >= beat.pages:
            self.claims = frozenset().union(*self._pages.values())
        else:
            self.claims |= self._pages[beat.page]  # rather too many than too few, until all is known


class Members:
    """The other nodes, as this one knows them.

    Args:
        own: this node's name.
        rhythm: the times.
    """

    def __init__(self, own: str, *, rhythm: Rhythm = _RHYTHM) -> None:
        self.own = own
        self.rhythm = rhythm
        self.peers: dict[str, Peer] = {}
        self._by_id: dict[bytes, Peer | None] = {}
        self._own_id = short_id(own)
        self._known_at: float | None = None
        self._ready_at: float | None = None
        self._last_turn: float | None = None
        self._fenced_at = _NEVER
        self._heard = b""
        self._heard_at = _NEVER
        self._slow: list[str] = []
        self._slow_at = _NEVER

    def know(self, names: Iterable[str], now: float) -> None:
        """These are all nodes of the cluster."""
        wanted = set(names) - {self.own}
        if self._known_at is None:
            self._known_at = now
        for name in self.peers.keys() - wanted:
            del self.peers[name]
        for name in sorted(wanted - self.peers.keys()):
            self.peers[name] = Peer(name)
        self._by_id = {}
        for peer in self.peers.values():
            # two names with one id: nobody's word about either counts
            self._by_id[peer.id] = None if peer.id in self._by_id else peer

    def heard(self, beat: Heartbeat, now: float) -> bool:
        """A heartbeat with the right key; False where it is a stranger's, or was sent before the last one."""
        peer = self.peers.get(beat.sender)
        if peer is None or (beat.rank <= peer.rank and not self._began_anew(peer, beat, now)):
            return False
        peer.rank = beat.rank
        if beat.is_leaving:
            peer.left = now
            peer.evidence = peer.direct = _NEVER
            peer.is_ready, peer.claims = False, frozenset()
            return True
        peer.direct = peer.evidence = now
        peer.is_ready = beat.is_ready
        peer.take_claims(beat)
        for id_, age in read_heard(beat.heard):
            at = now - age
            if id_ == self._own_id:
                peer.hears_us = max(peer.hears_us, at)
            elif (other := self._by_id.get(id_)) is not None and (
                other.evidence < at > other.left + self.rhythm.beat_s
            ):
                other.evidence = at
        return True

    @staticmethod
    def _began_anew(peer: Peer, beat: Heartbeat, now: float) -> bool:
        """Whether this may be a process that began with a clock that was set back; nobody has heard of the one before for long."""
        return beat.incarnation < peer.rank[0] and now - max(peer.evidence, peer.left) > _FORGOTTEN_S

    def turn(self, now: float) -> None:
        """Time has passed; to be called several times a heartbeat."""
        if self._last_turn is not None:
            slept = now - self._last_turn
            if slept > 2 * self.rhythm.beat_s:
                # What came meanwhile has not been read yet: nobody is dead for that.
                for peer in self.peers.values():
                    peer.direct += slept
                    peer.evidence += slept
                    peer.hears_us += slept
            if slept > self.rhythm.fence_s:
                self._fenced_at = now
        self._last_turn = now

    # --- what follows

    def is_settled(self, now: float) -> bool:
        """Whether whoever is alive has had the time to say so."""
        return self._known_at is not None and now >= self._known_at + self.rhythm.dead_s + self.rhythm.beat_s

    def became_ready(self, now: float) -> None:
        """From now on this node's heartbeats say that it may be given duties."""
        if self._ready_at is None:
            self._ready_at = now

    def is_introduced(self, now: float) -> bool:
        """Whether the others have had the time to hear that this node is ready, and to say that they are.

        Nodes that begin together would else each take all, for none has heard yet that the others are ready, too.
        """
        return self._ready_at is not None and now >= self._ready_at + 1.5 * self.rhythm.beat_s

    def is_alive(self, peer: Peer, now: float) -> bool:
        """Anybody has heard it lately."""
        return now - peer.evidence <= self.rhythm.dead_s

    def silent(self, now: float) -> frozenset[str]:
        """Nodes that are dead, have left, or were never heard."""
        return frozenset(p.name for p in self.peers.values() if not self.is_alive(p, now))

    def unready(self, now: float) -> frozenset[str]:
        """Nodes that are alive but take no duties."""
        return frozenset(p.name for p in self.peers.values() if self.is_alive(p, now) and not p.is_ready)

    def live(self, now: float) -> Iterator[Peer]:
        """Those who are alive."""
        return (peer for peer in self.peers.values() if self.is_alive(peer, now))

    @property
    def has_heard_nobody(self) -> bool:
        """Whether there are others, and none was ever heard: they are dead, or heartbeats do not get through."""
        return bool(self.peers) and all(peer.rank == (0, 0) for peer in self.peers.values())

    def has_majority(self, now: float) -> bool:
        """Whether those who are alive, with this node, are more than half of all."""
        return 2 * (1 + sum(1 for _ in self.live(now))) > 1 + len(self.peers)

    def is_fenced(self, now: float) -> bool:
        """Whether the others may hold this node dead: it has slept, or hears others that do not hear it."""
        if now - self._fenced_at < 2 * self.rhythm.beat_s:
            return True
        # Heard just now: where both ways are cut alike, there is nobody to say that we are not heard.
        direct = [p for p in self.peers.values() if now - p.direct <= 1.5 * self.rhythm.beat_s]
        return bool(direct) and now - max(p.hears_us for p in direct) > self.rhythm.fence_s

    def hears(self, now: float) -> bytes:
        """Whom this node hears itself, for a heartbeat. Heartbeats of one moment share it: it is told a little too old, never too young."""
        if not self.is_crowd:
            return write_heard((p.id, now - p.direct) for p in self.peers.values())
        if not 0.0 <= now - self._heard_at < _MOMENT_S:
            self._heard_at = now
            self._heard = write_heard((p.id, now + _MOMENT_S - p.direct) for p in self.peers.values())
        return self._heard

    # --- whom to speak to

    def to_beat(self, now: float) -> tuple[str, ...]:
        """Who gets the next heartbeat."""
        if not self.is_crowd:
            return tuple(self.peers)
        names = sorted((*self.peers, self.own))
        here = names.index(self.own)
        chosen = {names[(here + step) % len(names)] for step in steps(len(names))}
        return tuple(chosen | set(self._slowly(chosen, now)))

    def _slowly(self, chosen: set[str], now: float) -> list[str]:
        """Some of those that are not sent to all the time, so that each comes in its turn."""
        rest = sorted(self.peers.keys() - chosen)
        if not self._slow:
            self._slow = rest
        share = math.ceil(len(rest) * self.rhythm.beat_s / self.rhythm.slow_s)
        now_due, self._slow = self._slow[:share], self._slow[share:]
        return [name for name in now_due if name in self.peers]

    @property
    def is_crowd(self) -> bool:
        """Whether these are too many for everybody to send to everybody."""
        return 1 + len(self.peers) > self.rhythm.mesh

    def to_ask(self, now: float) -> tuple[str, ...]:
        """Who is about to be held dead, and is to be asked now.

        Each is asked twice at most: where a busy machine makes all heartbeats late, questions and answers must not add to it.
        """
        between_s = (self.rhythm.dead_s - self.rhythm.ask_s) / 2
        found = [
            p
            for p in self.peers.values()
            if self.rhythm.ask_s < now - p.evidence <= self.rhythm.dead_s and now - p.asked >= between_s
        ]
        for peer in found:
            peer.asked = now
        return tuple(p.name for p in found)


def steps(count: int) -> frozenset[int]:
    """How far ahead in a ring of so many a node sends: every distance is one of these, or the sum of two."""
    width = math.isqrt(count - 1) + 1
    return frozenset({*range(1, width), *range(width, count, width)})


def claimants(peers: Iterable[Peer]) -> Mapping[Addr, tuple[str, ...]]:
    """Who of these answers for what."""
    found: dict[Addr, tuple[str, ...]] = {}
    for peer in peers:
        for address in peer.claims:
            found[address] = (*found.get(address, ()), peer.name)
    return found
