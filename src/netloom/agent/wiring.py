"""The composition root of a node: constructors and one TaskGroup. It joins the rooms below and decides nothing.

Order at the start: the CNI socket opens first (a runtime that calls too early is told to try again), the watches read
the cluster once, the node's own facts are known, all of it is programmed, and only then pods get interfaces.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from netloom.agent.config import AgentConfig
from netloom.agent.drops import DropWatch
from netloom.agent.egress_status import EgressStatus
from netloom.agent.fabrics import Work, fabric_of
from netloom.agent.findings import FindingEvents
from netloom.agent.gone import GoneNodes
from netloom.agent.host_findings import host_findings
from netloom.agent.kernel import KernelReader
from netloom.agent.networks import NodeNetworks
from netloom.agent.node_ipam import NodeIpam
from netloom.agent.node_notes import NodeNotes
from netloom.agent.own_node import OwnNode, answer_at
from netloom.agent.parts import NameParts, PodParts
from netloom.agent.paths import NodePaths
from netloom.agent.pod_networks import askers_networks, network_of
from netloom.agent.rollouts import Rollouts
from netloom.agent.servers.health import UpdateHealth
from netloom.agent.servers.node import NodeServers
from netloom.agent.static_routes import StaticRoutes
from netloom.agent.underlay import UnderlayWatch, look
from netloom.agent.watches import Watches
from netloom.api.core import Node, Pod
from netloom.api.pools import IPPool
from netloom.clock import Clock
from netloom.cni.attach import detach, prepare_node
from netloom.cni.networks.own import OwnNetwork
from netloom.cni.server import CniServer
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.audit import Auditor
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.dataplane.nftables.policy.table import PolicyTable
from netloom.engine.acks import Acks
from netloom.engine.pending import Pending
from netloom.engine.reconcile import Engine
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import in_cluster, load
from netloom.linux import netns
from netloom.linux.nft_events import AccountedNft
from netloom.linux.questions import QuestionServer, socket_beside
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding
from netloom.model.routes.ways import (
    FABRIC_ANNOTATION,
    KEY_ANNOTATION,
    UNDERLAY_ANNOTATION,
    write_fabric,
    write_underlay,
)
from netloom.observe.drift import DriftLog
from netloom.observe.drops import Cluster, DropNamer
from netloom.program.names import POD_GATEWAYS, pod_link
from netloom.units import Family, ObjectKey

log = logging.getLogger(__name__)


class NodeAgent:
    """Everything that one node's agent consists of."""

    def __init__(self, *, config: AgentConfig, client: KubeClient, clock: Clock) -> None:
        self._cluster = config.cluster_facts()
        self._clock = clock
        self._own = OwnNode(
            config.node,
            cluster=self._cluster,
            on_change=self._refit,
            underlay=look,
            needs_range=lambda: not self._ipam.has_pools,
            pools=lambda: self._ipam.pool_cidrs,
        )
        self._notes = NodeNotes(client=client, node=config.node)
        self._underlay = UnderlayWatch(self._own.underlay_changed)
        self._pending = Pending(clock=clock)
        self._acks = Acks()
        self._health = UpdateHealth(clock=clock)
        self._engine: Engine | None = None
        self._plane: NftablesPlane | None = None
        fabrics = fabric_of(
            self._cluster,
            directory=Path(config.address_store).parent,
            udp_socket=Path(config.udp_feed_socket),
            publish=functools.partial(self._notes.say, KEY_ANNOTATION),
        )
        self._fabric, self._fabric_works = fabrics.fabric, fabrics.works
        self._ways_out = fabrics.ways_out
        self._pods = PodParts(
            config=config,
            mark=self._pending.mark,
            acks=self._acks,
            report=lambda findings: self._findings.take(findings),  # noqa: PLW0108 - it is made later
        )
        self._names = NameParts(
            config=config,
            cluster=self._cluster,
            mark=self._pending.mark,
            acks=self._acks,
            networks=lambda: None if self._engine is None else askers_networks(self._engine.facts),
            clock=clock,
        )
        self._gone = GoneNodes(
            path=config.speaker_socket,
            mark=functools.partial(self._pending.mark, "gone"),
            in_force=self._acks.in_force,
        )
        self._watches = Watches(client, on_change=self._on_change, on_seen=self._pending.seen)
        self._events = EventRecorder(client, "netloom", clock=clock)
        self._attach(config, client, clock)
        self._observe(config.node, clock)
        self._tell(config, client, clock)

    def _attach(self, config: AgentConfig, client: KubeClient, clock: Clock) -> None:
        """Who gives pods their interfaces and addresses."""
        self._ipam = NodeIpam(
            node=config.node,
            client=client,
            store=self._pods.store,
            facts=self._cluster,
            reserved=config.reserved(),
            admission=self._pods.admission,
            pods=self._watches.pods.items,
            namespaces=self._watches.namespaces.items,
            events=self._events,
            clock=clock,
            idle_s=config.reuse_delay_s,
        )
        self._networks = NodeNetworks(
            node=config.node,
            settings=config.networks,
            address_store=config.address_store,
            cni_socket=config.cni_socket,
            facts=self._cluster,
            pods=self._watches.pods.items,
            client=client,
            events=self._events,
            own=OwnNetwork(
                store=self._pods.store,
                network=self.pod_network,
                offers=self._ipam.offers,
                admit=self._pods.admission.admit,
                released=self._pods.admission.released,
            ),
            clock=clock,
        )
        self._verbs = Verbs(
            store=self._pods.store,
            network=self.pod_network,
            meet=self._pods.admission.meet,
            offers=self._ipam.offers,
            admit=self._pods.admission.admit,
            released=self._pods.admission.released,
            ports=self._pods.mapped_ports,
            bandwidth=self._pods.limits.wanted,
            secondary=self._networks.secondary,
            limited=self._health.limits,
        )
        self._cni = CniServer(config.cni_socket, self._networks.answering(self._verbs))

    def _observe(self, name: str, clock: Clock) -> None:
        """What this node finds: faults of objects, differences of the kernel, packets that policies dropped."""
        self._findings = FindingEvents(
            node=name,
            nodes=self._watches.nodes.items,
            cluster=lambda: None if self._engine is None else self._engine.network.policies.cluster,
            events=self._events,
        )
        self._drift = DriftLog(node=name, clock=clock)
        self._drops = DropWatch(
            node=name,
            namer=DropNamer(node=name, cluster=self._named_by, tables=self._policy_tables, clock=clock),
        )

    def _tell(self, config: AgentConfig, client: KubeClient, clock: Clock) -> None:
        """What this node tells of itself, and what it asks the others."""
        name = config.node
        self._rollouts = Rollouts(
            client=client,
            own=self._own,
            nodes=self._watches.nodes.items,
            slices_seen=lambda: self._watches.slices.seen,
            acks=self._acks,
            drained_port=config.drained_port,
            clock=clock,
        )
        self._paths = NodePaths(
            node=name,
            uid=lambda: self._own.uid,
            port=config.probe_port,
            checksums=config.tunnel_checksums,
            fabric=self._fabric,
            ways_out=self._ways_out,
            engine=lambda: self._engine,
            report=_report,
            events=self._events,
            clock=clock,
        )
        self._questions = QuestionServer(
            socket_beside(config.cni_socket),
            {
                "drift": self._drift.report,
                "domains": self._names.domains.report,
                "drops": self._drops.report,
                "ipam": self._ipam.report,
                "paths": self._paths.prober.reports,
            },
            about={"dns": self._names.questions.answer, "kernel": KernelReader().answer},
            followed={"drops-follow": self._drops.follow},
        )
        self._static_routes = StaticRoutes(
            node=name, wanted=self._cluster.egress.static_routes, report=self._findings.take
        )
        self._egress_status = EgressStatus(client=client, gateways=self._watches.egress_gateways.items)
        self._serve(config, clock)
        self._also: dict[str, Callable[[ObjectKey, Any], None]] = {
            "pods": self._pod_changed,
            "slices": self._rollouts.drains.slice_changed,
            "nodes": self._node_changed,
            "pools": self._pool_changed,
            "blocks": self._ipam.block_changed,
            "egress_gateways": self._egress_status.gateway_changed,
        }

    def _serve(self, config: AgentConfig, clock: Clock) -> None:
        """Who answers on this node, and what is on its page of metrics."""
        self._servers = NodeServers(
            settings=config.server_settings(),
            clock=clock,
            health=self._health,
            node=lambda: self._own.node,
            samples=tuple(
                part.samples
                for part in (
                    self._acks,
                    *self._rollouts.counted,
                    self._drift,
                    self._drops,
                    self._paths,
                    self._gone,
                    self._names.domains,
                    self._names.questions,
                )
            ),
            report=_report,
        )

    def pod_network(self) -> PodNetwork | None:
        """What pods of this node may be given; None until everything is in force and names are answered."""
        engine = self._engine
        if engine is None or not engine.is_in_force or not self._names.feed.is_connected:
            return None
        return network_of(engine.facts)

    def _named_by(self) -> Cluster | None:
        """What drops are named by."""
        engine = self._engine
        return None if engine is None else Cluster(engine.network.policies.cluster, self._watches.pods.items)

    def _policy_tables(self) -> Mapping[Family, PolicyTable]:
        tables = {} if self._plane is None else self._plane.tables
        return {family: table.policy for family, table in tables.items() if table.policy is not None}

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            KernelError, StorageError, Unsupported: the node cannot be served; a supervisor starts the agent again.
        """
        prepare_node()
        answer_at((*self._cluster.dns_addresses, POD_GATEWAYS[Family.V4]))
        self._cni.open()
        self._questions.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cni.run(), name="cni")
            tasks.create_task(self._networks.run(), name="networks")
            tasks.create_task(self._servers.run(), name="servers")
            tasks.create_task(self._questions.run(), name="questions")
            tasks.create_task(self._names.domains.run(), name="domains")
            for reflector in self._watches.all:
                tasks.create_task(reflector.run(), name="watch")
            tasks.create_task(self._program(tasks), name="engine")

    async def _program(self, tasks: asyncio.TaskGroup) -> None:
        await self._watches.synced()
        await self._own.known.wait()
        await self._names.domains.recall()
        for orphan in self._pods.admission.orphans(self._pods.store.leases()):
            link = pod_link(orphan.attachment.container, orphan.attachment.interface)
            log.warning("pod %s is gone: its interface %s is taken away", orphan.pod, link)
            await netns.run_in_async(None, functools.partial(detach, link))
        await self._ipam.start()
        self._findings.take(await netns.run_in_async(None, lambda: host_findings(self._own.name)))
        facts = self._own.facts
        assert facts is not None  # noqa: S101 - the event says so
        self._pods.routes.take(facts.addresses)
        self._say_of_itself(facts)
        nft = AccountedNft()
        ender = FlowEnder(clock=self._clock)
        plane = self._plane = NftablesPlane(nft=nft, ender=ender)
        self._engine = Engine(
            facts=facts,
            plane=plane,
            fabric=self._fabric,
            names=self._names.feed,
            acks=self._acks,
            clock=self._clock,
            report=self._findings.take,
            ways_out=self._ways_out,
            others=(self._servers, self._paths.prober, self._names.domains, self._egress_status),
            on_turn=lambda began: self._health.in_force(began=began),
        )
        auditor = Auditor(
            plane=plane, nft=nft, turns=self._engine, report=self._drift.take, clock=self._clock
        )
        tasks.create_task(auditor.run(), name="audit")
        works: tuple[Work, ...] = (
            self._underlay,
            self._notes,
            ender,
            *self._names.works,
            *self._pods.works,
            self._static_routes,
            *self._rollouts.works,
            self._gone,
            self._drops,
            self._paths,
            *self._fabric_works,
            self._egress_status,
        )
        tasks.create_task(self._findings.run(), name="findings")
        tasks.create_task(self._ipam.run(self._verbs.reclaim), name="addresses")
        for work in works:
            tasks.create_task(work.run(), name=type(work).__name__)
        await self._engine.run(self._pending)

    def _on_change(self, kind: str, key: ObjectKey, value: Any) -> None:  # noqa: ANN401 - a struct of the kind, or None
        if kind == "pods":
            self._pods.admission.pod_changed(key, value)
        else:
            self._pending.mark(kind, key, value)
        self._health.queued()
        if (also := self._also.get(kind)) is not None:
            also(key, value)

    def _pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        self._rollouts.gates.pod_changed(key, pod)
        self._pods.limits.pod_changed(key, pod)

    def _pool_changed(self, key: ObjectKey, pool: IPPool | None) -> None:
        self._ipam.pool_changed(key, pool)
        self._own.pools_changed()

    def _node_changed(self, key: ObjectKey, node: Node | None) -> None:
        self._own.changed(key, node)
        self._ipam.node_changed(key, node)
        self._notes.node_changed(key, node)
        self._gone.node_changed(key, node)
        self._rollouts.nodes_changed()

    def _say_of_itself(self, facts: NodeFacts) -> None:
        self._notes.say(UNDERLAY_ANNOTATION, write_underlay(facts.underlay))
        self._notes.say(FABRIC_ANNOTATION, write_fabric(facts.fabric_settings))

    def _refit(self, facts: NodeFacts) -> None:
        """The Node says something else; the turn that its change is waiting for programs this node anew."""
        if self._engine is not None:
            self._say_of_itself(facts)
            self._pods.routes.take(facts.addresses)
            self._engine.refit(facts)
            self._pending.wake()


async def serve(config: AgentConfig, *, clock: Clock) -> None:
    """Be the agent of one node until cancelled."""
    credentials = load(config.kubeconfig) if config.kubeconfig else in_cluster()
    async with KubeClient(credentials, user_agent="netloom-agent") as client:
        await NodeAgent(config=config, client=client, clock=clock).run()


def _report(findings: Iterable[Finding]) -> None:
    for finding in findings:
        log.warning("%s", finding)
