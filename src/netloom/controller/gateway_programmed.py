"""Whether the nodes have a Gateway in force: condition Programmed. In: statuses as the model says them, what nodes tell. Out: statuses.

The model says whether a Gateway could be programmed; only the nodes know whether it is. All nodes count that are Ready and may get
something from outside. A Gateway is in force when a node has read it as it was at this generation and listens at its ports. Not here:
writing (``status_writer.py``), how nodes tell (``gateway/in_force.py``). Source: Gateway API v1, GatewayConditionProgrammed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netloom.api.gateway import Gateway
from netloom.controller.gateway_wanted import doors_by_gateway
from netloom.gateway.in_force import Told, lacking
from netloom.model.gateways.build import Built, StatusKey
from netloom.units import ObjectKey, Protocol

Status = Mapping[str, Any]
_PROGRAMMED = "Programmed"
_MOST_NODES = 3
"""Named in a message."""


class InForce:
    """Remembers at which resourceVersion each Gateway became what it is: that is what nodes must have reached."""

    def __init__(self) -> None:
        self._since: dict[ObjectKey, tuple[str, int, str]] = {}

    def statuses(
        self,
        built: Built,
        *,
        gateways: Mapping[ObjectKey, Gateway],
        nodes: Sequence[str],
        told: Mapping[str, Told],
    ) -> dict[StatusKey, Status]:
        """The model's statuses, those of Gateways with what the nodes have in force.

        Args:
            built: what the model says.
            gateways: as the API server has them.
            nodes: those that count.
            told: by node, what its gateway has in force.
        """
        doors = doors_by_gateway(built.plan)
        found: dict[StatusKey, Status] = dict(built.statuses)
        for key, status in built.statuses.items():
            if key.kind != "Gateway" or (gateway := gateways.get(key.key)) is None:
                continue
            ports = {door.node_port or 0 for door in doors.get(key.key, ()) if door.protocol is Protocol.TCP}
            wanted = (("gateways", self._version(gateway)),)
            lack = lacking(told, nodes=nodes, wanted=wanted, doors=ports, subject=key.key)
            if not nodes:
                lack = ("no node is Ready that may get something from outside",)
            if lack:
                found[key] = pending(status, words(lack))
        for gone in self._since.keys() - gateways.keys():
            del self._since[gone]
        return found

    def _version(self, gateway: Gateway) -> str:
        meta = gateway.metadata
        known = self._since.get(gateway.key)
        if known is None or known[:2] != (meta.uid, meta.generation):
            known = self._since[gateway.key] = (meta.uid, meta.generation, meta.resource_version)
        return known[2]


def words(lack: Sequence[str]) -> str:
    """A sentence for a condition's message."""
    more = len(lack) - _MOST_NODES
    said = "; ".join(lack[:_MOST_NODES])
    return f"{said}; and {more} more" if more > 0 else said


def pending(status: Status, message: str) -> Status:
    """A Gateway's status whose condition Programmed, where it was True, is not yet, for the Gateway and its listeners."""
    found = dict(status)
    found["conditions"] = [_pending(one, message) for one in status.get("conditions", ())]
    if "listeners" in status:
        found["listeners"] = [
            {**one, "conditions": [_pending(c, message) for c in one.get("conditions", ())]}
            for one in status["listeners"]
        ]
    return found


def _pending(condition: Status, message: str) -> Status:
    if condition.get("type") != _PROGRAMMED or condition.get("status") != "True":
        return condition
    return {**condition, "status": "False", "reason": "Pending", "message": message}
