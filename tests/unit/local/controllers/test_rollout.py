from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.controllers.objects import (
    Condition,
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    Meta,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdate,
    Strategy,
)
from netloom.local.controllers.rollout import (
    DESIRED,
    HASH_LABEL,
    MAX,
    REVISION,
    REVISION_HISTORY,
    annotations_of_set,
    condition_of,
    current,
    deadline_in,
    forgettable,
    is_complete,
    is_scaling,
    max_surge,
    max_unavailable,
    resolved,
    same_template,
    scaled,
    size_of_new,
    sizes_of_old,
    status_of,
    template_hash,
    without_hash,
)

NOW = 1_800_000_000.0
names = itertools.count()


def deployment(
    replicas: int = 3, surge: int | str = "25%", unavailable: int | str = "25%", **options: object
) -> Deployment:
    strategy = Strategy(rolling_update=RollingUpdate(max_unavailable=unavailable, max_surge=surge))
    spec = DeploymentSpec(replicas=replicas, strategy=strategy)
    return Deployment(
        metadata=Meta(name="web", namespace="shop", uid="d", generation=4),
        spec=msgspec.structs.replace(spec, **options),
    )


def rs(size: int, available: int | None = None, *, age: int = 0, **meta: object) -> ReplicaSet:
    name = f"rs-{next(names)}"
    there = size if available is None else available
    created = f"2026-01-01T00:00:{59 - age:02}Z"
    return ReplicaSet(
        metadata=msgspec.structs.replace(
            Meta(name=name, uid=name, creation_timestamp=created, generation=1), **meta
        ),
        spec=ReplicaSetSpec(replicas=size),
        status=ReplicaSetStatus(
            replicas=size, ready_replicas=there, available_replicas=there, observed_generation=1
        ),
    )


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [
        (2, 10, 2, 2),
        ("25%", 10, 3, 2),
        ("25%", 4, 1, 1),
        ("0%", 9, 0, 0),
        ("100%", 3, 3, 3),
        ("x", 3, 0, 0),
        ("3", 9, 3, 3),
    ],
)
def test_percentages(value, total, up, down):
    assert (resolved(value, total, up=True), resolved(value, total, up=False)) == (up, down)


@pytest.mark.parametrize(
    ("d", "surge", "unavailable"),
    [
        (deployment(10), 3, 2),
        (deployment(1), 1, 0),
        (deployment(0), 0, 0),
        (deployment(3, 0, 0), 0, 1),
        (deployment(3, 0, "10%"), 0, 1),
        (deployment(2, 1, 5), 1, 2),
        (deployment(3, strategy=Strategy(type="Recreate")), 0, 0),
        (deployment(4, strategy=Strategy()), 1, 1),
    ],
)
def test_fenceposts(d, surge, unavailable):
    assert (max_surge(d), max_unavailable(d)) == (surge, unavailable)


def test_templates_are_the_same_but_for_the_hash():
    one = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}
    other = {"metadata": {"labels": {"app": "web", HASH_LABEL: "abc"}}, "spec": {"containers": []}}
    assert same_template(one, other)
    assert not same_template(one, other | {"spec": {"containers": [1]}})
    assert without_hash(other) == one
    assert template_hash(one, 0) == template_hash(dict(reversed(one.items())), None)
    assert len({template_hash(one, 0), template_hash(one, 1), template_hash(other, 0)}) == 3


def test_the_oldest_set_of_the_template_is_the_current_one():
    template = {"spec": {"a": 1}}
    d = deployment(template=template)
    young, old = (
        msgspec.structs.replace(rs(1, age=a), spec=ReplicaSetSpec(template=template)) for a in (1, 9)
    )
    assert current(d, [young, rs(1, age=20), old]) is old
    assert current(d, [rs(1)]) is None


