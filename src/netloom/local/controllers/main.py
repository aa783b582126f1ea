"""All control loops of a local cluster in one task group. In: how to reach the API server, the cluster's settings. Wiring only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from netloom.clock import Clock, SystemClock
from netloom.controller import led
from netloom.controller.network_leases import NetworkLeaseKeeper
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import ClientConfig
from netloom.kube.resources import REPLICA_SETS, REPLICATION_CONTROLLERS
from netloom.local import switch
from netloom.local.apiserver.access.tokens import Keys
from netloom.local.bootstrap import bootstrap
from netloom.local.controllers.accounts import FurnishLoop, TokensLoop
from netloom.local.controllers.aggregation import AggregationLoop
from netloom.local.controllers.batch.cronjob import CronJobLoop
from netloom.local.controllers.batch.job import JobLoop
from netloom.local.controllers.daemon.loop import DaemonSetLoop
from netloom.local.controllers.deployment import DeploymentLoop
from netloom.local.controllers.disruption.loop import DisruptionLoop
from netloom.local.controllers.endpoints import EndpointsLoop
from netloom.local.controllers.endpointslice import EndpointSliceLoop
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.mirroring import MirroringLoop
from netloom.local.controllers.namespace import NamespaceLoop
from netloom.local.controllers.node_ipam import NodeIpamLoop
from netloom.local.controllers.node_lifecycle import NodeLifecycleLoop
from netloom.local.controllers.objects import ReplicaSet
from netloom.local.controllers.pod_gc import PodGcLoop
from netloom.local.controllers.replicaset import ReplicasLoop
from netloom.local.controllers.selected import Selected
from netloom.local.controllers.stateful.loop import StatefulSetLoop
from netloom.local.controllers.storage.claims import ClaimLoop
from netloom.local.controllers.storage.volumes import VolumeLoop
from netloom.local.controllers.taint_eviction import TaintEvictionLoop
from netloom.local.controllers.workloads import ReplicationController
from netloom.local.controllers.workqueue import WorkQueue
from netloom.local.scheduler.loop import SchedulerLoop
from netloom.local.settings import NODE_GRACE_S, ClusterSettings
from netloom.units import ObjectKey, parse_cidr

IDENTITY = "netloom-up"
"""Among those that could lead: process 1 keeps one such process running, and one that follows another need not wait."""


class Loops:
    """Every loop over one set of caches; tests look into the queues."""

    def __init__(  # noqa: PLR0913 - what all loops are told
        self,
        client: KubeClient,
        pod_cidrs: Sequence[str],
        *,
        ca_pem: bytes,
        keys: Keys | None = None,
        clock: Clock | None = None,
        node_grace_s: float = NODE_GRACE_S,
        volumes: Path | None = None,
    ) -> None:
        self._client = client
        self._clock = clock = clock or SystemClock()
        self.informers = Informers(client)
        self._recorders: dict[str, EventRecorder] = {}
        self._network_leases = NetworkLeaseKeeper(client, clock=clock)
        selected = Selected(self.informers)
        cidrs = [c for text in pod_cidrs if (c := parse_cidr(text)) is not None]
        claims = ClaimLoop(self.informers, self._events("persistentvolume-controller"))
        jobs = JobLoop(self.informers, self._events("job-controller"), clock)
        node_events = self._events("node-controller")
        self._node_lifecycle = NodeLifecycleLoop(self.informers, node_events, clock, grace_s=node_grace_s)
        self.queues: list[tuple[WorkQueue[ObjectKey], int]] = [
            (EndpointSliceLoop(self.informers, selected).queue, 4),
            (EndpointsLoop(self.informers, selected).queue, 2),
            (MirroringLoop(self.informers, selected).queue, 2),
            (DeploymentLoop(self.informers, self._events("deployment-controller"), clock).queue, 4),
            *self._replicas(clock),
            (StatefulSetLoop(self.informers, self._events("statefulset-controller"), clock).queue, 4),
            (DaemonSetLoop(self.informers, self._events("daemonset-controller"), clock).queue, 2),
            (jobs.queue, 4),
            (jobs.orphans, 1),
            (CronJobLoop(self.informers, self._events("cronjob-controller"), clock).queue, 2),
            (claims.queue, 2),
            (claims.pods, 1),
            (VolumeLoop(self.informers, self._events("persistentvolume-controller"), volumes).queue, 2),
            (SchedulerLoop(self.informers, self._events("default-scheduler"), clock).queue, 8),
            (NamespaceLoop(self.informers, clock=clock).queue, 2),
            *self._accounts(ca_pem, keys),
            # One worker: two at once could give the same range to two nodes.
            (NodeIpamLoop(self.informers, cidrs, self._events("node-ipam")).queue, 1),
            (self._node_lifecycle.queue, 4),
            (TaintEvictionLoop(self.informers, self._events("taint-eviction-controller"), clock).queue, 4),
            (PodGcLoop(self.informers, clock).queue, 1),
            (DisruptionLoop(self.informers, self._events("controllermanager"), clock).queue, 2),
        ]

    def _events(self, component: str) -> EventRecorder:
        return self._recorders.setdefault(
            component, EventRecorder(self._client, component, clock=self._clock)
        )

    def _replicas(self, clock: Clock) -> Iterator[tuple[WorkQueue[ObjectKey], int]]:
        informers, of_sets = self.informers, self._events("replicaset-controller")
        of_controllers = self._events("replication-controller")
        yield ReplicasLoop(informers, REPLICA_SETS, ReplicaSet, of_sets, clock).queue, 4
        kind = ReplicationController
        yield ReplicasLoop(informers, REPLICATION_CONTROLLERS, kind, of_controllers, clock).queue, 2

    def _accounts(self, ca_pem: bytes, keys: Keys | None) -> Iterator[tuple[WorkQueue[ObjectKey], int]]:
        yield FurnishLoop(self.informers, ca_pem=ca_pem).queue, 2
        yield AggregationLoop(self.informers).queue, 1
        if keys is not None:
            yield TokensLoop(self.informers, keys=keys, ca_pem=ca_pem).queue, 1

    async def run(self) -> None:
        """Run until cancelled. No loop acts before every cache is full: half a view would lead to wrong deletions."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informers.run(), name="informers")
            group.create_task(self._network_leases.run(), name="network-leases")
            group.create_task(led.run(self._client, identity=IDENTITY, clock=self._clock), name="led")
            await self.informers.synced()
            for name, recorder in self._recorders.items():
                group.create_task(recorder.run(), name=f"events-{name}")
            group.create_task(self._node_lifecycle.run(), name="node-lifecycle-ticks")
            for queue, workers in self.queues:
                group.create_task(queue.run(workers=workers), name=queue.name)


async def run(
    client_config: ClientConfig, settings: ClusterSettings, *, keys: Keys, volumes: Path | None = None
) -> None:
    """Make what a fresh cluster has, then run all loops until cancelled.

    Args:
        client_config: an administrator's; its ``ca_data`` becomes the ConfigMap kube-root-ca.crt of each namespace.
        settings: the cluster's.
        keys: sign the tokens that stand in Secrets.
        volumes: where the directories of provisioned volumes are.

    Raises:
        Unavailable: the API server does not answer at the start; later it may come and go.
    """
    async with KubeClient(client_config, user_agent="netloom-controllers") as client:
        await bootstrap(client, dns=settings.dns_addresses, load_balancers=settings.load_balancer_ranges)
        if switch.is_wanted(settings):
            await switch.make_peers(client, settings)
        loops = Loops(
            client,
            settings.pod_cidrs,
            ca_pem=client_config.ca_data,
            node_grace_s=settings.silence_s,
            keys=keys,
            volumes=volumes,
        )
        await loops.run()
