"""All nodes of a cluster side by side, computed when a walk comes by.

Comes in: a ``ClusterView`` and ``ClusterFacts``. Goes out: what each node knows. Not here: any path.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from netloom.api.core import Pod, Service
from netloom.model.announcing.duties import Announcing
from netloom.model.announcing.gone import GoneNode, is_unready
from netloom.model.announcing.view import AnnounceView, Duty
from netloom.model.claims import seniority
from netloom.model.facts import facts_of
from netloom.model.gateways.plan import Plan
from netloom.model.inputs import Changes, ClusterFacts, ClusterView, NodeFacts
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings, RecordSets
from netloom.model.network import Network
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge
from netloom.model.provenance import Finding, source_of
from netloom.model.routes.blocks import BlockBuild, build_blocks
from netloom.model.routes.local_pods import holder_rank, local_addresses
from netloom.model.routes.peers import peer_routes, read_node
from netloom.model.services.addresses import AddressReader, GivenAddress
from netloom.model.services.frontends import FrontendKind
from netloom.model.services.labels import opt_out
from netloom.model.state import NetworkState, PeerRoute
from netloom.model.walk.networks import Attached, by_address
from netloom.units import Addr, Cidr


class ClusterModel:
    """A cluster at one moment. What is asked for is computed once and kept; the objects never change."""

    def __init__(self, view: ClusterView, facts: ClusterFacts, plan: Plan | None = None) -> None:
        self.view = view
        self.facts = facts
        self.plan = plan or Plan()
        """What gateways do; without any where nobody asks for URLs."""
        self.nodes: dict[str, NodeFacts] = {
            node.metadata.name: facts_of(node, facts)
            for node in sorted(view.nodes.values(), key=lambda n: seniority(n.metadata))
        }
        self._states: dict[str, NetworkState] = {}
        self._routings: dict[str, tuple[dict[Cidr, PeerRoute], tuple[Finding, ...]]] = {}
        self._beside: dict[str, BlockBuild] = {}

    def state(self, node: str) -> NetworkState:
        """The whole network of one node."""
        if node not in self._states:
            self._states[node] = Network.compute(self.view, self.nodes[node])
        return self._states[node]

    def route(self, node: str, address: Addr) -> PeerRoute | None:
        """The node's route to a pod of another node: the narrowest that fits."""
        found = (route for cidr, route in self._routing(node)[0].items() if address in cidr)
        return max(found, key=lambda route: route.destination.prefixlen, default=None)

    def own_range(self, node: str, address: Addr) -> Cidr | None:
        """The range of this node's pods that an address is in; None where a narrower one is another node's."""
        mine = [cidr for cidr in self.own_ranges(node) if address in cidr]
        narrowest = max(mine, key=lambda cidr: cidr.prefixlen, default=None)
        route = self.route(node, address)
        is_away = (
            route is not None and narrowest is not None and route.destination.prefixlen > narrowest.prefixlen
        )
        return None if is_away else narrowest

    def own_ranges(self, node: str) -> tuple[Cidr, ...]:
        """Ranges of this node's pods: its own, and its blocks of pools."""
        beside = self._blocks(node).ranges.values()
        return (*self.nodes[node].pod_cidrs, *(one.cidr for one in beside if one.is_own))

    def pod_ranges(self, node: str) -> tuple[Cidr, ...]:
        """Ranges in which pods of any node have addresses, as this node knows them."""
        facts = self.nodes[node]
        return (*facts.cluster_cidrs, *facts.pod_cidrs, *self._blocks(node).ranges)

    def is_peer(self, node: str, address: Addr) -> bool:
        """True for an address of a node that this one has plain routes to pods of; it has such routes, too."""
        return any(route.is_plain and route.via == address for route in self._routing(node)[0].values())

    def node_at(self, address: Addr) -> str | None:
        """The node whose own address this is."""
        return next((name for name, facts in self.nodes.items() if address in facts.addresses), None)

    def pod_at(self, address: Addr, node: str | None = None) -> Pod | None:
        """The pod with this address in a network of its own (on this node); the oldest where several say so."""
        found = (pod for pod in self._pods_at.get(address, ()) if node in (None, pod.spec.node_name))
        return next(found, None)

    def route_findings(self, node: str) -> tuple[Finding, ...]:
        """What of other Nodes this one could not use for routes."""
        return self._routing(node)[1]

    def _routing(self, node: str) -> tuple[dict[Cidr, PeerRoute], tuple[Finding, ...]]:
        if node not in self._routings:
            ranges = [read_node(n) for n in self.view.nodes.values()]
            routes, findings = peer_routes(ranges, self.nodes[node])
            beside = self._blocks(node)
            self._routings[node] = ({**routes, **beside.routes}, (*findings, *beside.findings))
        return self._routings[node]

    def _blocks(self, node: str) -> BlockBuild:
        if node not in self._beside:
            ranges = [read_node(n) for n in self.view.nodes.values()]
            view = self.view
            self._beside[node] = build_blocks(
                view.pools.values(), view.blocks.values(), ranges, self.nodes[node]
            )
        return self._beside[node]

    @cached_property
    def _pods_at(self) -> dict[Addr, list[Pod]]:
        found: dict[Addr, list[Pod]] = {}
        for pod in sorted(self.view.pods.values(), key=holder_rank):
            for local in local_addresses(pod, pod.spec.node_name).addresses:
                found.setdefault(local.address, []).append(pod)
        return found

    @cached_property
    def further_networks(self) -> Mapping[Addr, list[Attached]]:
        """Who has which address in networks beside the cluster's own."""
        return by_address(self.view.pods.values())

    @cached_property
    def judge(self) -> Judge:
        """Who knows what policies say of a packet."""
        return Judge(PolicyCluster.of(self.view, self.facts.dns_addresses))

    @cached_property
    def names(self) -> Names:
        """Every name of the cluster."""
        names = Names(NameSettings.from_facts(self.facts))
        view = self.view
        names.update(
            Changes(services=view.services, slices=view.slices, pods=view.pods, namespaces=view.namespaces)
        )
        return names

    @cached_property
    def records(self) -> Mapping[str, RecordSets]:
        """The records of every name."""
        return self.names.state.names

    def service_with(self, address: Addr) -> Service | None:
        """The Service that has this ClusterIP; the oldest where several say so."""
        return self._services_at.get(str(address))

    def outer_addresses(self, service: Service) -> tuple[GivenAddress, ...]:
        """LoadBalancer addresses and external IPs at which a Service is served."""
        if opt_out(service.metadata.labels):
            return ()
        read = self._addresses.read(service, source_of("Service", service.metadata))
        return tuple(one for one in read.given if one.kind is not FrontendKind.CLUSTER_IP)

    def outer_service(self, address: Addr) -> Service | None:
        """The Service that has this LoadBalancer address or external IP; the oldest where several say so."""
        return self._outer_services.get(address)

    @cached_property
    def duties(self) -> Mapping[Addr, Duty]:
        """Addresses outside that nodes answer for; none where the view has no pools.

        A node that is not ready answers for nothing, and nothing is announced by BGP where there is no peer.
        """
        if not isinstance(self.view, AnnounceView):
            return {}
        gone = {key: GoneNode(key.name) for key, node in self.view.nodes.items() if is_unready(node)}
        found = Announcing.compute(
            msgspec.structs.replace(self.view, gone=gone),
            cluster_cidrs=self.facts.cluster_cidrs,
            service_cidrs=self.facts.service_cidrs,
        ).duties
        if self.view.bgp_peers:
            return found
        return {address: msgspec.structs.replace(duty, bgp=False) for address, duty in found.items()}

    def service_at_node_port(self, port: int | None) -> Service | None:
        """The Service that has this nodePort."""
        return None if port is None else self._node_ports.get(port)

    @cached_property
    def _node_ports(self) -> dict[int, Service]:
        return {
            port.node_port: service
            for service in reversed(self._by_age)
            for port in service.spec.ports
            if port.node_port
        }

    @cached_property
    def _outer_services(self) -> dict[Addr, Service]:
        found: dict[Addr, Service] = {}
        for service in self._by_age:
            for given in self.outer_addresses(service):
                found.setdefault(given.address, service)
        return found

    @cached_property
    def _addresses(self) -> AddressReader:
        facts = self.facts
        pods = tuple(cidr for node in self.nodes.values() for cidr in node.pod_cidrs)
        return AddressReader(
            NodeFacts(
                name="", cluster_cidrs=facts.cluster_cidrs, pod_cidrs=pods, service_cidrs=facts.service_cidrs
            )
        )

    @cached_property
    def _by_age(self) -> list[Service]:
        return sorted(self.view.services.values(), key=lambda s: seniority(s.metadata))

    @cached_property
    def _services_at(self) -> dict[str, Service]:
        found: dict[str, Service] = {}
        for service in self._by_age:
            for text in service.spec.cluster_ips or (service.spec.cluster_ip,):
                found.setdefault(text, service)
        return found