def run_rollout(
    d: Deployment, new: ReplicaSet, old: list[ReplicaSet], healthy: bool = True
) -> list[tuple[int, int, int]]:
    """Steps of a rolling update as (old pods, new pods, available ones), each step fully settled."""
    steps = []
    for _ in range(50):
        sets = [*old, new]
        size = size_of_new(d, sets, new.spec.replicas)
        new = resized(new, size, keep=True)
        changes = sizes_of_old(d, new, old)
        old = [resized(s, changes.get(s.uid, s.spec.replicas)) for s in old]
        total_old = sum(s.spec.replicas for s in old)
        available = sum(s.status.available_replicas for s in [*old, new])
        steps.append((total_old, new.spec.replicas, available))
        if healthy:
            new = resized(new, new.spec.replicas)
        if len(steps) > 1 and steps[-1] == steps[-2]:
            return steps
    raise AssertionError("does not settle")


def resized(s: ReplicaSet, size: int, *, keep: bool = False) -> ReplicaSet:
    """With this many pods, all available; ``keep`` leaves the availability of the pods that were there."""
    available = min(size, s.status.available_replicas) if keep else size
    return msgspec.structs.replace(
        s,
        spec=ReplicaSetSpec(replicas=size),
        status=ReplicaSetStatus(replicas=size, ready_replicas=available, available_replicas=available),
    )


@given(
    st.integers(0, 12),
    st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda p: f"{p}%")),
    st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda p: f"{p}%")),
    st.booleans(),
)
def test_a_rolling_update_keeps_its_promises_and_ends(replicas, surge, unavailable, healthy):
    d = deployment(replicas, surge, unavailable)
    steps = run_rollout(d, rs(0), [rs(replicas)], healthy)
    for old, new, available in steps:
        assert old + new <= replicas + max_surge(d)
        assert available >= replicas - max_unavailable(d)
    if healthy:
        assert steps[-1] == (0, replicas, replicas)


def test_pods_that_are_not_available_go_first():
    d = deployment(4, 1, 1)
    sick, well = rs(2, 0, age=1), rs(3, 3, age=9)
    assert sizes_of_old(d, rs(0), [sick, well]) == {sick.uid: 0}


def test_recreate_takes_all_at_once():
    d = deployment(3, strategy=Strategy(type="Recreate"))
    assert size_of_new(d, [], 0) == 3


def noted(s: ReplicaSet, desired: int, most: int) -> ReplicaSet:
    annotations = {DESIRED: str(desired), MAX: str(most)}
    return msgspec.structs.replace(s, metadata=msgspec.structs.replace(s.metadata, annotations=annotations))


def test_scaling_is_noticed_by_the_noted_size():
    assert is_scaling(deployment(5), [noted(rs(3), 3, 4)])
    assert not is_scaling(deployment(3), [noted(rs(3), 3, 4)])
    assert not is_scaling(deployment(5), [noted(rs(0), 3, 4)])
    assert not is_scaling(deployment(5), [rs(3)])


def test_scaling_a_settled_deployment_changes_its_only_set():
    new, old = noted(rs(3), 3, 4), rs(0)
    assert scaled(deployment(7), new, [old]) == {new.uid: 7}
    assert scaled(deployment(7), None, [old]) == {old.uid: 7}
    assert scaled(deployment(7), None, []) == {}


def test_scaling_in_the_middle_of_a_rollout_shares_in_proportion():
    # 10 wanted with surge 3: 8 old and 5 new; now 15 are wanted.
    old, new = noted(rs(8, age=9), 10, 13), noted(rs(5), 10, 13)
    sizes = scaled(deployment(15, 3, 2), new, [old])
    assert sizes == {old.uid: 11, new.uid: 7}
    down = scaled(deployment(5, 3, 2), new, [old])
    assert sum(down.values()) == 8
    assert down[old.uid] > down[new.uid] > 0
    assert set(scaled(deployment(0), new, [old]).values()) == {0}


@given(
    st.integers(0, 40),
    st.integers(0, 5),
    st.lists(st.integers(1, 20), min_size=2, max_size=5),
    st.integers(0, 40),
)
def test_shares_add_up(replicas, surge, sizes, before):
    sets = [noted(rs(size, 0, age=i), before, before + surge) for i, size in enumerate(sizes)]
    d = deployment(replicas, surge, 0)
    result = scaled(d, sets[0], sets[1:])
    assert all(v >= 0 for v in result.values())
    allowed = replicas + max_surge(d) if replicas else 0
    assert sum(result.values()) == allowed


