"""What a fabric is: how packets for pods of other nodes get there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.units import Cidr


class Fabric(Protocol):
    """One fabric on one node."""

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left, for a node that is this now.

        What is right already is not touched. Called again whenever the node itself has changed.

        Raises:
            KernelError: the kernel refused; peers done before stay done, and calling again is safe.
        """

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others.

        Raises:
            KernelError: as ``start``.
        """

    async def remove(self) -> None:
        """Take everything of this fabric out of the kernel."""
