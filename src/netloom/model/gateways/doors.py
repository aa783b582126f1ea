"""The Service of a gateway: where its doors are on the nodes, and which addresses it got.

Comes in: Services. Goes out: nodePorts, addresses. Not here: its name (``entrances.py``), who makes it (``controller``), who gives it
addresses.
"""

from __future__ import annotations

from netloom.api.core import Service
from netloom.units import Protocol


def port_name(port: int, protocol: Protocol) -> str:
    """Name of the Service's port for a listener port."""
    return f"p{port}-{protocol.word}"


def node_port(service: Service | None, port: int, protocol: Protocol) -> int | None:
    """Where each node's engine listens for this port; None until the Service has one."""
    if service is None:
        return None
    wanted = port_name(port, protocol)
    return next((one.node_port or None for one in service.spec.ports if one.name == wanted), None)


def addresses(service: Service | None) -> tuple[str, ...]:
    """What the Service got from outside, addresses before names."""
    given = () if service is None else service.status.load_balancer.ingress
    return tuple(sorted({i.ip for i in given if i.ip})) + tuple(
        sorted({i.hostname for i in given if i.hostname})
    )
