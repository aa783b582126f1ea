"""An estate, or one before and after a change, as the scenes of which reachability is computed. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Namespace, Pod, Service
from netloom.api.networking import NetworkPolicy
from netloom.model.claims import Seniority, Standing
from netloom.model.inputs import ClusterFacts
from netloom.model.policy.pods import ContainerPortName, PodFacts, read_dns
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.model.policy.reading.rules import PolicyReading
from netloom.model.policy.state import NetworkPeers, PodPeers, PortRange
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.pods import Addresses, Pods, places_of
from netloom.observe.estate.services import Door, DoorKey, doors_of, interest_of
from netloom.observe.reach.scene import PodEnd, Scene
from netloom.observe.reachability import Reachability
from netloom.observe.settings import guessed_facts
from netloom.units import Addr, Cidr, Family, ObjectKey, Protocol, family_of, parse_addr

_POD_RANGE = ipaddress.ip_network("10.244.0.0/16")
_POD_RANGE_V6 = ipaddress.ip_network("fd00:10:244::/56")
_SERVICE_RANGE = ipaddress.ip_network("10.96.0.0/12")
"""What is assumed where nothing says it: the ranges that most clusters have."""
_DNS_LABEL = {"k8s-app": "kube-dns"}
_DNS_ADDRESS = {Family.V4: "10.96.0.10", Family.V6: "fd00:10:96::a"}


class Surveyed(msgspec.Struct, frozen=True):
    """Reachability of one or two estates, with what is behind it."""

    reach: Reachability
    pods: tuple[Mapping[ObjectKey, PodEnd], ...]
    doors: tuple[Mapping[DoorKey, Door], ...]
    notes: tuple[str, ...] = ()


def survey(
    estates: Sequence[Estate], facts: ClusterFacts | None = None, *, ports: tuple[PortRange, ...] = ()
) -> Surveyed:
    """Everything that is asked of reachability: one estate, or one before and one after a change.

    Args:
        estates: in this order.
        facts: of the cluster; without them, what its objects tell.
        ports: that are asked about by number.
    """
    facts = facts or assumed_facts(estates[-1])
    known: dict[int, PolicyReading] = {}
    readings = [tuple(_readings(estate, known)) for estate in estates]
    families = _families(estates, facts)
    taken = frozenset(a for estate in estates for pod in estate.of(Pod).values() for a in _pod_addresses(pod))
    addresses = Addresses(facts.cluster_cidrs, families, taken)
    told_apart = frozenset(key for estate in estates for key in _told_apart(estate))
    told_apart |= {key for found in readings for reading in found for key in _keys(reading)}
    pods = tuple(
        Pods(estate, estates[0], addresses=addresses, told_apart=told_apart).all() for estate in estates
    )
    doors = tuple(doors_of(estate, found, families) for estate, found in zip(estates, pods, strict=True))
    services = [service for estate in estates for service in estate.of(Service).values()]
    interest = interest_of(services, (door for found in doors for door in found.values()), ports)
    scenes = [
        _scene(estate, found, read, facts, families)
        for estate, found, read in zip(estates, pods, readings, strict=True)
    ]
    notes = tuple(_range_notes(pods, readings, facts))
    return Surveyed(Reachability(scenes, interest), pods, doors, notes)


def assumed_facts(estate: Estate) -> ClusterFacts:
    """What the objects tell of a cluster, and the usual where they do not."""
    guessed = guessed_facts(estate.view())
    return ClusterFacts(
        cluster_cidrs=guessed.cluster_cidrs or (_POD_RANGE, _POD_RANGE_V6),
        service_cidrs=guessed.service_cidrs if estate.is_live else (_SERVICE_RANGE, *guessed.service_cidrs),
        dns_addresses=guessed.dns_addresses,
    )


def _readings(estate: Estate, known: dict[int, PolicyReading]) -> Iterator[PolicyReading]:
    """The policies; ``known`` are those read already, by the identity of the object: a change leaves most as they are."""
    for policy in estate.of(NetworkPolicy).values():
        if id(policy) not in known:
            known[id(policy)] = read_network_policy(policy)
        yield known[id(policy)]
    for cluster_policy in estate.of(ClusterNetworkPolicy).values():
        if id(cluster_policy) not in known:
            known[id(cluster_policy)] = read_cluster_policy(cluster_policy)
        yield known[id(cluster_policy)]


def _told_apart(estate: Estate) -> Iterator[str]:
    for service in estate.of(Service).values():
        yield from service.spec.selector or ()


def _keys(reading: PolicyReading) -> Iterator[str]:
    yield from (requirement.key for requirement in reading.subject.pods.requirements)
    for rule in (*(reading.ingress or ()), *(reading.egress or ())):
        for peer in rule.peers or ():
            if isinstance(peer.key, PodPeers):
                yield from (requirement.key for requirement in peer.key.pods.requirements)


def _families(estates: Sequence[Estate], facts: ClusterFacts) -> tuple[Family, ...]:
    """Those that pods have; IPv6 only where something asks for it."""
    pods = (pod for estate in estates for pod in estate.of(Pod).values())
    if any(estate.is_live for estate in estates):
        found = {family_of(address) for pod in pods for address in _pod_addresses(pod)}
        found = found or {family_of(cidr) for cidr in facts.cluster_cidrs}
    else:
        found = {Family.V4}
        services = (service for estate in estates for service in estate.of(Service).values())
        if any("IPv6" in service.spec.ip_families for service in services):
            found.add(Family.V6)
    return tuple(family for family in Family if family in found) or (Family.V4,)


def _pod_addresses(pod: Pod) -> Iterator[Addr]:
    texts = [given.ip for given in pod.status.pod_ips] or [pod.status.pod_ip]
    return (address for text in texts if (address := parse_addr(text)) is not None)


def _scene(
    estate: Estate,
    pods: Mapping[ObjectKey, PodEnd],
    readings: tuple[PolicyReading, ...],
    facts: ClusterFacts,
    families: tuple[Family, ...],
) -> Scene:
    namespaces = {key.name: found.metadata.labels for key, found in estate.of(Namespace).items()}
    places = places_of(estate)
    nodes = [ipaddress.ip_network(f"{a}/{a.max_prefixlen}") for p in places.values() for a in p.addresses]
    return Scene(
        pods=pods,
        namespaces=namespaces,
        nodes=places,
        readings=readings,
        stand_ins=tuple(_stand_ins(estate, pods, facts, families)),
        inside=(*facts.cluster_cidrs, *facts.service_cidrs, *nodes, *_strays(pods, facts)),
    )


def _strays(pods: Mapping[ObjectKey, PodEnd], facts: ClusterFacts) -> Iterator[Cidr]:
    """Addresses of pods that are in no range of pods: some networks give any."""
    for pod in pods.values():
        for address in pod.addresses:
            if not any(address in cidr for cidr in facts.cluster_cidrs):
                yield ipaddress.ip_network(f"{address}/{address.max_prefixlen}")


def _stand_ins(
    estate: Estate, pods: Mapping[ObjectKey, PodEnd], facts: ClusterFacts, families: tuple[Family, ...]
) -> Iterator[PodFacts]:
    """The cluster's DNS, unless it is pods that are there."""
    for service in estate.of(Service).values():
        facts_ = read_dns(service, facts.dns_addresses)
        if facts_ is None:
            continue
        pairs = (service.spec.selector or {}).items()
        is_pods = any(
            pod.key.namespace == service.key.namespace and pairs <= pod.labels.items()
            for pod in pods.values()
        )
        if not (pairs and is_pods):
            yield facts_
        return
    is_pods = any(_DNS_LABEL.items() <= pod.labels.items() for pod in pods.values())
    if not estate.is_live and not is_pods:
        yield PodFacts(
            key=ObjectKey("kube-system", "service/kube-dns"),
            uid="",
            labels=_DNS_LABEL,
            addresses=tuple(ipaddress.ip_address(_DNS_ADDRESS[family]) for family in families),
            node="",
            ports=(
                ContainerPortName("dns", Protocol.UDP, 53),
                ContainerPortName("dns-tcp", Protocol.TCP, 53),
            ),
            rank=Seniority(Standing.BY_RIGHT, False, "", "", ""),
            is_stand_in=True,
        )


def _range_notes(
    pods: Sequence[Mapping[ObjectKey, PodEnd]],
    readings: Sequence[tuple[PolicyReading, ...]],
    facts: ClusterFacts,
) -> Iterator[str]:
    """Rules about a part of the pods' range, where some pods have no address yet."""
    if all(pod.has_address or pod.is_host_network for found in pods for pod in found.values()):
        return
    seen = dict.fromkeys(
        (reading.ref, peer.field, cidr)
        for reading in {id(reading): reading for found in readings for reading in found}.values()
        for rule in (*(reading.ingress or ()), *(reading.egress or ()))
        for peer in rule.peers or ()
        if isinstance(peer.key, NetworkPeers)
        for cidr in peer.key.cidrs
        if any(_is_part(cidr, whole) for whole in facts.cluster_cidrs)
    )
    for ref, field, cidr in seen:
        yield f"{ref}: {field}: {cidr} is a part of the range of pods; which pods will have such an address is not known"


def _is_part(cidr: Cidr, whole: Cidr) -> bool:
    is_longer = cidr.version == whole.version and cidr.prefixlen > whole.prefixlen
    return is_longer and cidr.network_address in whole
