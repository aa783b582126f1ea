"""The composition root of a node: constructors and one TaskGroup. It joins the rooms below and decides nothing.

Order at the start: the CNI socket opens first (a runtime that calls too early is told to try again), the watches read
the cluster once, the node's own facts are known, all of it is programmed, and only then pods get interfaces.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
from collections.abc import Iterable

from netloom.agent.config import AgentConfig
from netloom.agent.names import NamesFeed
from netloom.api.core import Namespace, Node, Pod, Service
from netloom.api.discovery import EndpointSlice
from netloom.api.networking import NetworkPolicy
from netloom.clock import Clock
from netloom.cni.attach import prepare_node
from netloom.cni.ipam.store import AddressStore
from netloom.cni.server import CniServer
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.engine.acks import Acks
from netloom.engine.pending import Pending
from netloom.engine.reconcile import Engine
from netloom.fabric.hostgw.apply import HostGateway
from netloom.kube import resources
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import in_cluster, load
from netloom.kube.watch import Reflector
from netloom.linux.rtnl import Rtnl
from netloom.model.facts import facts_of
from netloom.model.inputs import NodeFacts
from netloom.model.names.records import NameSettings
from netloom.model.provenance import Finding
from netloom.units import Addr, ObjectKey

log = logging.getLogger(__name__)

LOOPBACK = "lo"


class NodeAgent:
    """Everything that one node's agent consists of."""

    def __init__(self, *, config: AgentConfig, client: KubeClient, clock: Clock) -> None:
        self._cluster = config.cluster_facts()
        self._clock = clock
        self._me = ObjectKey("", config.node)
        self._facts: NodeFacts | None = None
        self._facts_known = asyncio.Event()
        self._pending = Pending(clock=clock)
        self._acks = Acks()
        self._engine: Engine | None = None
        self._fabric = HostGateway()
        kinds = (
            ("services", resources.SERVICES, Service),
            ("slices", resources.ENDPOINT_SLICES, EndpointSlice),
            ("pods", resources.PODS, Pod),
            ("namespaces", resources.NAMESPACES, Namespace),
            ("policies", resources.NETWORK_POLICIES, NetworkPolicy),
            ("nodes", resources.NODES, Node),
        )
        self._reflectors = tuple(
            Reflector(
                client,
                resource,
                kind,
                on_change=functools.partial(self._on_change, name),
                on_seen=functools.partial(self._pending.seen, name),
            )
            for name, resource, kind in kinds
        )
        settings = NameSettings.from_facts(self._cluster)
        self._names = NamesFeed(settings=settings, socket_path=config.dns_feed_socket)
        self._store = AddressStore(config.address_store)
        self._cni = CniServer(config.cni_socket, Verbs(store=self._store, network=self.pod_network))

    def pod_network(self) -> PodNetwork | None:
        """What pods of this node may be given; None until everything is in force and names are answered."""
        engine, facts = self._engine, self._facts
        if engine is None or facts is None or not engine.is_in_force or not self._names.is_connected:
            return None
        return PodNetwork(ranges=facts.pod_cidrs, node_addresses=facts.addresses, mtu=self._mtu)

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            KernelError, StorageError, Unsupported: the node cannot be served; a supervisor starts the agent again.
        """
        prepare_node()
        _answer_at(self._cluster.dns_addresses)
        self._cni.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cni.run(), name="cni")
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(), name="watch")
            tasks.create_task(self._program(tasks), name="engine")

    async def _program(self, tasks: asyncio.TaskGroup) -> None:
        for reflector in self._reflectors:
            await reflector.synced.wait()
        await self._facts_known.wait()
        facts = self._facts
        assert facts is not None  # noqa: S101 - the event says so
        self._mtu = _underlay_mtu(facts.addresses) - self._fabric.overhead
        ender = FlowEnder(clock=self._clock)
        tasks.create_task(ender.run(), name="flows")
        self._engine = Engine(
            facts=facts,
            plane=NftablesPlane(ender=ender),
            fabric=self._fabric,
            names=self._names,
            acks=self._acks,
            clock=self._clock,
            report=_report,
        )
        tasks.create_task(self._names.run(), name="dns-feed")
        await self._engine.run(self._pending)

    def _on_change(
        self,
        kind: str,
        key: ObjectKey,
        value: Service | EndpointSlice | Pod | Namespace | NetworkPolicy | Node | None,
    ) -> None:
        self._pending.mark(kind, key, value)
        if kind == "nodes" and key == self._me and isinstance(value, Node):
            facts = facts_of(value, self._cluster)
            if facts.pod_cidrs and facts.addresses and not self._facts_known.is_set():
                self._facts = facts
                self._facts_known.set()


async def serve(config: AgentConfig, *, clock: Clock) -> None:
    """Be the agent of one node until cancelled."""
    credentials = load(config.kubeconfig) if config.kubeconfig else in_cluster()
    async with KubeClient(credentials, user_agent="netloom-agent") as client:
        await NodeAgent(config=config, client=client, clock=clock).run()


def _report(findings: Iterable[Finding]) -> None:
    for finding in findings:
        log.warning("%s", finding)


def _answer_at(addresses: Iterable[Addr]) -> None:
    """Put the cluster DNS addresses on this node, so that its own DNS process is reached without translation."""
    with Rtnl() as rtnl:
        present = {a.interface.ip for a in rtnl.addresses(LOOPBACK)}
        for address in addresses:
            if address not in present:
                rtnl.add_address(LOOPBACK, ipaddress.ip_interface(address))


def _underlay_mtu(addresses: Iterable[Addr]) -> int:
    """MTU of the device that carries the node's own address; 1500 where none does."""
    wanted = set(addresses)
    with Rtnl() as rtnl:
        carriers = {a.device for a in rtnl.addresses() if a.interface.ip in wanted}
        return min((link.mtu for link in rtnl.links() if link.name in carriers), default=1500)
