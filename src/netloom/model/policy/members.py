"""Who is in a set: addresses, ranges and ports, each with the object that it comes from."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.domains import covers
from netloom.model.policy.pods import PodFacts
from netloom.model.policy.state import (
    DomainPeers,
    Endpoint,
    EndpointPeers,
    Member,
    NetworkPeers,
    NodePeers,
    PodPeers,
    SetKey,
)
from netloom.units import Addr, ObjectKey

NOBODY = ObjectKey("", "")


def members_of(cluster: PolicyCluster, key: SetKey) -> dict[Member, ObjectKey]:
    """All members of a set."""
    match key:
        case PodPeers():
            return {address: pod.key for pod in cluster.pods_of(key) for address in cluster.held(pod)}
        case EndpointPeers():
            return {
                member: pod.key
                for pod in cluster.pods_of(key.pods)
                for member in pod_members(key, pod, cluster.held(pod))
            }
        case NodePeers():
            # Where two nodes claim an address it is in the set once: sorted, so that it always comes from the same one.
            places = sorted(cluster.places_of(key.nodes), key=lambda found: found[0], reverse=True)
            return {address: ObjectKey("", name) for name, place in places for address in place.addresses}
        case NetworkPeers():
            return dict.fromkeys(key.cidrs, NOBODY)
        case DomainPeers(names=patterns):
            # An address that several names have is in the set once, always by the same one.
            known = sorted(
                (k for k in cluster.domains.values() if covers(patterns, k.name)), key=lambda k: k.name
            )
            return {address: ObjectKey("", one.name) for one in reversed(known) for address in one.addresses}


def pod_members(
    key: PodPeers | EndpointPeers, pod: PodFacts, addresses: tuple[Addr, ...]
) -> Iterator[Member]:
    """What a pod that a set is about puts into it, given the addresses that it holds."""
    if isinstance(key, PodPeers):
        yield from addresses
        return
    for port in pod.ports:
        if port.name == key.port and key.protocol in (None, port.protocol):
            for address in addresses:
                yield Endpoint(address, port.protocol, port.number)
