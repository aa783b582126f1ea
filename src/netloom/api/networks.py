"""Networks beside the cluster's own: k8s.cni.cncf.io/v1 NetworkAttachmentDefinition, netloom.io/v1alpha1 NetworkPool, NetworkLease.

NetworkAttachmentDefinition is the Network Plumbing Working Group's (de-facto standard, version 1.3, section 3); the other two are
ours: cluster-wide addresses for such networks. Annotations of pods are named here, too. Not here: what they mean.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject

NETWORKS_ANNOTATION = "k8s.v1.cni.cncf.io/networks"
"""What a pod asks for (de-facto standard, section 4.1)."""
STATUS_ANNOTATION = "k8s.v1.cni.cncf.io/network-status"
"""What it got (section 5)."""
DEFAULT_NETWORK_ANNOTATION = "v1.multus-cni.io/default-network"
"""Multus' way to ask for another network in place of the cluster's."""

POOL_LABEL = "netloom.io/pool"
"""Label of leases, so that those of one pool can be listed."""


class AttachmentSpec(msgspec.Struct, frozen=True):
    """NetworkAttachmentDefinitionSpec; without ``config`` the node has a configuration of the object's name."""

    config: str = ""


class NetworkAttachmentDefinition(KubeObject, frozen=True):
    """k8s.cni.cncf.io/v1 NetworkAttachmentDefinition."""

    spec: AttachmentSpec = AttachmentSpec()


class AddressRange(msgspec.Struct, frozen=True):
    """Addresses from ``start`` to ``end``, both included."""

    start: str
    end: str


class PoolRoute(msgspec.Struct, frozen=True):
    """A route for the pods of a pool; without ``gw`` through the pool's gateway."""

    dst: str
    gw: str = ""


class NetworkPoolSpec(msgspec.Struct, frozen=True, rename="camel"):
    """Addresses that are given out, cluster-wide.

    ``cidrs`` are the segments: an address has its segment's prefix length; one address of each family is given. ``ranges`` bounds
    what is given out to parts of them; ``gateways`` and ``reserved`` (addresses, CIDRs, ``first-last``) are never given out.
    ``keep_seconds``: how long an address is kept for a pod of the same name after the pod that had it is gone; 0: not at all.
    """

    cidrs: tuple[str, ...] = ()
    ranges: tuple[AddressRange, ...] = ()
    gateways: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    routes: tuple[PoolRoute, ...] = ()
    keep_seconds: int = 0


class NetworkPool(KubeObject, frozen=True):
    """netloom.io/v1alpha1 NetworkPool, of the whole cluster."""

    spec: NetworkPoolSpec = NetworkPoolSpec()


class LeaseHolder(msgspec.Struct, frozen=True, rename="camel"):
    """Who has an address. ``pod`` is namespace/name; ``uid`` and ``container`` are empty for an address that is kept for a name."""

    pod: str = ""
    uid: str = ""
    node: str = ""
    container: str = ""
    interface: str = ""


class NetworkLeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """One address of one pool, and who has it. ``kept_until``: RFC 3339, for an address that is kept for a name."""

    pool: str = ""
    address: str = ""
    holder: LeaseHolder = LeaseHolder()
    kept_until: str = ""


class NetworkLease(KubeObject, frozen=True):
    """netloom.io/v1alpha1 NetworkLease, of the whole cluster; its name is a function of pool and address."""

    spec: NetworkLeaseSpec = NetworkLeaseSpec()
