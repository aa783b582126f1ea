"""Who is where, beside frontends: pods of this node, other nodes, ranges of pods. Pure.

In: the model's state or a change of it. Out: elements of the sets that rules ask for addresses. Not here: frontends (``entries``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from netloom.dataplane.nftables.containers import HAIRPIN, OWN_POD_RANGES, OWN_SOURCE, PEERS, POD_RANGES
from netloom.dataplane.nftables.element_ops import Elements
from netloom.model.state import Delta, NetworkState, PodRange
from netloom.program.nft import Key, Value
from netloom.units import Addr, Cidr, Family, family_of


class Places(msgspec.Struct, frozen=True):
    """What the sets of one family hold."""

    pods: frozenset[Addr] = frozenset()
    """Pods of this node."""
    own_source: frozenset[Addr] = frozenset()
    """Those of them that leave the cluster with their own address."""
    peers: Mapping[Cidr, Addr] = {}
    """Addresses of other nodes that have a way back to pods, by the pod range behind each; several ranges may have one."""
    ranges: Mapping[Cidr, PodRange] = {}
    """Of pods, beside those that stand in rules; they may overlap."""


def places_of(state: NetworkState, family: Family) -> Places:
    """The places of one family."""
    return Places(
        pods=frozenset(address for address in state.local_pods if family_of(address) is family),
        own_source=frozenset(
            address
            for address, pod in state.local_pods.items()
            if family_of(address) is family and pod.keeps_source is not None
        ),
        peers={cidr: r.via for cidr, r in state.routes.items() if r.is_plain and family_of(r.via) is family},
        ranges={cidr: one for cidr, one in state.ranges.items() if family_of(cidr) is family},
    )


def changed(before: Places, delta: Delta, family: Family) -> Places:
    """The places after a change."""
    pods, own_source = before.pods, before.own_source
    if delta.local_pods:
        come = {a: pod for a, pod in delta.local_pods.items() if pod is not None and family_of(a) is family}
        pods = (pods - delta.local_pods.keys()) | come.keys()
        keeping = {address for address, pod in come.items() if pod.keeps_source is not None}
        own_source = (own_source - delta.local_pods.keys()) | keeping
    peers, ranges = before.peers, before.ranges
    if delta.routes:
        peers = {cidr: via for cidr, via in peers.items() if cidr not in delta.routes}
        for cidr, route in delta.routes.items():
            if route is not None and route.is_plain and family_of(route.via) is family:
                peers[cidr] = route.via
    if delta.ranges:
        ranges = {cidr: one for cidr, one in ranges.items() if cidr not in delta.ranges}
        ranges |= {c: one for c, one in delta.ranges.items() if one is not None and family_of(c) is family}
    return Places(pods, own_source, peers, ranges)


def elements_of(places: Places) -> Elements:
    """All elements."""
    return {
        HAIRPIN.name: {(pod.packed, pod.packed): None for pod in places.pods},
        OWN_SOURCE.name: {(pod.packed,): None for pod in places.own_source},
        PEERS.name: {(address.packed,): None for address in places.peers.values()},
        **_range_elements(places),
    }


def touched(places: Places, delta: Delta) -> Elements:
    """The elements that ``delta`` may change, of these places, which may be those before it or after it."""
    found: Elements = {HAIRPIN.name: {}, OWN_SOURCE.name: {}}
    for pod in delta.local_pods:
        if pod in places.pods:
            found[HAIRPIN.name][pod.packed, pod.packed] = None
        if pod in places.own_source:
            found[OWN_SOURCE.name][pod.packed,] = None
    if delta.routes:
        found[PEERS.name] = {(address.packed,): None for address in places.peers.values()}
    if delta.ranges:
        found |= _range_elements(places)
    return found


def _range_elements(places: Places) -> Elements:
    own = (cidr for cidr, one in places.ranges.items() if one.is_own)
    return {POD_RANGES.name: _ranges(places.ranges), OWN_POD_RANGES.name: _ranges(own)}


def _ranges(cidrs: Iterable[Cidr]) -> dict[Key, Value]:
    """The same addresses in ranges that do not overlap: an interval set takes no others."""
    given = list(cidrs)
    v4 = ipaddress.collapse_addresses(one for one in given if isinstance(one, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(one for one in given if isinstance(one, ipaddress.IPv6Network))
    merged: list[Cidr] = [*v4, *v6]
    return {(one[0].packed + one[-1].packed,): None for one in merged}
