"""Which addresses this node answers for, one owner at a time. Pure: a state machine without a clock.

Comes in: the addresses that this node is elected for, what the others say that they answer for, the time. Goes out: what is taken and what is given up.
Not here: who is alive (``state``), who is elected (``model/announcing/elect``), and how an answer looks.

The order of a handover: the old owner stops, says so in its next heartbeat (at once), and only then the new one begins. A claim of a node that is dead does not count.
Where two answer for one address all the same, as when two halves of a cluster meet again, one of them is first by its hash, and the other stops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.model.announcing.elect import elected
from netloom.units import Addr

PATIENCE_S = 2.0
"""So long an owner is waited for that should stop and does not; then whoever of the two is first by its hash has the address."""


class Moves(msgspec.Struct, frozen=True):
    """What a turn has changed."""

    taken: tuple[Addr, ...] = ()
    given_up: tuple[Addr, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.taken or self.given_up)


class Holdings:
    """What this node answers for."""

    def __init__(self, own: str) -> None:
        self._own = own
        self.held: dict[Addr, float] = {}
        """Since when."""
        self.waiting: dict[Addr, float] = {}
        """What this node is elected for and does not answer for yet, since when."""
        self.version = 0
        """Changes with ``held``."""

    def turn(
        self,
        wanted: Iterable[Addr],
        claimed: Mapping[Addr, tuple[str, ...]],
        now: float,
        *,
        may_take: bool,
        is_fenced: bool,
    ) -> Moves:
        """What changes now.

        Args:
            wanted: what this node is elected for.
            claimed: by address, who of the live nodes says that it answers for it.
            now: seconds.
            may_take: whether this node may answer for what it did not answer for before.
            is_fenced: whether it must stop answering at all.
        """
        mine = frozenset() if is_fenced else frozenset(wanted)
        given_up = tuple(a for a in self.held if a not in mine or not self._is_first(a, claimed.get(a, ())))
        for address in given_up:
            del self.held[address]
        self.waiting = {a: self.waiting.get(a, now) for a in sorted(mine - self.held.keys(), key=_order)}
        taken: tuple[Addr, ...] = ()
        if may_take and not is_fenced:
            taken = tuple(a for a, since in self.waiting.items() if self._is_free(a, claimed, now - since))
        for address in taken:
            del self.waiting[address]
            self.held[address] = now
        if taken or given_up:
            self.version += 1
        return Moves(taken, given_up)

    def drop_all(self) -> None:
        """The end: whatever is held is another's."""
        self.held, self.waiting = {}, {}
        self.version += 1

    def overdue(self, now: float) -> tuple[Addr, ...]:
        """What this node should answer for, and another does not give up."""
        return tuple(a for a, since in self.waiting.items() if now - since > PATIENCE_S)

    def _is_free(self, address: Addr, claimed: Mapping[Addr, tuple[str, ...]], waited_s: float) -> bool:
        others = claimed.get(address, ())
        return not others or (waited_s > PATIENCE_S and self._is_first(address, others))

    def _is_first(self, address: Addr, others: tuple[str, ...]) -> bool:
        return not others or elected(str(address), (*others, self._own)) == self._own


def _order(address: Addr) -> tuple[int, int]:
    return address.version, int(address)
