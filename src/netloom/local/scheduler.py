"""Puts pods on nodes. In: Pods without node, Nodes; out: bindings, or a condition and an Event that say why not.

Filters as core/v1 says: Ready, schedulable, nodeSelector, required node affinity, taints, host ports, required pod
anti-affinity by hostname; then spreads. Not here: resources, preferences, preemption, topology constraints, other schedulers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.api.selectors import from_selector
from netloom.clock import Clock, rfc3339
from netloom.errors import NotFound
from netloom.kube.events import EventRecorder
from netloom.kube.resources import NODES, PODS
from netloom.kube.status import Conflict
from netloom.local.controllers.informers import Informers
from netloom.local.controllers.objects import HOSTNAME, Node, Pod
from netloom.local.controllers.placement import (
    PodAffinityTerm,
    Taint,
    term_matches,
)
from netloom.local.controllers.workqueue import WorkQueue
from netloom.units import NodeName, ObjectKey

NAME = "default-scheduler"
_CORDONED = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")


class Unschedulable(msgspec.Struct, frozen=True):
    """No node will do; ``reasons`` counts the nodes by what speaks against them first."""

    nodes: int
    reasons: Mapping[str, int]

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(self.reasons.items()))
        return f"0/{self.nodes} nodes are available{': ' + counts if counts else ''}."


def pick_node(pod: Pod, nodes: Iterable[Node], pods: Iterable[Pod]) -> NodeName | Unschedulable:
    """The node for a pod: of those that will do, the one with the fewest of its kind, then of all pods, then by name.

    Args:
        pod: the pod to place.
        nodes: all nodes.
        pods: all pods that have a node; finished ones are ignored.
    """
    by_node: dict[str, list[Pod]] = defaultdict(list)
    for other in pods:
        if other.spec.node_name and not other.is_finished and other.uid != pod.uid:
            by_node[other.spec.node_name].append(other)
    reasons: Counter[str] = Counter()
    best: tuple[int, int, str] | None = None
    total = 0
    for node in nodes:
        total += 1
        here = by_node.get(node.metadata.name, [])
        against = objection(pod, node, here)
        if against:
            reasons[against] += 1
            continue
        rank = (sum(_is_kin(pod, p) for p in here), len(here), node.metadata.name)
        if best is None or rank < best:
            best = rank
    return NodeName(best[2]) if best is not None else Unschedulable(total, dict(reasons))


def objection(pod: Pod, node: Node, here: Iterable[Pod]) -> str:
    """The first reason why the pod must not go to the node, where the pods ``here`` are; empty if there is none."""
    if not node.is_ready:
        return "node(s) were not ready"
    if repelled := _repelled(pod, node):
        return repelled
    if not pod.spec.node_selector.items() <= node.metadata.labels.items() or not _affine(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    here = list(here)
    taken = {(p.protocol, p.host_port) for other in here for p in other.spec.ports if p.host_port}
    if any((p.protocol, p.host_port) in taken for p in pod.spec.ports if p.host_port):
        return "node(s) didn't have free ports for the requested pod ports"
    if any(_avoids(pod, other) or _avoids(other, pod) for other in here):
        return "node(s) didn't match pod anti-affinity rules"
    return ""


def _repelled(pod: Pod, node: Node) -> str:
    """The node has a taint that the pod does not tolerate (core/v1 Taint, effects NoSchedule and NoExecute)."""
    taint = next((t for t in _taints(node) if not any(x.tolerates(t) for x in pod.spec.tolerations)), None)
    if taint is None:
        return ""
    if taint.key == _CORDONED.key:
        return "node(s) were unschedulable"
    return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"


def _taints(node: Node) -> list[Taint]:
    hard = [t for t in node.spec.taints if t.effect in {"NoSchedule", "NoExecute"}]
    return [_CORDONED, *hard] if node.spec.unschedulable else hard


def _is_kin(pod: Pod, other: Pod) -> bool:
    """Of the same owner, or where there is none, of the same labels."""
    if pod.metadata.namespace != other.metadata.namespace:
        return False
    if pod.controller_uid or other.controller_uid:
        return pod.controller_uid == other.controller_uid
    return bool(pod.metadata.labels) and pod.metadata.labels == other.metadata.labels


def _affine(pod: Pod, node: Node) -> bool:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    if affinity is None or affinity.required is None:
        return True
    return any(
        term_matches(t, name=node.metadata.name, labels=node.metadata.labels)
        for t in affinity.required.node_selector_terms
    )


def _avoids(pod: Pod, other: Pod) -> bool:
    """The pod's required anti-affinity forbids to share a node with the other."""
    affinity = pod.spec.affinity.pod_anti_affinity if pod.spec.affinity else None
    return affinity is not None and any(_hits(t, pod, other) for t in affinity.required)


