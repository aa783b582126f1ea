"""What the verbs are told by the rest of the agent, and what they tell it. Values and protocols. Not here: the verbs."""

from __future__ import annotations

from typing import Protocol

import msgspec

from netloom.cni.attach import PodInterface
from netloom.cni.ipam.lease import Attachment, Lease
from netloom.cni.request import CniRequest
from netloom.model.routes.ways import Segment
from netloom.units import Addr, Cidr, Family


class PodNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows about its node's pods: Node ``spec.podCIDRs``, the node's own addresses, the MTU in bytes."""

    ranges: tuple[Cidr, ...]
    node_addresses: tuple[Addr, ...] = ()
    mtu: int = 1500
    segments: tuple[Segment, ...] = ()
    """Where pods are on a bridge: the segment of each range."""


class SecondaryNetworks(Protocol):
    """Further interfaces of a pod, beside the one that the runtime asks for."""

    async def add(self, request: CniRequest, netns_fd: int, made: PodInterface) -> None:
        """Give the pod its other interfaces; ``made`` is in force. If it raises, ``delete`` is called."""

    async def delete(self, request: CniRequest, netns_fd: int | None) -> None:
        """Take them away; no error where there are none. The pod's namespace may be gone (None)."""

    async def check(self, request: CniRequest, netns_fd: int) -> None:
        """Pass where they are as they were left."""

    async def collect(self, network: str, valid: frozenset[Attachment]) -> None:
        """Take away those of pods of this network whose own attachment is not among the valid ones."""

    def moved_families(self, attachment: Attachment) -> frozenset[Family]:
        """Families whose default route goes through one of them; asked on a thread that may block."""


class MappedPorts(Protocol):
    """Ports of the node that lead to ports of containers, as runtimes map them."""

    async def opened(self, lease: Lease) -> None:
        """Return when the ports of a lease are in force; called when its interface is."""

    def closed(self, lease: Lease) -> None:
        """The interface is gone; called before others may get its addresses."""
