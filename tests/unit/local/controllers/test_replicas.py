from __future__ import annotations

import random

import pytest

from netloom.local.controllers.objects import (
    Condition,
    ContainerStatus,
    Meta,
    Pod,
    PodSpec,
    PodStatus,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
)
from netloom.local.controllers.replicas import (
    DELETION_COST,
    Failure,
    available_in,
    deletion_cost,
    next_look,
    status_of,
    victims,
)

NOW = 1_767_225_600.0 + 100  # 2026-01-01T00:01:40Z


def pod(
    name: str,
    *,
    node: str = "node-1",
    phase: str = "Running",
    ready_at: str = "2026-01-01T00:00:00Z",
    made: str = "2026-01-01T00:00:00Z",
    restarts: int = 0,
    cost: str = "",
    labels: dict[str, str] | None = None,
) -> Pod:
    conditions = (Condition(type="Ready", status="True", last_transition_time=ready_at),) if ready_at else ()
    return Pod(
        metadata=Meta(
            name=name,
            uid=name,
            creation_timestamp=made,
            labels=labels or {},
            annotations={DELETION_COST: cost} if cost else {},
        ),
        spec=PodSpec(node_name=node),
        status=PodStatus(
            phase=phase, conditions=conditions, container_statuses=(ContainerStatus(restart_count=restarts),)
        ),
    )


ORDERED = [
    pod("unscheduled", node="", phase="Pending", ready_at=""),
    pod("pending", phase="Pending", ready_at="", node="n-a"),
    pod("unknown", phase="Unknown", ready_at="", node="n-b"),
    pod("not-ready", ready_at="", node="n-c"),
    pod("cheap", cost="-5", node="n-d"),
    pod("crowded-young-ready", ready_at="2026-01-01T00:01:00Z", node="n-e"),
    pod("crowded-restarts", restarts=3, node="n-e"),
    pod("crowded-young", made="2026-01-01T00:00:30Z", node="n-e"),
    pod("crowded-old", node="n-e"),
    pod("alone", node="n-f"),
    pod("dear", cost="7", node="n-g"),
]


@pytest.mark.parametrize("count", range(len(ORDERED) + 2))
def test_victims_are_taken_in_order(count):
    shuffled = random.Random(count).sample(ORDERED, len(ORDERED))
    assert [p.metadata.name for p in victims(shuffled, count)] == [p.metadata.name for p in ORDERED[:count]]


@pytest.mark.parametrize(("text", "cost"), [("", 0), ("12", 12), ("-3", -3), ("x", 0), ("99999999999", 0)])
def test_deletion_cost(text, cost):
    assert deletion_cost(pod("a", cost=text)) == cost


def test_availability_waits_for_min_ready_seconds():
    assert available_in(pod("a", ready_at=""), 0, NOW) is None
    assert available_in(pod("a"), 0, NOW) == 0
    assert available_in(pod("a"), 100, NOW) == 0
    assert available_in(pod("a"), 130, NOW) == 30
    rs = ReplicaSet(spec=ReplicaSetSpec(replicas=2, min_ready_seconds=130))
    pods = [pod("a"), pod("b", ready_at="2026-01-01T00:00:10Z"), pod("c", ready_at="")]
    assert next_look(rs, pods, NOW) == 30
    status = status_of(rs, pods, NOW)
    assert (status.replicas, status.ready_replicas, status.available_replicas) == (3, 2, 0)
    assert next_look(rs, pods, NOW + 50) is None


def test_status_counts_labels_and_keeps_when_a_failure_began():
    template = {"metadata": {"labels": {"app": "x", "v": "2"}}}
    rs = ReplicaSet(metadata=Meta(generation=7), spec=ReplicaSetSpec(template=template))
    pods = [pod("a", labels={"app": "x", "v": "2", "more": "z"}), pod("b", labels={"app": "x"})]
    status = status_of(rs, pods, NOW, Failure("FailedCreate", "no room"))
    assert status == ReplicaSetStatus(
        replicas=2,
        fully_labeled_replicas=1,
        ready_replicas=2,
        available_replicas=2,
        observed_generation=7,
        conditions=(
            Condition(
                type="ReplicaFailure",
                status="True",
                reason="FailedCreate",
                message="no room",
                last_transition_time="2026-01-01T00:01:40Z",
            ),
        ),
    )
    rs = ReplicaSet(metadata=Meta(generation=7), spec=ReplicaSetSpec(template=template), status=status)
    assert status_of(rs, pods, NOW + 60, Failure("FailedCreate", "no room")) == status
    assert status_of(rs, pods, NOW + 60).conditions == ()
