"""Which node a packet for an announced address comes to. In: the duty, the way so far. Out: the nodes it may come to, or why it comes to none."""

from __future__ import annotations

from netloom.model.announcing.duties import EXCLUDED_LABEL
from netloom.model.announcing.elect import elected
from netloom.model.announcing.view import Duty
from netloom.model.walk.steps import Branch, Outcome, Stage
from netloom.model.walk.trail import Trail


def answering(duty: Duty | None, trail: Trail, doors: list[str]) -> tuple[list[str], Trail] | Branch:
    """The nodes that are told to have the address; all that serve it where nobody of ours announces it.

    Args:
        duty: of the packet's destination.
        trail: so far.
        doors: nodes that serve the address.
    """
    if duty is None:
        return doors, trail
    if not duty.candidates:
        reason = f"no node answers for {duty.address}: none may, under the traffic policies of who uses it"
        hint = f"see whether its Service has ready endpoints, and whether all nodes have the label {EXCLUDED_LABEL}"
        return trail.ends(Outcome.UNREACHABLE, reason, hint, (duty.source,))
    owner = elected(str(duty.address), duty.layer2)
    if owner is not None:
        how = "ARP" if duty.address.version == 4 else "neighbour discovery"
        count = len(duty.layer2)
        among = "the only node that may" if count == 1 else f"1 of {count} nodes that may"
        trail = trail.then(
            Stage.ANNOUNCE, f"{owner} answers for {duty.address} by {how} ({among})", duty.source
        )
        if not duty.bgp:
            return [owner], trail
    if duty.bgp:
        nodes = ", ".join(duty.routed_by)
        trail = trail.then(
            Stage.ANNOUNCE, f"routers with BGP have a route to {duty.address} by {nodes}", duty.source
        )
        return [name for name in doors if name in duty.routed_by] or doors, trail
    reason = f"no node answers for {duty.address}: none has a network that it lies in"
    return trail.ends(
        Outcome.UNREACHABLE,
        reason,
        "let its pool lie in the nodes' network, or announce it by BGP",
        (duty.source,),
    )
