"""Which nodes a DaemonSet's pods belong on, and in which order they change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.controllers.daemon.nodes import Belonging, belonging, node_of, pod_body
from netloom.local.controllers.daemon.plan import View, limits, manage, roll, status_of
from netloom.local.controllers.objects import Condition, Meta, Node, NodeSpec, Pod, PodSpec, PodStatus
from netloom.local.controllers.placement import Taint
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.workloads import DaemonRolling, DaemonSet, DaemonSetSpec, DaemonStrategy

NOW = 1_800_000_000.0
HERE = Belonging(should_run=True, may_stay=True)


def daemon(surge: int | str = 0, unavailable: int | str = 1, **pod: object) -> DaemonSet:
    strategy = DaemonStrategy(rolling_update=DaemonRolling(unavailable, surge))
    spec = DaemonSetSpec(template={"spec": {"containers": [], **pod}}, update_strategy=strategy)
    return DaemonSet(metadata=Meta(name="log", namespace="shop", uid="d"), spec=spec)


def pod(node: str, hash_: str = "new", *, ready: bool = True, going: bool = False, age: int = 0) -> Pod:
    meta = Meta(
        name=f"log-{node}-{hash_}",
        uid=f"{node}-{hash_}",
        labels={POD_HASH: hash_},
        creation_timestamp=f"2026-01-01T00:00:{59 - age:02}Z",
        deletion_timestamp="x" if going else None,
    )
    status = PodStatus(phase="Running", conditions=(Condition("Ready", "True" if ready else "False"),))
    return Pod(metadata=meta, spec=PodSpec(node_name=node), status=status)


def view(ds: DaemonSet, *pods: Pod, nodes: int = 3, **others: Belonging) -> View:
    by_node: dict[str, list[Pod]] = {}
    for p in pods:
        by_node.setdefault(p.spec.node_name, []).append(p)
    return View(ds, {f"n{i}": HERE for i in range(nodes)} | others, by_node, "new", NOW)


@pytest.mark.parametrize(
    ("taints", "tolerations", "expected"),
    [
        ([], [], (True, True)),
        ([Taint("example.org/a", "", "NoSchedule")], [], (False, True)),
        ([Taint("example.org/a", "", "NoExecute")], [], (False, False)),
        ([Taint("example.org/a", "", "NoSchedule")], [{"operator": "Exists"}], (True, True)),
        ([Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")], [], (True, True)),
        ([Taint("node.kubernetes.io/unreachable", "", "NoExecute")], [], (True, True)),
        ([Taint("example.org/a", "", "PreferNoSchedule")], [], (True, True)),
    ],
)
def test_taints_keep_pods_away_but_for_those_that_come_with_what_befalls_nodes(taints, tolerations, expected):
    node = Node(metadata=Meta(name="n1"), spec=NodeSpec(taints=tuple(taints)))
    found = belonging(daemon(tolerations=tolerations), node)
    assert (found.should_run, found.may_stay) == expected


def test_selectors_and_names_choose_nodes():
    node = Node(metadata=Meta(name="n1", labels={"disk": "ssd"}))
    assert belonging(daemon(nodeSelector={"disk": "ssd"}), node).should_run
    assert not belonging(daemon(nodeSelector={"disk": "hdd"}), node).may_stay
    assert not belonging(daemon(nodeName="n2"), node).should_run


def test_a_pod_asks_for_its_node_by_name():
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": []}
    body = pod_body(daemon(affinity={"nodeAffinity": preferred}, hostNetwork=True), "n1", "h")
    fields = body["spec"]["affinity"]["nodeAffinity"]
    assert fields["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] == [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    ]
    assert "preferredDuringSchedulingIgnoredDuringExecution" in fields
    keys = {t["key"] for t in body["spec"]["tolerations"]}
    assert "node.kubernetes.io/network-unavailable" in keys
    assert node_of(pod("n9")) == "n9"


def test_what_belongs_nowhere_goes_and_what_lacks_comes():
    away = Belonging(should_run=False, may_stay=False)
    stays = Belonging(should_run=False, may_stay=True)
    found = manage(view(daemon(), pod("n0"), pod("x"), pod("y"), pod("z"), x=away, y=stays))
    assert sorted(found.create) == ["n1", "n2"]
    assert sorted(p.spec.node_name for p in found.delete) == ["x", "z"]


def test_of_two_pods_on_a_node_the_older_stays():
    found = manage(view(daemon(), pod("n0", age=9), pod("n0", "old", age=1), nodes=1))
    assert [p.uid for p in found.delete] == ["n0-old"]


def test_ill_pods_go_first_and_then_as_many_as_may_be_missing():
    pods = [pod("n0", "old"), pod("n1", "old"), pod("n2", "old", ready=False)]
    assert [p.uid for p in roll(view(daemon(), *pods)).delete] == ["n2-old"]
    assert [p.uid for p in roll(view(daemon(unavailable=2), *pods)).delete] == ["n2-old", "n0-old"]


def test_with_surge_nodes_get_the_new_pod_first():
    pods = [pod("n0", "old"), pod("n1", "old"), pod("n2", "old")]
    surging = daemon(surge=1, unavailable=0)
    assert roll(view(surging, *pods)).create == ["n0"]
    waiting = roll(view(surging, *pods, pod("n0", ready=False)))
    assert (waiting.create, waiting.delete) == ([], [])
    done = roll(view(surging, *pods, pod("n0")))
    assert (done.create, [p.uid for p in done.delete]) == (["n1"], ["n0-old"])


@pytest.mark.parametrize(
    ("surge", "unavailable", "expected"),
    [(0, 1, (0, 1)), (0, "10%", (0, 1)), ("34%", 0, (2, 0)), (0, 0, (0, 1))],
)
def test_limits_are_numbers_or_shares_of_nodes(surge, unavailable, expected):
    assert limits(daemon(surge, unavailable), 5) == expected


@given(
    old=st.sets(st.integers(0, 4)),
    surge=st.sampled_from([0, 1, "50%"]),
    unavailable=st.sampled_from([0, 1, "50%"]),
)
def test_a_rolling_update_always_ends_and_keeps_its_limits(old, surge, unavailable):
    ds = daemon(surge, unavailable)
    pods = {f"n{i}-old": pod(f"n{i}", "old") for i in old}
    most = limits(ds, 5)
    for _ in range(40):
        now = view(ds, *pods.values(), nodes=5)
        changes = manage(now)
        if not changes.create and not changes.delete:
            changes = roll(now)
            available = {p.spec.node_name for p in pods.values()} - {
                p.spec.node_name for p in changes.delete if len(now.pods[p.spec.node_name]) == 1
            }
            assert len(available) >= 5 - most[1]
            assert len(changes.create) <= most[0]
        if not changes.create and not changes.delete:
            break
        for gone in changes.delete:
            del pods[gone.uid]
        pods |= {f"{node}-new": pod(node) for node in changes.create}
    assert sorted(pods) == [f"n{i}-new" for i in range(5)]
    status = status_of(view(ds, *pods.values(), nodes=5), None)
    assert (status.desired_number_scheduled, status.updated_number_scheduled, status.number_available) == (
        5,
        5,
        5,
    )
