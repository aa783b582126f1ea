"""How pods reach what is outside of the cluster, as a node's agent is told. Values only.

Not here: reading a configuration (``agent/config``), what becomes of one packet (``leaving.py``), routes in a kernel.
"""

from __future__ import annotations

import msgspec

from netloom.units import Addr, Cidr


class StaticRoute(msgspec.Struct, frozen=True, gc=False):
    """A route that an administrator wants on the node: by way of a router, out of an interface, or both."""

    destination: Cidr
    via: Addr | None = None
    device: str = ""
    """Empty: the one that leads to ``via``."""

    def __str__(self) -> str:
        via = f" via {self.via}" if self.via is not None else ""
        return f"{self.destination}{via}{f' dev {self.device}' if self.device else ''}"


class Egress(msgspec.Struct, frozen=True):
    """The settings of one node about what is outside."""

    masquerade: bool = True
    """Whether what pods send there gets the node's address. False where the network outside has routes to pods."""
    no_masquerade: tuple[Cidr, ...] = ()
    """Destinations that have a way back to pods: they see pods' own addresses."""
    static_routes: tuple[StaticRoute, ...] = ()