def test_a_saturated_new_set_ends_the_old_ones():
    new = noted(rs(3), 3, 4)
    old = rs(1, age=5)
    assert scaled(deployment(3), new, [old]) == {old.uid: 0}


def test_history_is_limited_to_empty_sets_lowest_revision_first():
    olds = [
        msgspec.structs.replace(
            rs(0), metadata=Meta(name=f"r{i}", uid=f"r{i}", annotations={REVISION: str(i)})
        )
        for i in (3, 1, 2)
    ]
    assert [s.uid for s in forgettable(deployment(revision_history_limit=1), olds)] == ["r1", "r2"]
    assert forgettable(deployment(revision_history_limit=3), olds) == []
    busy = msgspec.structs.replace(olds[1], status=ReplicaSetStatus(replicas=1))
    assert [s.uid for s in forgettable(deployment(revision_history_limit=1), [olds[0], busy, olds[2]])] == [
        "r2"
    ]


def test_annotations_and_revisions():
    d = deployment()
    d = msgspec.structs.replace(
        d,
        metadata=msgspec.structs.replace(
            d.metadata,
            annotations={
                "note": "x",
                REVISION: "1",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        ),
    )
    assert annotations_of_set(d, {}, 1) == {"note": "x", REVISION: "1"}
    rolled_back = annotations_of_set(d, {REVISION: "1"}, 3)
    assert (rolled_back[REVISION], rolled_back[REVISION_HISTORY]) == ("3", "1")
    assert annotations_of_set(d, {REVISION: "3", REVISION_HISTORY: "1"}, 5)[REVISION_HISTORY] == "1,3"
    assert annotations_of_set(d, {REVISION: "3"}, 2)[REVISION] == "3"


def reasons(status: DeploymentStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in status.conditions}


def test_status_over_a_rollout():
    d = deployment(3)
    new = rs(3, 1)
    status = status_of(d, new, [new], NOW)
    assert reasons(status) == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "ReplicaSetUpdated"),
    }
    assert (status.replicas, status.updated_replicas, status.unavailable_replicas) == (3, 3, 2)
    assert status.observed_generation == 4
    assert not is_complete(d, status)
    d = msgspec.structs.replace(d, status=status)
    assert deadline_in(d, NOW) == 600
    assert status_of(d, new, [new], NOW + 599) == status
    late = status_of(d, new, [new], NOW + 600)
    assert reasons(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    whole = resized(new, 3)
    done = status_of(d, whole, [whole], NOW + 9)
    assert reasons(done) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert is_complete(d, done)
    settled = msgspec.structs.replace(d, status=done)
    assert status_of(settled, whole, [whole], NOW + 99) == done
    assert deadline_in(settled, NOW + 9999) is None


def test_progress_moves_the_deadline_but_not_the_transition():
    d = deployment(3)
    first = status_of(d, rs(3, 1), [rs(3, 1)], NOW)
    later = status_of(msgspec.structs.replace(d, status=first), s := rs(3, 2), [s], NOW + 300)
    condition = condition_of(later, "Progressing")
    assert condition is not None
    assert condition.last_transition_time == condition_of(first, "Progressing").last_transition_time
    assert condition.last_update_time != condition_of(first, "Progressing").last_update_time
    assert deadline_in(msgspec.structs.replace(d, status=later), NOW + 300) == 600


def test_a_failure_of_the_set_shows_and_goes():
    d = deployment(1)
    failed = Condition(type="ReplicaFailure", status="True", reason="FailedCreate", message="no room")
    sick = rs(1, 0)
    sick = msgspec.structs.replace(sick, status=msgspec.structs.replace(sick.status, conditions=(failed,)))
    status = status_of(d, sick, [sick], NOW)
    assert condition_of(status, "ReplicaFailure") == failed
    again = status_of(msgspec.structs.replace(d, status=status), rs(1), [rs(1)], NOW)
    assert condition_of(again, "ReplicaFailure") is None
