"""Layer 2: which addresses this node answers for, and their handover. One of the speaker's parts.

Comes in: the situation, what the members say. Goes out: what is answered for (``answering``), claims for the heartbeats, Events about others that answer, too.
Not here: who is alive, and how frames look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping

import msgspec

from netloom.announce.answering import Answerer, Conflict
from netloom.announce.members.exchange import Claims
from netloom.announce.members.holdings import Holdings
from netloom.announce.members.state import Members, claimants
from netloom.clock import Clock
from netloom.metrics import Sample, counter, gauge
from netloom.model.announcing.elect import Elections
from netloom.model.announcing.view import Duty, Situation
from netloom.model.provenance import Finding
from netloom.units import Addr

log = logging.getLogger(__name__)

_TOLD_S = 60.0
_REMEMBERED = 256
_LEFT_S = 600.0


class AddressStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One address, as this node sees it."""

    address: str
    owner: str
    """Who is elected; empty: nobody can be."""
    claimed_by: tuple[str, ...]
    """Who says that it answers."""
    candidates: tuple[str, ...]
    interfaces: tuple[str, ...] = ()
    """Where this node answers for it; none where it does not."""
    since: float | None = None
    """When this node took it, in seconds since the epoch."""
    is_waiting: bool = False
    """Whether this node is elected and another has not given it up yet."""
    users: tuple[str, ...] = ()
    source: str


class Layer2:
    """The part.

    Args:
        members: this node, and the others.
        answerer: answers.
        clock: the time.
        may_take: whether new addresses may be taken at this moment.
        on_moved: called as soon as this node answers for something else than before.
        report: hears what is wrong with an address.
    """

    name = "layer2"

    def __init__(
        self,
        *,
        members: Members,
        answerer: Answerer,
        clock: Clock,
        may_take: Callable[[float], bool],
        on_moved: Callable[[], None],
        report: Callable[[Finding], None],
    ) -> None:
        self._node = members.own
        self._members = members
        self._answerer = answerer
        self._clock = clock
        self._may_take = may_take
        self._on_moved = on_moved
        self._report = report
        self._holdings = Holdings(members.own)
        self._elections = Elections()
        self._duties: Mapping[Addr, Duty] = {}
        self._wanted: tuple[Addr, ...] = ()
        self._is_stale = True
        self._was_fenced = False
        self._told: dict[tuple[Addr, str], float] = {}
        self._left: dict[Addr, float] = {}
        """What is left to a station with a lower MAC, until when."""
        self.moves = 0

    @property
    def claims(self) -> Claims:
        """What this node answers for."""
        return Claims(self._holdings.version, tuple(self._holdings.held))

    async def run(self) -> None:
        """Answer until cancelled."""
        await self._answerer.run()

    def take(self, situation: Situation) -> None:
        """Elect anew."""
        self._duties = situation.duties
        owner = self._elections.owner
        self._wanted = tuple(
            address
            for address, duty in situation.duties.items()
            if owner(str(address), duty.layer2) == self._node
        )
        self._elections.keep(map(str, situation.duties))
        self.turn(is_news=True)

    def turn(self, *, is_news: bool) -> None:
        """Time has passed, or somebody has said something new."""
        now = self._clock.monotonic()
        is_fenced = self._members.is_fenced(now)
        is_due = is_news or self._is_stale or self._holdings.waiting or self._left
        if not (is_due or is_fenced != self._was_fenced):
            return
        self._is_stale = False
        self._was_fenced = is_fenced
        claimed = claimants(self._members.live(now))
        needs = any(address not in self._holdings.held for address in self._wanted)
        is_free = needs and not is_fenced and self._members.is_introduced(now)
        may_take = is_free and self._may_take(now)
        self._left = {address: until for address, until in self._left.items() if until > now}
        wanted = [address for address in self._wanted if address not in self._left]
        moves = self._holdings.turn(wanted, claimed, now, may_take=may_take, is_fenced=is_fenced)
        if not moves:
            return
        self.moves += len(moves.taken)
        self._is_stale = True  # what was given up for another's sake may be ours again at once
        self._answerer.hold(
            self._holdings.held
        )  # stops before the others hear of it, and begins after they stopped
        for word, addresses in (("answers for", moves.taken), ("gives up", moves.given_up)):
            if addresses:
                log.info("layer 2: %s %s", word, ", ".join(map(str, addresses[:20])))
        self._on_moved()

    def stop(self) -> None:
        """Answer for nothing any more: this node leaves."""
        self._wanted = ()
        self._holdings.drop_all()
        self._answerer.hold(())

    def conflict(self, found: Conflict) -> None:
        """Somebody outside of the cluster, or a node that should not, answers for an address of ours.

        Where heartbeats never got through (a firewall), that may be another node that takes itself for the only one: the lower MAC keeps it.
        """
        duty = self._duties.get(found.address)
        now = self._clock.monotonic()
        if self._members.has_heard_nobody and found.mac < found.own_mac:
            self._left[found.address] = now + _LEFT_S
            self.turn(is_news=True)
        about = (found.address, found.mac)
        if duty is None or now - self._told.get(about, -_TOLD_S) < _TOLD_S:
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[about] = now
        problem = f"{found.address} is answered for by {found.mac} at {found.interface}, too, not only by node {self._node}"
        self._report(Finding(duty.source, problem, "find that station, or take the address out of the pool"))

    # --- who asks

    def report(self) -> list[AddressStatus]:
        """Every address, as this node sees it."""
        now = self._clock.monotonic()
        wall = self._clock.wall()
        claimed = claimants(self._members.live(now))
        found = []
        for address, duty in sorted(self._duties.items(), key=lambda item: (item[0].version, int(item[0]))):
            since = self._holdings.held.get(address)
            own = () if since is None else (self._node,)
            found.append(
                AddressStatus(
                    address=str(address),
                    owner=self._elections.owner(str(address), duty.layer2) or "",
                    claimed_by=tuple(sorted({*claimed.get(address, ()), *own})),
                    candidates=duty.layer2,
                    interfaces=self._answerer.places(address) if since is not None else (),
                    since=None if since is None else wall - (now - since),
                    is_waiting=address in self._holdings.waiting,
                    users=tuple(map(str, duty.users)),
                    source=str(duty.source),
                )
            )
        return found

    def samples(self) -> Iterator[Sample]:
        """What there is to count."""
        text = "Addresses outside: announced at all, and answered for by this node."
        yield gauge("netloom_speaker_addresses", text, len(self._duties), state="announced")
        yield gauge("netloom_speaker_addresses", text, len(self._holdings.held), state="held")
        yield gauge("netloom_speaker_addresses", text, len(self._holdings.waiting), state="waited_for")
        yield counter("netloom_speaker_takeovers_total", "Addresses that this node took.", self.moves)
        yield from self._answerer.samples()
