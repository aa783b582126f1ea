"""What silence means, who has to go, and how many may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.meta import LabelSelector
from netloom.local.controllers.disruption.budget import Unknown, counts, next_look, scaled, status_of
from netloom.local.controllers.disruption.objects import BudgetSpec, BudgetStatus, PodDisruptionBudget
from netloom.local.controllers.node_health import (
    implied_taints,
    of_silence,
    wanted_taints,
    with_conditions,
)
from netloom.local.controllers.objects import Condition, Meta, Node, NodeSpec, NodeStatus, Pod, PodStatus
from netloom.local.controllers.placement import Taint, Toleration
from netloom.local.controllers.pod_gc import is_out_of_service, never_began, too_many
from netloom.local.controllers.taint_eviction import due_in
from netloom.units import ObjectKey

NOW = 1_900_000_000.0
NOW_TEXT = "2030-03-17T17:46:40Z"


def node(ready: str = "True", *others: str, **spec: object) -> Node:
    conditions = (Condition("Ready", ready, "R"), *(Condition(o, "True") for o in others))
    return Node(metadata=Meta(name="n"), spec=NodeSpec(**spec), status=NodeStatus(conditions=conditions))


def pod(
    name: str, *, ready: bool = True, on: str = "n", phase: str = "Running", leaving: bool = False
) -> Pod:
    return Pod(
        metadata=Meta(name=name, deletion_timestamp=NOW_TEXT if leaving else None),
        spec=Pod().spec.__class__(node_name=on),
        status=PodStatus(phase=phase, conditions=(Condition("Ready", str(ready)),)),
    )


def test_a_silent_node_is_unknown_in_all_that_a_runner_says():
    found = of_silence(node("True", "DiskPressure"), NOW)
    assert {c.type: (c.status, c.reason) for c in found} == {
        "Ready": ("Unknown", "NodeStatusUnknown"),
        "DiskPressure": ("Unknown", "NodeStatusUnknown"),
        "MemoryPressure": ("Unknown", "NodeStatusNeverUpdated"),
        "PIDPressure": ("Unknown", "NodeStatusNeverUpdated"),
    }
    silent = with_conditions(node("True", "DiskPressure"), found)
    assert of_silence(silent, NOW + 9) == ()


def keys(taints):
    return [(t.key.removeprefix("node.kubernetes.io/"), t.effect) for t in taints]


@pytest.mark.parametrize(
    ("one", "evicts", "expected"),
    [
        (node(), True, []),
        (node("False"), True, [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")]),
        (node("Unknown"), True, [("unreachable", "NoSchedule"), ("unreachable", "NoExecute")]),
        (node("Unknown"), False, [("unreachable", "NoSchedule")]),
        (
            node("True", "MemoryPressure", unschedulable=True),
            True,
            [("unschedulable", "NoSchedule"), ("memory-pressure", "NoSchedule")],
        ),
    ],
)
def test_taints_follow_conditions(one, evicts, expected):
    assert keys(wanted_taints(one, evicts=evicts, now=NOW)) == expected
    assert set(keys(implied_taints(one))) == {k for k in expected if k[1] == "NoSchedule"}


def test_taints_of_others_stay_and_one_that_stays_keeps_its_time():
    theirs = Taint("dedicated", "gpu", "NoExecute", "2001-01-01T00:00:00Z")
    old = Taint("node.kubernetes.io/unreachable", "", "NoExecute", "2001-01-01T00:00:00Z")
    found = wanted_taints(node("Unknown", taints=(theirs, old)), evicts=True, now=NOW)
    assert found[:2] == (theirs, old)
    assert keys(found[2:]) == [("unreachable", "NoSchedule")]
    assert wanted_taints(node(taints=found), evicts=True, now=NOW) == (theirs,)


GONE = Taint("gone", "", "NoExecute", NOW_TEXT)


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0),
        ([Toleration("gone", "Exists")], None),
        ([Toleration("gone", "Exists", "", "NoSchedule")], 0),
        ([Toleration("gone", "Exists", toleration_seconds=30)], 30),
        ([Toleration("gone", "Exists", toleration_seconds=-3)], 0),
        ([Toleration("gone", "Exists", toleration_seconds=30), Toleration(operator="Exists")], 30),
    ],
)
def test_a_pod_goes_when_its_tolerations_are_over(tolerations, expected):
    assert due_in([GONE, Taint("x", "", "NoSchedule")], tolerations, NOW, NOW) == expected
    undated = Taint("gone", "", "NoExecute")
    if expected:
        assert due_in([GONE], tolerations, NOW + 10, NOW + 10) == expected - 10
        assert due_in([undated], tolerations, NOW + 10, NOW + 4) == expected - 6
        assert due_in([GONE], tolerations, NOW + 100, NOW + 100) == 0
    assert due_in([], tolerations, NOW, NOW) is None


def test_pods_that_nobody_else_would_remove():
    nodes = {ObjectKey("", "n"): node("Unknown", taints=(Taint("node.kubernetes.io/out-of-service", "x"),))}
    assert is_out_of_service(pod("a", leaving=True), nodes)
    assert not is_out_of_service(pod("a"), nodes)
    assert not is_out_of_service(pod("a", leaving=True), {ObjectKey("", "n"): node()})
    assert never_began(pod("a", on="", leaving=True))
    assert not never_began(pod("a", leaving=True))
    pods = [pod(n, phase="Failed") for n in "cab"] + [pod("z")]
    assert [p.metadata.name for p in too_many(pods, 1)] == ["a", "b"]
    assert too_many(pods, 3) == []


def budget(**spec: object) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        metadata=Meta(name="b", generation=3), spec=BudgetSpec(selector=LabelSelector(), **spec)
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"min_available": 2}, (4, 2)),
        ({"min_available": "50%"}, (5, 3)),
        ({"max_unavailable": 1}, (5, 4)),
        ({"max_unavailable": "30%"}, (5, 3)),
        ({"max_unavailable": 9}, (5, 0)),
        ({"min_available": "100%"}, (5, 5)),
    ],
)
def test_how_many_must_stay(spec, expected):
    assert counts(budget(**spec), 4, 5) == expected


def test_percentages_are_rounded_up_and_nonsense_is_nothing():
    assert [scaled(v, 7) for v in ("50%", "1%", "0%", "x%", "50", 3)] == [4, 1, 0, 0, 0, 3]


def test_the_status_of_a_budget():
    pods = [pod("a"), pod("b"), pod("c", ready=False), pod("d", leaving=True), pod("e", phase="Succeeded")]
    found = status_of(budget(min_available=1), pods, 3, now=NOW, now_text=NOW_TEXT)
    assert (found.current_healthy, found.desired_healthy, found.expected_pods) == (2, 1, 3)
    assert (found.disruptions_allowed, found.observed_generation) == (1, 3)
    assert (found.conditions[0].status, found.conditions[0].reason) == ("True", "SufficientPods")
    none = status_of(budget(min_available=2), pods, 3, now=NOW, now_text=NOW_TEXT)
    assert (none.disruptions_allowed, none.conditions[0].reason) == (0, "InsufficientPods")
    unsure = status_of(budget(max_unavailable=1), pods, Unknown("no owner"), now=NOW, now_text=NOW_TEXT)
    assert (unsure.disruptions_allowed, unsure.conditions[0].reason) == (0, "SyncFailed")
    assert unsure.conditions[0].message == "no owner"


def test_a_pod_that_was_granted_does_not_count_until_it_has_gone_or_stayed():
    one = budget(min_available=1)
    granted = BudgetStatus(disrupted_pods={"a": NOW_TEXT, "left": NOW_TEXT})
    one = PodDisruptionBudget(metadata=one.metadata, spec=one.spec, status=granted)
    soon = status_of(one, [pod("a"), pod("b")], 2, now=NOW + 1, now_text=NOW_TEXT)
    assert (soon.disrupted_pods, soon.current_healthy, soon.disruptions_allowed) == ({"a": NOW_TEXT}, 1, 0)
    assert next_look(soon, NOW + 1) == 119
    late = status_of(one, [pod("a"), pod("b")], 2, now=NOW + 121, now_text=NOW_TEXT)
    assert (late.disrupted_pods, late.disruptions_allowed) == ({}, 1)
    assert next_look(late, NOW) is None


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
    st.one_of(st.integers(0, 12), st.integers(0, 100).map(lambda n: f"{n}%")),
    st.booleans(),
)
def test_as_many_as_may_go_leave_what_must_stay(shape, value, is_minimum):
    pods = [pod(f"p{i}", ready=ready, leaving=leaving) for i, (ready, leaving) in enumerate(shape)]
    one = budget(**{"min_available" if is_minimum else "max_unavailable": value})
    wanted = sum(not leaving for _, leaving in shape)
    found = status_of(one, pods, wanted, now=NOW, now_text=NOW_TEXT)
    assert 0 <= found.disruptions_allowed <= found.current_healthy <= wanted
    if found.disruptions_allowed:
        assert found.current_healthy - found.disruptions_allowed >= found.desired_healthy
