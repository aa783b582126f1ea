"""netloom.io/v1alpha1: LoadBalancerPool, from which Services of type LoadBalancer get addresses; and how a Service asks for one.

Texts are as they were written; ``model/load_balancers`` reads them. Definition: deploy/crds/loadbalancerpools.yaml.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import Condition, KubeObject, LabelSelector

LOAD_BALANCER_CLASS = "netloom.io/load-balancer"
"""``spec.loadBalancerClass`` of Services that are ours; those that name none are ours, too."""
POOL_ANNOTATION = "netloom.io/load-balancer-pool"
"""Of a Service: names of pools, with commas between them; the first that has an address left is used."""
ADDRESSES_ANNOTATION = "netloom.io/load-balancer-addresses"
"""Of a Service: the addresses that it wants, at most one of each family, with a comma between them."""
SHARE_ANNOTATION = "netloom.io/share-address"
"""Of a Service: a key; Services with the same key may have the same addresses."""

LAYER2, BGP = "Layer2", "BGP"
"""The words of ``spec.announce``."""


class AggregationLength(msgspec.Struct, frozen=True):
    """Prefix lengths of the routes that are announced, one for each family."""

    ipv4: int = 32
    ipv6: int = 128


class BgpAnnouncement(msgspec.Struct, frozen=True, rename="camel"):
    """What routes to addresses of a pool carry."""

    communities: tuple[str, ...] = ()
    """``65000:100``, or a name that is well known (RFC 1997)."""
    large_communities: tuple[str, ...] = ()
    """``65000:1:2`` (RFC 8092)."""
    local_pref: int | None = None
    """For peers of the own autonomous system; None: theirs to choose."""
    aggregation_length: AggregationLength = AggregationLength()


class LoadBalancerPoolSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What the pool holds, who may have addresses of it, and how they are made known. A selector that is missing excludes nobody."""

    cidrs: tuple[str, ...] = ()
    """Ranges, all addresses of which can be given."""
    ranges: tuple[str, ...] = ()
    """The same as ``first-last``, both included."""
    auto_assign: bool = True
    """Whether Services get addresses of it that neither name the pool nor ask for one of its addresses."""
    namespace_selector: LabelSelector | None = None
    service_selector: LabelSelector | None = None
    reserved: tuple[str, ...] = ()
    """Addresses, CIDRs and ``first-last`` that nobody is given."""
    disabled: bool = False
    """Nobody is given an address any more; who has one keeps it."""
    announce: tuple[str, ...] = (LAYER2, BGP)
    """By which means addresses of it are made known; by none where it is empty."""
    bgp: BgpAnnouncement = BgpAnnouncement()


class AddressCount(msgspec.Struct, frozen=True):
    """Addresses of each family; more than 2**53 - 1 are told as so many, which every reader of JSON takes."""

    ipv4: int = 0
    ipv6: int = 0


class LoadBalancerPoolStatus(msgspec.Struct, frozen=True):
    """How much is in use. ``conditions``: Ready says whether all of the pool can be used."""

    assigned: AddressCount = AddressCount()
    available: AddressCount = AddressCount()
    conditions: tuple[Condition, ...] = ()


class LoadBalancerPool(KubeObject, frozen=True):
    """netloom.io/v1alpha1 LoadBalancerPool, of the whole cluster."""

    spec: LoadBalancerPoolSpec = LoadBalancerPoolSpec()
    status: LoadBalancerPoolStatus = LoadBalancerPoolStatus()
