"""Frontends and backends: what a Service means, with nothing of any dataplane in it.

Comes in: one Service and its EndpointSlices (see ``build.py``). Goes out: the values below. They exist by the ten thousand
and hold no cycles, hence ``gc=False``.
"""

from __future__ import annotations

import enum

import msgspec

from netloom.model.provenance import Source
from netloom.units import Addr, Family, ObjectKey, Protocol, ServicePortKey


class FrontendKind(enum.Enum):
    """Which field of the Service gave the frontend its address."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"


class FrontendKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Where packets are picked up. ``address`` is None for a NodePort: every address of the node."""

    family: Family
    address: Addr | None
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        if self.address is None:
            host = "*"
        elif self.family is Family.V6:
            host = f"[{self.address}]"
        else:
            host = str(self.address)
        return f"{host}:{self.port}/{self.protocol.word}"

    @property
    def sort_key(self) -> tuple[str, bytes, str, int]:
        """A total order, for output that is always the same."""
        return (
            self.family.value,
            self.address.packed if self.address else b"",
            self.protocol.value,
            self.port,
        )


class Backend(msgspec.Struct, frozen=True, gc=False):
    """One place to which a frontend may send a connection."""

    address: Addr
    port: int
    node: str = ""
    """``nodeName`` of the endpoint; empty where the slice does not say."""
    pod: ObjectKey | None = None
    source: Source | None = None
    """EndpointSlice and ``endpoints[i]``. Of two slices with the same endpoint the more usable entry counts, of
    equals the first in name order."""

    @property
    def sort_key(self) -> tuple[int, bytes, int]:
        """A total order by meaning: address, then port."""
        return (self.address.version, self.address.packed, self.port)

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class LeftOut(msgspec.Struct, frozen=True, gc=False):
    """An endpoint that is not a backend, and why."""

    address: str
    reason: str
    source: Source


class FrontendAction(enum.Enum):
    """What happens to a new connection at a frontend."""

    BALANCE = "balance"
    """One of the backends, each with the same share."""
    REJECT = "reject"
    """Nobody can answer: refused at once (ICMP port unreachable), never left to time out."""
    NODE_LOCAL = "node-local"
    """A server of this node answers at the address itself (cluster DNS): no translation."""


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """One address, protocol and port that a Service answers on this node."""

    key: FrontendKey
    kind: FrontendKind
    service_port: ServicePortKey
    action: FrontendAction
    backends: tuple[Backend, ...]
    """In order of ``Backend.sort_key``, without repetition."""
    masquerade: bool
    """The node's address becomes the source (NodePort with externalTrafficPolicy Cluster: the answer must come back here)."""
    source: Source
    """Service and field: ``spec.clusterIPs[0]`` with ``spec.ports[1]``, or ``spec.ports[1].nodePort``."""
    left_out: tuple[LeftOut, ...] = ()


class FlowClass(msgspec.Struct, frozen=True, gc=False):
    """Established flows that the model would no longer create: those of a frontend to a backend that has gone.

    For UDP they are deleted from conntrack at once (DESIGN decision 4); a ``backend`` of None means all of that frontend.
    """

    frontend: FrontendKey
    backend: Backend | None
