"""What a DaemonSet needs next: nodes that lack a pod, pods that must go, and its status. Pure.

In: the DaemonSet, nodes with what belongs on them, its pods by node; out: nodes to make pods for and pods to delete. Rules: apps/v1
DaemonSet (updateStrategy with maxUnavailable and maxSurge, minReadySeconds). Not here: writing (loop.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from netloom.local.controllers.daemon.nodes import Belonging
from netloom.local.controllers.objects import Pod
from netloom.local.controllers.replicas import available_in, seconds_of
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.rollout import resolved
from netloom.local.controllers.workloads import DaemonRolling, DaemonSet, DaemonSetStatus


class Changes(msgspec.Struct):
    """Nodes to make a pod for, and pods to delete; ``finished`` are those that had ended by themselves."""

    create: list[str] = msgspec.field(default_factory=list)
    delete: list[Pod] = msgspec.field(default_factory=list)
    finished: list[Pod] = msgspec.field(default_factory=list)


class View(msgspec.Struct, frozen=True):
    """All that a plan looks at: ``hash`` is that of the template now, ``now`` seconds since the epoch."""

    ds: DaemonSet
    nodes: Mapping[str, Belonging]
    pods: Mapping[str, Sequence[Pod]]
    hash: str
    now: float

    def of(self, node: str) -> list[Pod]:
        """The node's pods, oldest first; those that have a node before those that have none yet."""
        return sorted(self.pods.get(node, ()), key=_age)

    def is_available(self, pod: Pod) -> bool:
        """Ready for ``spec.minReadySeconds``."""
        return available_in(pod, self.ds.spec.min_ready_seconds, self.now) == 0

    def is_new(self, pod: Pod) -> bool:
        """Of the template as it is now."""
        return pod.metadata.labels.get(POD_HASH) == self.hash


def _age(pod: Pod) -> tuple[bool, float, str]:
    return not pod.spec.node_name, seconds_of(pod.metadata.creation_timestamp), pod.metadata.name


def limits(ds: DaemonSet, wanted: int) -> tuple[int, int]:
    """How many pods more than one a node there may be, and how many nodes may lack one, while templates change.

    Both nothing would mean that nothing can ever move: then one may be missing.
    """
    rolling = ds.spec.update_strategy.rolling_update or DaemonRolling()
    surge = resolved(rolling.max_surge, wanted, up=True)
    unavailable = resolved(rolling.max_unavailable, wanted, up=True)
    return surge, 1 if surge == 0 and unavailable == 0 else unavailable


def manage(view: View) -> Changes:
    """A pod on each node that should have one, and none where it must not be."""
    changes = Changes()
    surge = limits(view.ds, _wanted(view))[0] if _rolls(view.ds) else 0
    for node, belongs in view.nodes.items():
        _manage_node(view, node, belongs, changes, may_surge=surge > 0)
    for node in view.pods.keys() - view.nodes.keys():
        # Its node is gone; one that nobody has placed yet cannot be placed any more.
        changes.delete += [p for p in view.of(node) if not p.is_terminating]
    return changes


def _manage_node(view: View, node: str, belongs: Belonging, changes: Changes, *, may_surge: bool) -> None:
    pods = view.of(node)
    if not belongs.may_stay:
        changes.delete += [p for p in pods if not p.is_terminating]
        return
    if not pods:
        if belongs.should_run:
            changes.create.append(node)
        return
    alive = [p for p in pods if not p.is_terminating]
    changes.finished += [p for p in alive if p.is_finished]
    running = [p for p in alive if not p.is_finished]
    if not may_surge:
        changes.delete += running[1:]
        return
    new = [p for p in running if view.is_new(p)]
    old = [p for p in running if not view.is_new(p)]
    changes.delete += new[1:] + old[1:]
    if new and old and (not old[0].is_ready or view.is_available(new[0])):
        changes.delete.append(old[0])


def roll(view: View) -> Changes:
    """The next step of a rolling update: old pods that go, or with maxSurge, nodes that get a new one beside the old."""
    surge, unavailable = limits(view.ds, _wanted(view))
    return _roll_by_surge(view, surge) if surge else _roll_by_gaps(view, unavailable)


def _roll_by_gaps(view: View, most: int) -> Changes:
    missing, ill, candidates = 0, [], []
    for node, belongs in view.nodes.items():
        pods = [p for p in view.of(node) if not p.is_terminating]
        if not belongs.should_run and not pods:
            continue
        new = [p for p in pods if view.is_new(p)]
        old = [p for p in pods if not view.is_new(p)]
        if new or not old:
            missing += not (new and view.is_available(new[0]))
        elif not view.is_available(old[0]):
            # Nothing is lost with it, so it need not wait its turn.
            missing += 1
            ill.append(old[0])
        else:
            candidates.append(old[0])
    return Changes(delete=ill + candidates[: max(0, most - missing)])


def _roll_by_surge(view: View, most: int) -> Changes:
    surging, at_once, candidates, gone = 0, [], [], []
    for node, belongs in view.nodes.items():
        pods = [p for p in view.of(node) if not p.is_terminating]
        new = [p for p in pods if view.is_new(p)]
        old = [p for p in pods if not view.is_new(p)]
        if not old or not belongs.should_run:
            continue
        if new and view.is_available(new[0]):
            gone.append(old[0])
        elif new:
            surging += 1
        elif view.is_available(old[0]):
            candidates.append(node)
        else:
            at_once.append(node)
    return Changes(create=at_once + candidates[: max(0, most - surging)], delete=gone)


def _wanted(view: View) -> int:
    return sum(b.should_run for b in view.nodes.values())


def _rolls(ds: DaemonSet) -> bool:
    return ds.spec.update_strategy.type == "RollingUpdate"


def status_of(view: View, collisions: int | None) -> DaemonSetStatus:
    """The status that follows from nodes and pods: of each node its oldest pod counts."""
    wanted = scheduled = misplaced = ready = updated = available = 0
    for node, belongs in view.nodes.items():
        pods = view.of(node)
        if not belongs.should_run:
            misplaced += bool(pods)
            continue
        wanted += 1
        if not pods:
            continue
        scheduled += 1
        first = pods[0]
        ready += first.is_ready
        available += first.is_ready and view.is_available(first)
        updated += view.is_new(first)
    return DaemonSetStatus(
        current_number_scheduled=scheduled,
        number_misscheduled=misplaced,
        desired_number_scheduled=wanted,
        number_ready=ready,
        observed_generation=view.ds.metadata.generation,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=wanted - available,
        collision_count=collisions,
    )


def next_look(view: View) -> float | None:
    """Seconds until the next ready pod becomes available; None if none will by itself."""
    all_pods = (p for pods in view.pods.values() for p in pods)
    waits = (available_in(p, view.ds.spec.min_ready_seconds, view.now) for p in all_pods)
    return min((w for w in waits if w), default=None)
