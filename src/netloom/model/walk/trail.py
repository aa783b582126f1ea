"""How far one way of a packet has come. Values only; each step gives another one."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from netloom.model.provenance import Source
from netloom.model.walk.packet import Packet, endpoint_text
from netloom.model.walk.steps import Branch, Ending, Outcome, Stage, Step
from netloom.units import Addr


class Translation(msgspec.Struct, frozen=True):
    """A destination that a node has replaced."""

    node: str
    place: str
    """What it was: ``10.96.0.1:80``."""
    source: Source


class Trail(msgspec.Struct, frozen=True):
    """How far one way has come."""

    share: Fraction
    packet: Packet
    node: str = ""
    steps: tuple[Step, ...] = ()
    translations: tuple[Translation, ...] = ()
    came_from: Addr | None = None
    """The source that the packet had when it came to this node."""
    is_translated: bool = False
    """The destination was translated on this node (conntrack status dnat)."""

    def then(self, stage: Stage, text: str, *sources: Source) -> Trail:
        """One step further, on the node where the packet is."""
        return msgspec.structs.replace(self, steps=(*self.steps, Step(stage, self.node, text, sources)))

    def sent_from(self, source: Addr | None) -> Trail:
        """With another source address."""
        return msgspec.structs.replace(self, packet=msgspec.structs.replace(self.packet, source=source))

    def sent_to(self, destination: Addr, port: int, source: Source) -> Trail:
        """With another destination, which the node will take back in answers; ``source`` is who says so."""
        done = Translation(self.node, endpoint_text(self.packet.destination, self.packet.port), source)
        packet = msgspec.structs.replace(self.packet, destination=destination, port=port)
        return msgspec.structs.replace(
            self, packet=packet, translations=(*self.translations, done), is_translated=True
        )

    def at(self, node: str) -> Trail:
        """Arrived at a node."""
        return msgspec.structs.replace(self, node=node, came_from=self.packet.source, is_translated=False)

    def answered(self) -> Trail:
        """With the way of the answer, where a node on the way has translated: it has to come by there again."""
        if not self.translations:
            return self
        back = " and ".join(dict.fromkeys(done.node for done in reversed(self.translations)))
        text = f"answers come back through {back}, translated: from {self.translations[0].place}"
        return self.then(
            Stage.REPLY, text, *dict.fromkeys(done.source for done in reversed(self.translations))
        )

    def ends(self, outcome: Outcome, reason: str, hint: str = "", sources: tuple[Source, ...] = ()) -> Branch:
        """Here the way is over."""
        return Branch(self.share, self.steps, Ending(outcome, reason, hint, sources), self.packet)
