"""Two surveyed sides with everything that is asked of them: names, ways through Services, reasons. Pure."""

from __future__ import annotations

from netloom.model.policy.state import PortRange
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.scenes import Surveyed
from netloom.observe.estate.ways import Ways
from netloom.observe.reach.ends import End, EndKind
from netloom.observe.reach.naming import Namer
from netloom.observe.reach.portspace import each_bit
from netloom.observe.reach.reasons import Reasons
from netloom.units import Protocol

LOST, GAINED = "lost", "gained"


def side_of(effect: str) -> int:
    """Where it is, or was: what is lost before the change, what is gained after it."""
    return 0 if effect == LOST else 1


class Sides:
    """Before and after.

    Args:
        surveyed: both.
        estates: what they were made of.
    """

    def __init__(self, surveyed: Surveyed, estates: tuple[Estate, Estate]) -> None:
        self.reach = surveyed.reach
        self.estates = estates
        self.namers = Namer(self.reach.all, 0), Namer(self.reach.all, 1)
        self.ways = Ways(surveyed, 0), Ways(surveyed, 1)
        self.reasons = Reasons(self.reach, 0), Reasons(self.reach, 1)

    def pair(self, senders: int, receivers: int) -> tuple[End, End]:
        """Two ends to ask about: different ones, pods where there are any."""
        ends = self.reach.ends
        first, second = (
            sorted((ends[place] for place in each_bit(mask)), key=lambda end: end.kind is not EndKind.POD)
            for mask in (senders, receivers)
        )
        receiver = second[0]
        return next((end for end in first if end is not receiver), first[0]), receiver

    def port(self, ports: int, receiver: End, side: int) -> tuple[Protocol | None, int]:
        """One to ask about: one that the receiver declares, or that a rule names."""
        example = receiver.examples[side]
        for port in () if example is None else example.ports:
            if self.reach.ports.bits(PortRange(port.protocol, port.number, port.number)) & ports:
                return port.protocol, port.number
        stretches = list(self.reach.ports.in_bits(ports))
        single = next((s for s in stretches if s.protocol is not None and s.first == s.last), stretches[0])
        return single.protocol, max(single.first, 1) if single.protocol is not None else 0
