"""Ports of the node that runtimes map to containers, as an input of the model: of those that are no pods of the cluster.

In: leases with ports, from CNI. Out: attachments for the model, and the word that their ports are in force. A pod's ports come from its
spec, which the API server knows; what a runtime says of them is the same once more. Not here: who wins a port (``model/network.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from netloom.cni.ipam.lease import Lease
from netloom.engine.acks import Acks
from netloom.errors import Unavailable
from netloom.model.attachments import MappedPort, PlainAttachment
from netloom.units import ObjectKey

PATIENCE_S = 10.0
"""How long a runtime waits for its ports to be in force; then it is told to try again."""

Mark = Callable[[ObjectKey, PlainAttachment | None], int]


class MappedPorts:
    """Tells the model of mapped ports; what ``cni.verbs.MappedPorts`` asks for.

    Args:
        mark: takes an attachment as it is to be modelled; gives the number for ``Acks.in_force``.
        acks: what is in force.
    """

    def __init__(self, *, mark: Mark, acks: Acks) -> None:
        self._mark = mark
        self._acks = acks

    def remember(self, leases: Iterable[Lease]) -> None:
        """What was mapped before this agent started."""
        for lease in leases:
            if _is_ours(lease):
                self._mark(_key(lease), _attachment(lease))

    async def opened(self, lease: Lease) -> None:
        """Return when the ports of a lease are in force.

        Raises:
            Unavailable: they did not come in force in time.
        """
        if not _is_ours(lease):
            return
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._acks.in_force(self._mark(_key(lease), _attachment(lease)))
        except TimeoutError as error:
            problem = f"the ports of {lease.attachment} are not in force after {PATIENCE_S:.0f} s"
            raise Unavailable(problem, "try again; see the agent's log") from error

    def closed(self, lease: Lease) -> None:
        """The interface is gone, or was never made."""
        if _is_ours(lease):
            self._mark(_key(lease), None)


def _is_ours(lease: Lease) -> bool:
    return bool(lease.ports) and not lease.pod


def _key(lease: Lease) -> ObjectKey:
    return ObjectKey("", str(lease.attachment))


def _attachment(lease: Lease) -> PlainAttachment:
    ports = tuple(
        MappedPort(port.host_port, port.container_port, port.protocol, port.host_ip) for port in lease.ports
    )
    return PlainAttachment(str(lease.attachment), lease.addresses, ports)
