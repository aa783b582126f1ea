"""What a Service dataplane is. Three methods; if a fourth is wanted, the meaning was modelled too low."""

from __future__ import annotations

from typing import Protocol

from netloom.model.inputs import NodeFacts
from netloom.model.state import Delta, NetworkState


class Dataplane(Protocol):
    """One plane on one node. All methods are all-or-nothing: on an error the kernel is as it was."""

    async def start(self, state: NetworkState, facts: NodeFacts) -> None:
        """Bring the kernel to ``state`` from whatever a former run left, without a gap for flows that live on.

        Raises:
            NftError: the kernel refused; nothing has changed.
            Unsupported: this kernel lacks a feature that the plane needs.
        """

    async def apply(self, delta: Delta) -> None:
        """Put one change in force.

        Raises:
            NftError: the kernel refused; nothing has changed, and the caller falls back to ``start``.
        """

    async def remove(self) -> None:
        """Take everything of this plane out of the kernel; no error where nothing is there."""
