"""What a StatefulSet does next, and that it always gets there."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.controllers.objects import Condition, Meta, Pod, PodStatus
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.stateful.identity import POD_INDEX, POD_NAME, ordinal_of
from netloom.local.controllers.stateful.plan import revision_for, row_of, status_of, steps
from netloom.local.controllers.workloads import (
    Ordinals,
    StatefulRolling,
    StatefulSet,
    StatefulSetSpec,
    StatefulStrategy,
)

NOW = 1_800_000_000.0


def stateful(replicas: int, **spec: object) -> StatefulSet:
    rolling = spec.pop("rolling", None)
    strategy = StatefulStrategy(spec.pop("strategy", "RollingUpdate"), rolling)
    return StatefulSet(
        metadata=Meta(name="db", namespace="shop", uid="s"),
        spec=StatefulSetSpec(replicas=replicas, update_strategy=strategy, **spec),
    )


def pod(
    ordinal: int, revision: str = "new", *, ready: bool = True, phase: str = "Running", going: bool = False
) -> Pod:
    name = f"db-{ordinal}"
    labels = {POD_HASH: revision, POD_NAME: name, POD_INDEX: str(ordinal)}
    meta = Meta(name=name, uid=name, labels=labels, deletion_timestamp="x" if going else None)
    conditions = (Condition("Ready", "True" if ready else "False"),)
    return Pod(metadata=meta, status=PodStatus(phase=phase, conditions=conditions))


def todo(s: StatefulSet, *pods: Pod) -> list[str]:
    return [f"{step.verb} {step.ordinal}" for step in steps(s, row_of(s, pods), "new", NOW)]


@pytest.mark.parametrize(
    ("s", "pods", "expected"),
    [
        (stateful(2), [], ["create 0"]),
        (stateful(2), [pod(0, ready=False)], []),
        (stateful(2), [pod(0)], ["create 1"]),
        (stateful(2, pod_management_policy="Parallel"), [], ["create 0", "create 1"]),
        (stateful(2), [pod(0, going=True)], []),
        (stateful(2), [pod(0, phase="Failed"), pod(1)], ["recreate 0"]),
        (stateful(1), [pod(0), pod(1), pod(2)], ["delete 2"]),
        (stateful(1), [pod(0, ready=False), pod(1)], []),
        (stateful(1), [pod(0), pod(1), pod(2, ready=False)], ["delete 2"]),
        (stateful(1), [pod(0), pod(1, ready=False), pod(2, ready=False)], []),
        (stateful(1, pod_management_policy="Parallel"), [pod(0), pod(1), pod(2)], ["delete 2", "delete 1"]),
        (stateful(2, ordinals=Ordinals(5)), [pod(5)], ["create 6"]),
        (stateful(2), [pod(0, "old"), pod(1, "old")], ["delete 1"]),
        (stateful(2), [pod(0, "old"), pod(1)], ["delete 0"]),
        (stateful(2, strategy="OnDelete"), [pod(0, "old"), pod(1, "old")], []),
        (stateful(3, rolling=StatefulRolling(2)), [pod(0, "old"), pod(1, "old"), pod(2)], []),
        (
            stateful(3, rolling=StatefulRolling(0, 2), pod_management_policy="Parallel"),
            [pod(0, "old"), pod(1, "old"), pod(2, "old")],
            ["delete 2", "delete 1"],
        ),
        (
            stateful(3, rolling=StatefulRolling(0, 2), pod_management_policy="Parallel"),
            [pod(0, "old"), pod(1, "old"), pod(2, ready=False)],
            ["delete 1"],
        ),
    ],
)
def test_next_steps(s, pods, expected):
    assert todo(s, *pods) == expected


def test_below_the_partition_a_new_pod_is_of_the_current_revision():
    s = stateful(3, rolling=StatefulRolling(2), ordinals=Ordinals(10))
    assert [revision_for(s, n, "old", "new") for n in (10, 11, 12)] == ["old", "old", "new"]


@pytest.mark.parametrize("name", ["db", "db-", "db-01", "db-1x", "web-1", "db-x-1", "db-²"])
def test_names_of_others_are_none_of_its(name):
    assert ordinal_of(stateful(1), Pod(metadata=Meta(name=name))) is None


@given(
    wish=st.integers(0, 4),
    start=st.integers(0, 2),
    ordered=st.booleans(),
    partition=st.integers(0, 4),
    most=st.sampled_from([None, 1, "50%"]),
    there=st.dictionaries(st.integers(0, 6), st.sampled_from(["old", "new"]), max_size=6),
)
def test_it_always_gets_there(wish, start, ordered, partition, most, there):
    """Done step by step, by nodes that make pods ready and end them at once, every plan ends in the wanted state."""
    policy = "OrderedReady" if ordered else "Parallel"
    rolling = StatefulRolling(partition, most)
    s = stateful(wish, ordinals=Ordinals(start), pod_management_policy=policy, rolling=rolling)
    pods = {n: pod(n, revision) for n, revision in there.items()}
    for _ in range(40):
        plan = steps(s, row_of(s, list(pods.values())), "new", NOW)
        if not plan:
            break
        if ordered and most is None:
            assert len(plan) == 1
        for step in plan:
            if step.pod is None:
                pods[step.ordinal] = pod(step.ordinal, revision_for(s, step.ordinal, "old", "new"))
            else:
                del pods[step.ordinal]
    else:
        raise AssertionError("it never ends")
    assert sorted(pods) == list(range(start, start + wish))
    assert all(p.metadata.labels[POD_HASH] == "new" for n, p in pods.items() if n - start >= partition)
    status = status_of(s, row_of(s, list(pods.values())), "old", "new", None, NOW)
    assert (status.replicas, status.ready_replicas) == (wish, wish)
    assert (status.current_revision == "new") == (status.updated_replicas == wish)
    assert msgspec.to_builtins(status)["updateRevision"] == "new"
