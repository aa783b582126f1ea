"""All pods of one node: each gets a life of its own, and what a former runner left is taken up or cleared away.

In: watches on this node's Pods and on Services. Out: PodLife tasks. Not here: what a life consists of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence

from netloom.api.core import Service
from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.resources import PODS, SERVICES
from netloom.kube.watch import Reflector
from netloom.local.runner import backoff, sandbox
from netloom.local.runner.interface import detach
from netloom.local.runner.lifecycle import PodLife
from netloom.local.runner.ports import selects
from netloom.local.runner.records import SandboxRecord
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.spec import Pod
from netloom.local.runner.standins.feed import State
from netloom.local.runner.tools import Tools
from netloom.units import ObjectKey

log = logging.getLogger(__name__)

Former = tuple[SandboxRecord, Sandbox | None]


class ServicesByNamespace:
    """The Services, found by namespace."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[str, Service]] = {}

    def put(self, key: ObjectKey, service: Service | None) -> None:
        """Take note of a change."""
        known = self._namespaces.setdefault(key.namespace, {})
        if service is None:
            known.pop(key.name, None)
        else:
            known[key.name] = service

    def of(self, namespace: str) -> Sequence[Service]:
        """The Services of a namespace."""
        return tuple(self._namespaces.get(namespace, {}).values())

    def get(self, key: ObjectKey) -> Service | None:
        """One Service."""
        return self._namespaces.get(key.namespace, {}).get(key.name)


class Pods:
    """The pods of this node.

    Args:
        tools: shared by all of them.
        services: kept up to date here.
    """

    def __init__(self, *, tools: Tools, services: ServicesByNamespace) -> None:
        self._tools = tools
        self._services = services
        self._lives: dict[str, PodLife] = {}
        self._names: dict[ObjectKey, str] = {}
        self._former: dict[str, Former] = {}
        self._group: asyncio.TaskGroup | None = None
        self._began = False

    def find(self, key: ObjectKey) -> PodLife:
        """A pod by its name.

        Raises:
            NotFound: it does not run here.
        """
        life = self._lives.get(self._names.get(key, ""))
        if life is None:
            raise NotFound(
                f"pod {key} does not run on node {self._tools.config.node_name}",
                "see: kubectl get pods -o wide",
            )
        return life

    def hear(self, state: State) -> None:
        """The stand-in process says how a container fares."""
        if (life := self._lives.get(state.uid)) is not None:
            life.hear(state)

    def node_moved(self) -> None:
        """The node has other addresses: all pods tell them, and those of its own network have them."""
        for life in self._lives.values():
            life.node_moved()

    def refreshed(self, uid: str) -> None:
        """A ConfigMap or Secret that a pod refers to has changed."""
        if (life := self._lives.get(uid)) is not None:
            life.refreshed()

    def standins_lost(self) -> None:
        """The stand-in process went away."""
        for life in self._lives.values():
            life.standins_lost()

    async def run(self, client: KubeClient) -> None:
        """Follow the API until cancelled; the sandboxes stay."""
        leftovers = self._look_back()
        self._tools.standins.expect(uid for uid, (_, made) in self._former.items() if made is not None)
        node = self._tools.config.node_name
        services = Reflector(client, SERVICES, Service, on_change=self._service_changed)
        pods = Reflector(
            client, PODS, Pod, on_change=self._pod_changed, field_selector=f"spec.nodeName={node}"
        )
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(services.run(), name="watch services")
            await services.synced.wait()
            self._began = True
            group.create_task(self._tools.volumes.watched.run(), name="watch what pods refer to")
            group.create_task(pods.run(), name="watch pods")
            await pods.synced.wait()
            for uid in self._tools.volumes.places.uids() - self._lives.keys():
                self._tools.volumes.places.remove(uid)  # of pods that went while no runner was there
            for former in (*leftovers, *self._former.values()):
                group.create_task(self._clear(former), name=f"clear {former[0].uid}")
            self._former = {}
            group.create_task(self._tools.standins.run(), name="stand-ins")

    def _look_back(self) -> list[Former]:
        """Sort what a former runner left: by pod, and what is to be cleared in any case.

        A runner that died while it made a sandbox anew leaves two records of one pod; the one that stands is kept.
        """
        leftovers = []
        for record in self._tools.records.all():
            found: Former = (record, sandbox.adopt(record))
            other = self._former.get(record.uid)
            if other is not None and other[1] is not None:
                leftovers.append(found)
                continue
            if other is not None:
                leftovers.append(other)
            self._former[record.uid] = found
        return leftovers

    def _pod_changed(self, key: ObjectKey, pod: Pod | None) -> None:
        uid = self._names.get(key, "")
        life = self._lives.get(uid)
        if life is not None and (pod is None or pod.uid != uid):
            life.update(None)
            self._names.pop(key, None)
            life = None
        if pod is None:
            return
        if life is not None:
            life.update(pod)
            return
        if self._group is not None:
            self._names[key] = pod.uid
            life = self._lives[pod.uid] = PodLife(
                pod, tools=self._tools, former=self._former.pop(pod.uid, None)
            )
            self._group.create_task(self._live(life), name=f"pod {key}")

    async def _live(self, life: PodLife) -> None:
        """Let a pod live; where that fails in a way that nobody foresaw it is begun anew, and the others do not notice."""
        clock, row = self._tools.clock, 0
        try:
            began = clock.monotonic()
            while not await self._goes_well(life, life.run()):
                row = 1 if clock.monotonic() - began >= backoff.STEADY_S else row + 1
                await self._goes_well(life, life.clear())
                await life.rest(backoff.seconds(row))
                life = self._lives[life.pod.uid] = life.anew()
                began = clock.monotonic()
        finally:
            self._lives.pop(life.pod.uid, None)
            if self._names.get(life.pod.key) == life.pod.uid:
                del self._names[life.pod.key]

    async def _goes_well(self, life: PodLife, work: Coroutine[None, None, None]) -> bool:
        try:
            await work
        except Exception as error:  # the boundary of one pod: the others go on
            log.exception("pod %s", life.pod.key)
            why = type(_first(error)).__name__
            self._tools.events.warn(
                life.pod, "FailedSync", f"error syncing pod: {why}, see the log of the node; it is begun anew"
            )
            return False
        return True

    def _service_changed(self, key: ObjectKey, service: Service | None) -> None:
        concerned = [s for s in (self._services.get(key), service) if s is not None]
        self._services.put(key, service)
        if not self._began:
            return
        for life in self._lives.values():
            if any(selects(s, life.pod) for s in concerned):
                life.announce()

    async def _clear(self, former: Former) -> None:
        """Remove what a former runner left and nobody has taken up."""
        record, made = former
        log.info("clearing what is left of pod %s/%s (%s)", record.namespace, record.name, record.uid)
        if record.uid not in self._lives:
            self._tools.standins.drop(record.uid)
        await detach(self._tools.cni, record, made.netns_path if made is not None else "")
        if made is not None:
            await made.destroy()
        if record.uid not in self._lives:
            await self._tools.runtime.forget(record.uid)
        self._tools.records.delete(record.container_id)


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
