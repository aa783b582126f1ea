"""Binds pending pods, the most important first. In: Pods, Nodes, Namespaces, PodDisruptionBudgets; out: bindings, victims, or the reason why not.

A decision and its note on the board are made without waiting in between, so that pods that are bound at the same time see each other. A pod
for which others have to make room is nominated for their node: it counts there already, and is bound when they are gone.
"""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from netloom.api.selectors import from_selector
from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.resources import NAMESPACES, NODES, POD_DISRUPTION_BUDGETS, PODS
from netloom.kube.status import Conflict
from netloom.local.controllers.disruption.objects import PodDisruptionBudget
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import Namespace, Node, Pod
from netloom.local.controllers.replicas import seconds_of
from netloom.local.controllers.workqueue import WorkQueue
from netloom.local.scheduler import words
from netloom.local.scheduler.board import Board
from netloom.local.scheduler.decide import Unschedulable, decide
from netloom.local.scheduler.preemption import Budget, Room, make_room
from netloom.local.scheduler.volumes import Volumes
from netloom.local.scheduler.wants import Wants, wants_of
from netloom.units import NodeName, ObjectKey

NAME = "default-scheduler"
_RETRY_S = 0.02
"""Pods without a node are looked at again so long after what might help them: what happens together is looked at once."""
_MOMENT_S = 2.0
"""A claim that is made together with its pod is bound by then."""
_STRATEGIC = "application/strategic-merge-patch+json"
_GATED = "Scheduling is blocked due to non-empty scheduling gates"