def _hits(term: PodAffinityTerm, pod: Pod, other: Pod) -> bool:
    if term.topology_key != HOSTNAME or term.label_selector is None:
        return False
    namespaces = term.namespaces or (pod.metadata.namespace,)
    return other.metadata.namespace in namespaces and from_selector(term.label_selector).matches(
        other.metadata.labels
    )


class SchedulerLoop:
    """Binds pending pods; one turn is :meth:`sync`.

    A decision and its note in ``_assumed`` are made without waiting in between, so that pods that are bound at the
    same time see each other.
    """

    def __init__(self, informers: Informers, events: EventRecorder, clock: Clock) -> None:
        self._client = informers.client
        self._events = events
        self._clock = clock
        self._pods = informers.of(PODS, Pod)
        self._nodes = informers.of(NODES, Node)
        self._assumed: dict[str, Pod] = {}
        self._stuck: dict[ObjectKey, str] = {}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("scheduler", self.sync)
        self._pods.on_change(self._pod_changed)
        self._nodes.on_change(self._node_changed)

    async def sync(self, key: ObjectKey) -> None:
        """Place one pod."""
        pod = self._pods.get(key)
        if pod is None or not _wants_node(pod) or pod.uid in self._assumed:
            self._stuck.pop(key, None)
            return
        placed = (self._assumed.get(p.uid, p) for p in self._pods.items.values())
        choice = pick_node(pod, self._nodes.items.values(), placed)
        if isinstance(choice, Unschedulable):
            await self._explain(pod, str(choice))
            return
        self._stuck.pop(key, None)
        spec = msgspec.structs.replace(pod.spec, node_name=choice)
        self._assumed[pod.uid] = msgspec.structs.replace(pod, spec=spec)
        try:
            await self._client.create(PODS, binding(pod, choice), subresource="binding")
        except (NotFound, Conflict):
            # Deleted or bound meanwhile; the event that says so has come or will come.
            self._assumed.pop(pod.uid, None)
            return
        except BaseException:
            self._assumed.pop(pod.uid, None)
            raise
        text = f"Successfully assigned {key} to {choice}"
        self._events.emit(PODS, key, pod.uid, reason="Scheduled", message=text)
        self._settled(self._pods.get(key))

    async def _explain(self, pod: Pod, message: str) -> None:
        """Condition PodScheduled=False with the reason; tried again when a node changes or a pod goes."""
        self._stuck[pod.key] = message
        known = pod.condition("PodScheduled")
        if known is not None and known.status == "False" and known.message == message:
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": rfc3339(self._clock.wall()),
        }
        self._events.emit(PODS, pod.key, pod.uid, reason="FailedScheduling", message=message, warning=True)
        body = {"metadata": {"uid": pod.uid}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS,
                pod.key,
                body,
                content_type="application/strategic-merge-patch+json",
                subresource="status",
            )
        except (NotFound, Conflict):
            return

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None:
            self._settled(new)
            if _wants_node(new):
                self.queue.mark(new.key)
        if old is not None and (new is None or new.uid != old.uid):
            self._assumed.pop(old.uid, None)
            self._stuck.pop(old.key, None)
        if old is not None and old.spec.node_name and (new is None or new.is_finished):
            self._retry()  # a port or an anti-affinity may be free now

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or _node_view(old) != _node_view(new)):
            self._retry()

    def _settled(self, pod: Pod | None) -> None:
        """The cache shows the binding: the note about it is no longer needed."""
        if pod is not None and pod.spec.node_name:
            self._assumed.pop(pod.uid, None)

    def _retry(self) -> None:
        for key in self._stuck:
            self.queue.mark(key)


def _wants_node(pod: Pod) -> bool:
    """Ours to place: no node yet, not ended, no gates, and of the default scheduler (core/v1 schedulerName)."""
    ours = pod.spec.scheduler_name in {"", NAME}
    return ours and not pod.spec.node_name and pod.is_active and not pod.spec.scheduling_gates


def _node_view(node: Node) -> tuple[object, ...]:
    return (node.uid, node.is_ready, node.spec.unschedulable, node.spec.taints, node.metadata.labels)


def binding(pod: Pod, node: NodeName) -> dict[str, Any]:
    """The body of ``pods/binding`` (core/v1 Binding)."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
