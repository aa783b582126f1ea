"""Frontends and backends: what a Service means, with nothing of any dataplane in it.

Comes in: one Service and its EndpointSlices (see ``build.py``). Goes out: the values below. They exist by the ten thousand
and hold no cycles, hence ``gc=False``.
"""

from __future__ import annotations

import enum

import msgspec

from netloom.model.provenance import Source
from netloom.units import Addr, Cidr, Family, ObjectKey, Protocol, ServicePortKey


class FrontendKind(enum.Enum):
    """Which field gave the frontend its address."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer address"
    """``status.loadBalancer.ingress[].ip`` of mode VIP."""
    EXTERNAL_IP = "external IP"
    """``spec.externalIPs[]``."""
    HOST_PORT = "hostPort"
    """``spec.containers[].ports[].hostPort`` of a pod, not of a Service; see ``host_ports.py``."""


class FrontendKey(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """Where packets are picked up. ``address`` is None for a NodePort, and mostly for a hostPort: every address of the node."""

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
    of: Source | None = None
    """Its EndpointSlice. Of two slices with the same endpoint the more usable entry counts, of equals the first in name order."""
    index: int = 0
    """Its place in ``endpoints`` there."""

    @property
    def source(self) -> Source | None:
        """EndpointSlice and ``endpoints[i]``. Made when somebody asks: there are 50,000 of them."""
        return None if self.of is None else self.of.at(f"endpoints[{self.index}]")

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
    DROP = "drop"
    """There are endpoints, but a traffic policy of Local keeps this node from all of them: not answered, so that whoever
    balances among nodes finds another (as kube-proxy does)."""
    NODE_LOCAL = "node-local"
    """A server of this node answers at the address itself (cluster DNS, hostPorts at loopback): no translation."""


class Pool(msgspec.Struct, frozen=True, gc=False):
    """What connections of some clients get at a frontend where it depends on who they are."""

    action: FrontendAction
    backends: tuple[Backend, ...]
    left_out: tuple[LeftOut, ...] = ()


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """One address, protocol and port that a Service, or a pod with a hostPort, answers on this node."""

    key: FrontendKey
    kind: FrontendKind
    service_port: ServicePortKey
    """For a hostPort the pod and its port."""
    action: FrontendAction
    backends: tuple[Backend, ...]
    """In order of ``Backend.sort_key``, without repetition."""
    masquerade: bool
    """The node's address becomes the source of what does not come from a pod of this node (externalTrafficPolicy Cluster: the
    answer must come back here). What pods of this node send comes back here anyway, and keeps its source."""
    source: Source
    """Service and field: ``spec.clusterIPs[0]`` with ``spec.ports[1]``, or ``spec.ports[1].nodePort``."""
    left_out: tuple[LeftOut, ...] = ()
    inside: Pool | None = None
    """With externalTrafficPolicy Local: what pods of this node, and the node itself, get (all endpoints; core/v1
    ServiceSpec.externalTrafficPolicy); the node's own connections get its address as their source. None: the same for all."""
    affinity_s: int = 0
    """Seconds for which a client stays with its backend (``spec.sessionAffinity`` ClientIP); 0: not at all."""
    source_ranges: tuple[Cidr, ...] | None = None
    """Whose connections are let in (``spec.loadBalancerSourceRanges``, LoadBalancer addresses only), others are dropped. None:
    everybody's."""
    draining: tuple[Backend, ...] = ()
    """Endpoints of the Service that get no new connection from here, in whatever pool, and whose established TCP and SCTP
    connections live on: they terminate, are not ready, or a policy prefers others. Not those that have left the slices."""

    @property
    def owner(self) -> str:
        """Whose it is, in words: ``shop/cart:http/tcp``, or ``hostPort of Pod shop/cart-7``."""
        if self.kind is FrontendKind.HOST_PORT:
            return f"hostPort of {self.source.subject}"
        return str(self.service_port)


class HealthCheck(msgspec.Struct, frozen=True, gc=False):
    """What a load balancer is told of a Service at ``spec.healthCheckNodePort`` (externalTrafficPolicy Local)."""

    service: ObjectKey
    local_endpoints: int
    """Ready endpoints of all slices of the Service on this node, each address once."""
    source: Source
