"""Nodes and pods for the scheduler's tests, and a decision about one pod among others."""

from __future__ import annotations

from collections.abc import Iterable

from netloom.api.meta import LabelSelector
from netloom.local.controllers.objects import (
    HOSTNAME,
    Condition,
    Container,
    Meta,
    Node,
    NodeSpec,
    NodeStatus,
    Owner,
    Pod,
    PodSpec,
    PodStatus,
)
from netloom.local.controllers.placement import (
    Affinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Resources,
    SpreadConstraint,
    WeightedPodTerm,
)
from netloom.local.scheduler.board import Board
from netloom.local.scheduler.decide import decide
from netloom.local.scheduler.wants import wants_of


def node(
    name: str,
    *,
    ready: bool = True,
    labels: dict[str, str] | None = None,
    room: dict[str, str | int] | None = None,
    **spec: object,
) -> Node:
    return Node(
        metadata=Meta(name=name, labels={HOSTNAME: name, **(labels or {})}),
        spec=NodeSpec(**spec),
        status=NodeStatus(
            conditions=(Condition(type="Ready", status="True" if ready else "False"),), allocatable=room or {}
        ),
    )


def pod(
    name: str = "p",
    *,
    on: str = "",
    owner: str = "",
    namespace: str = "shop",
    labels: dict[str, str] | None = None,
    leaving: bool = False,
    **spec: object,
) -> Pod:
    owners = (Owner(kind="ReplicaSet", uid=owner, controller=True),) if owner else ()
    return Pod(
        metadata=Meta(
            name=name,
            namespace=namespace,
            uid=name,
            labels=labels or {},
            owner_references=owners,
            deletion_timestamp="2030-01-01T00:00:00Z" if leaving else None,
        ),
        spec=PodSpec(node_name=on, **spec),
        status=PodStatus(phase="Running" if on else "Pending"),
    )


def asking(**requests: str) -> dict[str, object]:
    """A pod of one container with these requests."""
    return {"containers": (Container(resources=Resources(requests)),)}


def board_of(nodes: Iterable[Node], pods: Iterable[Pod] = ()) -> Board:
    board = Board()
    for one in nodes:
        board.put_node(one)
    for one in pods:
        if not one.is_finished:
            board.add(wants_of(one), one.spec.node_name)
    return board


def pick_node(wanted: Pod, nodes: Iterable[Node], pods: Iterable[Pod] = ()):
    return decide(wants_of(wanted), board_of(nodes, pods))


def term(app: str, key: str = HOSTNAME, **more: object) -> PodAffinityTerm:
    return PodAffinityTerm(topology_key=key, label_selector=LabelSelector(match_labels={"app": app}), **more)


def near(*terms: PodAffinityTerm, liked: Iterable[tuple[int, PodAffinityTerm]] = ()) -> Affinity:
    return Affinity(
        pod_affinity=PodAntiAffinity(required=terms, preferred=tuple(WeightedPodTerm(w, t) for w, t in liked))
    )


def apart(*terms: PodAffinityTerm, liked: Iterable[tuple[int, PodAffinityTerm]] = ()) -> Affinity:
    return Affinity(
        pod_anti_affinity=PodAntiAffinity(
            required=terms, preferred=tuple(WeightedPodTerm(w, t) for w, t in liked)
        )
    )


def spread(key: str = HOSTNAME, skew: int = 1, app: str = "web", **more: object) -> dict[str, object]:
    constraint = SpreadConstraint(
        topology_key=key, max_skew=skew, label_selector=LabelSelector(match_labels={"app": app}), **more
    )
    return {"topology_spread_constraints": (constraint,), "labels": {"app": app}}