class SchedulerLoop:
    """Binds pods; one turn, for one pod, is :meth:`sync`."""

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client: KubeClient = informers.client
        self._events = events
        self._clock = clock
        self._pods = informers.of(PODS, Pod)
        self._budgets = informers.of(POD_DISRUPTION_BUDGETS, PodDisruptionBudget)
        self.board = Board()
        self._assumed: set[str] = set()
        """Pods on the board whose binding the cache does not show yet."""
        self._nominated: dict[str, Wants] = {}
        """Pods on the board that wait for others to leave."""
        self._stuck: set[ObjectKey] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._volumes = Volumes(informers, self._retry)
        self.queue: WorkQueue[ObjectKey] = WorkQueue("scheduler", self.sync, order=self._order)
        self._pods.on_change(self._pod_changed)
        informers.of(NODES, Node).on_change(self._node_changed)
        informers.of(NAMESPACES, Namespace).on_change(self._namespace_changed)

    async def sync(self, key: ObjectKey) -> float | None:
        """Place one pod; seconds until it is to be looked at again in any case."""
        pod = self._pods.get(key)
        if pod is None or not _wants_node(pod) or pod.uid in self._assumed:
            self._stuck.discard(key)
            return None
        if pod.spec.scheduling_gates:
            await self._say(pod, _GATED, reason="SchedulingGated")
            return None
        if held := self._volumes.objection(pod):
            return await self._hold(pod, held)
        wants = msgspec.structs.replace(wants_of(pod), volumes=self._volumes.places(pod))
        nominated = self._withdraw(pod)
        choice = self._decide(wants, nominated)
        if isinstance(choice, Unschedulable):
            self._stuck.add(key)
            await self._explain(wants, choice, nominated)
            return None
        self._stuck.discard(key)
        self._assumed.add(pod.uid)
        self.board.add(wants, choice)
        try:
            await self._client.create(PODS, words.binding(pod, choice), subresource="binding")
        except (NotFound, Conflict):
            # Deleted or bound meanwhile; the event that says so has come or will come.
            self._give_up(pod.uid)
            return None
        except BaseException:
            self._give_up(pod.uid)
            raise
        text = f"Successfully assigned {key} to {choice}"
        self._events.emit(PODS, key, pod.uid, reason="Scheduled", message=text)
        if (known := self._pods.get(key)) is not None and known.spec.node_name:
            self._assumed.discard(pod.uid)
        return None

    async def _hold(self, pod: Pod, why: str) -> float | None:
        """The pod waits for its claims; what takes only a moment is not worth a word."""
        self._stuck.add(pod.key)
        age_s = self._clock.wall() - seconds_of(pod.metadata.creation_timestamp)
        if age_s < _MOMENT_S:
            return _MOMENT_S
        nodes = sum(1 for _ in self.board.places)
        await self._say(pod, f"0/{nodes} nodes are available: {why}.")
        return None

    def _decide(self, wants: Wants, nominated: str) -> NodeName | Unschedulable:
        """Pods that wait for a cleared node count as being there, but not for those that matter more than they."""
        lesser = [uid for uid, other in self._nominated.items() if other.priority < wants.priority]
        with self.board.without(lesser):
            return decide(wants, self.board, nominated=nominated)

    def _give_up(self, uid: str) -> None:
        self._assumed.discard(uid)
        self.board.remove(uid)
        self._retry()

    def _withdraw(self, pod: Pod) -> str:
        """The node that was cleared for a pod, where it is taken from so that it can be placed."""
        nominated = ""
        if self._nominated.pop(pod.uid, None) is not None:
            nominated = self.board.node_of(pod.uid)
        self.board.remove(pod.uid)
        return nominated or pod.status.nominated_node_name

    async def _explain(self, wants: Wants, why: Unschedulable, nominated: str) -> None:
        """Let others make room, or say why nobody can; tried again when something changes."""
        pod = wants.pod
        if nominated and self._is_being_cleared(wants, nominated):
            self._nominate(wants, nominated)
            return
        room = make_room(wants, self.board, why.objections, self._known_budgets())
        if room is None:
            await self._say(pod, why.after_preemption(), forget=bool(pod.status.nominated_node_name))
            return
        self._nominate(wants, room.node)
        await self._say(pod, str(why), nominate=room.node)
        await self._clear(wants, room)

    def _nominate(self, wants: Wants, node: str) -> None:
        self._nominated[wants.pod.uid] = wants
        self.board.add(wants, node)

    def _is_being_cleared(self, wants: Wants, node: str) -> bool:
        place = self.board.place(node)
        return place is not None and any(
            w.pod.is_terminating and w.priority < wants.priority for w in place.pods.values()
        )

    def _known_budgets(self) -> list[Budget]:
        return [
            Budget(
                namespace=key.namespace,
                selector=from_selector(b.spec.selector),
                allowed=b.status.disruptions_allowed,
                disrupted=frozenset(b.status.disrupted_pods),
            )
            for key, b in self._budgets.items.items()
            if b.spec.selector is not None
        ]

    async def _clear(self, wants: Wants, room: Room) -> None:
        """End the victims."""
        for victim in room.victims:
            pod = victim.pod
            if pod.is_terminating:
                continue
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": f"{NAME}: preempting to accommodate a higher priority pod",
                "lastTransitionTime": rfc3339(self._clock.wall()),
            }
            body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
            with contextlib.suppress(NotFound, Conflict):
                await self._client.patch(PODS, pod.key, body, content_type=_STRATEGIC, subresource="status")
                await self._client.delete(PODS, pod.key, preconditions_uid=pod.uid)
                text = f"Preempted by pod {wants.pod.uid} on node {room.node}"
                self._events.emit(PODS, pod.key, pod.uid, reason="Preempted", message=text)

    async def _say(
        self,
        pod: Pod,
        message: str,
        *,
        reason: str = "Unschedulable",
        nominate: str = "",
        forget: bool = False,
    ) -> None:
        """Condition PodScheduled=False with the reason, and for which node the pod waits."""
        body = words.unscheduled(
            pod, message, reason, rfc3339(self._clock.wall()), None if forget else nominate
        )
        if body is None:
            return
        if reason == "Unschedulable":
            self._events.emit(
                PODS, pod.key, pod.uid, reason="FailedScheduling", message=message, warning=True
            )
        with contextlib.suppress(NotFound, Conflict):
            await self._client.patch(PODS, pod.key, body, content_type=_STRATEGIC, subresource="status")

    def _order(self, key: ObjectKey) -> tuple[int, str, ObjectKey]:
        pod = self._pods.get(key)
        if pod is None:
            return 0, "", key
        return -pod.spec.priority, pod.metadata.creation_timestamp or "", key

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._forget(old)
        if new is None:
            return
        if not new.spec.node_name:
            if _wants_node(new):
                if old is None or _view(old) != _view(new) or new.key not in self._stuck:
                    self.queue.mark(new.key)
            elif new.uid in self._nominated:
                self._forget(new)
            return
        self._assumed.discard(new.uid)
        self._nominated.pop(new.uid, None)
        self._stuck.discard(new.key)
        if new.is_finished:
            if self.board.remove(new.uid) is not None:
                self._retry()
        elif old is None or _view(old) != _view(new) or not self.board.node_of(new.uid):
            self.board.add(wants_of(new), new.spec.node_name)
            self._retry()  # somebody may want to be near to it

    def _forget(self, pod: Pod) -> None:
        self._assumed.discard(pod.uid)
        self._nominated.pop(pod.uid, None)
        self._stuck.discard(pod.key)
        if self.board.remove(pod.uid) is not None:
            self._retry()  # what it had is free now

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self.board.drop_node(old.metadata.name)
            return
        if old is None or _node_view(old) != _node_view(new):
            self.board.put_node(new)
            self._retry()

    def _namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        if new is None:
            self.board.put_namespace(old.metadata.name if old else "", None)
        elif old is None or old.metadata.labels != new.metadata.labels:
            self.board.put_namespace(new.metadata.name, new.metadata.labels)
            self._retry()

    def _retry(self) -> None:
        if self._stuck and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY_S, self._retry_now)

    def _retry_now(self) -> None:
        self._timer = None
        for key in self._stuck:
            self.queue.mark(key)


def _wants_node(pod: Pod) -> bool:
    """Ours to place: no node yet, not ended, and of the default scheduler (core/v1 schedulerName)."""
    return pod.spec.scheduler_name in {"", NAME} and not pod.spec.node_name and pod.is_active


def _view(pod: Pod) -> tuple[object, ...]:
    """What of a pod matters here."""
    return (pod.uid, pod.spec, pod.metadata.labels, pod.is_terminating, pod.is_finished)


def _node_view(node: Node) -> tuple[object, ...]:
    conditions = tuple((c.type, c.status) for c in node.status.conditions)
    return (node.uid, node.spec, node.metadata.labels, node.status.allocatable, conditions)
