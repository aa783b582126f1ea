"""Containers that have an interface of this node and are no pods of the cluster (podman, a runtime without Kubernetes). Values only.

The node's own record of addresses tells of them, not the API server; see ``Changes.attachments``.
"""

from __future__ import annotations

import msgspec

from netloom.units import Addr

CONTAINER = "Container"
"""``Source.kind`` of what such a container asks for."""


class MappedPort(msgspec.Struct, frozen=True, gc=False):
    """A port of the node that leads to one of a container (CNI ``runtimeConfig.portMappings``)."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    """As ``hostIP`` of a container port: empty, 0.0.0.0 and :: mean all of the node's addresses (of their family)."""


class PlainAttachment(msgspec.Struct, frozen=True):
    """One interface of such a container, with the addresses and ports that it asked for."""

    name: str
    """Container and interface: ``4f1e.../eth0``."""
    addresses: tuple[Addr, ...] = ()
    ports: tuple[MappedPort, ...] = ()
