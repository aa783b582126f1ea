"""Reachability by classes says of every pair and port what the judge says of the packet, and what a naive reading says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import PodIP, PodStatus
from netloom.model.inputs import ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.domains import KnownName
from netloom.model.policy.judge import Judge
from netloom.model.policy.verdicts import Traffic
from netloom.observe.estate.estate import Estate
from netloom.observe.estate.scenes import Surveyed, survey
from netloom.observe.reach.ends import EndKind
from netloom.observe.reach.scene import PodEnd
from netloom.testing.naive_policy import Packet, naive
from netloom.testing.policy_universe import CLUSTER, some_object, some_view
from netloom.testing.service_universe import Choose
from netloom.units import Addr, ObjectKey, Protocol, family_of

NAIVELY = 20
"""Packets of each cluster of which the naive reading is asked, too: it takes its time."""


def choices(data: st.DataObject) -> Choose:
    def choose(options):
        return data.draw(st.sampled_from(options))

    return choose


def estate_of(view: ClusterView) -> Estate:
    kinds = {
        "Pod": view.pods,
        "Service": view.services,
        "Node": view.nodes,
        "Namespace": view.namespaces,
        "NetworkPolicy": view.policies,
        "ClusterNetworkPolicy": view.cluster_policies,
    }
    return Estate(kinds, is_live=True)


def all_packets(found: Surveyed, side: int) -> Iterator[tuple[Traffic, int]]:
    """Between every two pods, nodes and clients, whatever class they are in, on every port: and the ports that are found."""
    ends = found.reach.ends
    addresses: list[tuple[Addr, int]] = [(a, place) for a, place in found.reach.all.place_of[side].items()]
    addresses += [(end.outside.example, end.index) for end in ends if end.outside is not None]
    for source, sender in addresses:
        for destination, receiver in addresses:
            kinds = ends[sender].kind, ends[receiver].kind
            if source == destination or family_of(source) is not family_of(destination):
                continue
            if EndKind.POD not in kinds or kinds[0] is EndKind.DNS:
                continue
            bits = found.reach.ports_between(side, ends[sender], ends[receiver])
            for number, (protocol, port) in enumerate(
                found.reach.ports.examples(found.reach.ports.everything)
            ):
                if kinds[1] is EndKind.DNS and (port != 53 or protocol is Protocol.SCTP):
                    continue
                yield Traffic(source, destination, protocol, port), bits >> number & 1


def is_local(view: ClusterView, traffic: Traffic) -> bool:
    """From the receiver's own node, which is always let in: the one thing that classes do not know."""
    nodes = {str(traffic.source), str(traffic.destination)}
    for pod in view.pods.values():
        if {given.ip for given in pod.status.pod_ips} & nodes and not pod.spec.host_network:
            node = next((n for n in view.nodes.values() if n.metadata.name == pod.spec.node_name), None)
            if node is not None and {a.address for a in node.status.addresses} & nodes:
                return True
    return False


def settled(view: ClusterView, pods: Mapping[ObjectKey, PodEnd]) -> ClusterView:
    """With the addresses that stand in for those of pods that have none yet, or none of their own."""
    given = dict(view.pods)
    for key, end in pods.items():
        if not end.has_address and not end.is_host_network:
            status = PodStatus(phase="Running", pod_ips=tuple(PodIP(str(a)) for a in end.addresses))
            given[key] = msgspec.structs.replace(given[key], status=status)
    return msgspec.structs.replace(view, pods=given)


def surveyed(*views: ClusterView) -> Surveyed:
    return survey([estate_of(view) for view in views], CLUSTER)


@given(st.data())
def test_classes_fare_as_the_judge_says_of_each_of_their_members(data):
    choose = choices(data)
    # what a node's pods were told of domain names is no part of what is planned
    view = msgspec.structs.replace(some_view(choose), domains={})
    changed = view
    for _ in range(choose((1, 2))):
        obj = some_object(choose)
        if isinstance(obj, KnownName):
            continue
        field = {
            "Pod": "pods", "Service": "services", "Node": "nodes", "Namespace": "namespaces",
            "NetworkPolicy": "policies", "ClusterNetworkPolicy": "cluster_policies",
        }[type(obj).__name__]  # fmt: skip
        changed = msgspec.structs.replace(changed, **{field: {**getattr(changed, field), obj.key: obj}})
    found = surveyed(view, changed)
    dns = CLUSTER.dns_addresses
    for side, unsettled in enumerate((view, changed)):
        one = settled(unsettled, found.pods[side])
        judge = Judge(PolicyCluster.of(one, dns))
        asked = [(t, bits) for t, bits in all_packets(found, side) if not is_local(one, t)]
        for traffic, bits in asked:
            egress, ingress = judge.both(traffic)
            is_allowed = egress.is_allowed and ingress.is_allowed
            assert (bits != 0) is is_allowed, (side, traffic, egress, ingress)
        for _ in range(NAIVELY if asked else 0):
            traffic, bits = choose(asked)
            packet = Packet(traffic.source, traffic.destination, traffic.protocol, traffic.port)
            assert naive(one, packet, dns).allowed is (bits != 0), (side, traffic)
