from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from tests.unit.local.scheduler.build import node, pick_node, pod

from netloom.api.core import ContainerPort
from netloom.api.meta import LabelSelector
from netloom.local.controllers.objects import (
    Container,
    Pod,
    PodStatus,
)
from netloom.local.controllers.placement import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodAffinityTerm,
    PodAntiAffinity,
    Taint,
    Toleration,
)
from netloom.local.scheduler.decide import Unschedulable

THREE = [node("node-1"), node("node-2"), node("node-3")]


def test_pods_of_an_owner_spread():
    placed: list[Pod] = []
    for i in range(9):
        choice = pick_node(pod(f"p{i}", owner="rs" if i % 2 else "other"), THREE, placed)
        assert isinstance(choice, str)
        placed.append(pod(f"p{i}", on=choice, owner="rs" if i % 2 else "other"))
    for owner in ("rs", "other"):
        counts = Counter(p.spec.node_name for p in placed if p.controller_uid == owner)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert set(Counter(p.spec.node_name for p in placed).values()) == {3}


def test_kin_count_before_all_pods_and_all_before_the_name():
    others = [pod(f"x{i}", on="node-1") for i in range(3)]
    mine = [pod("a", on="node-2", owner="rs")]
    assert pick_node(pod(owner="rs"), THREE[:2], [*others, *mine]) == "node-1"
    assert pick_node(pod(owner="new"), THREE[:2], [*others, *mine]) == "node-2"
    assert pick_node(pod(owner="new"), list(reversed(THREE)), []) == "node-1"


def test_pods_without_owner_spread_by_labels_and_finished_ones_do_not_count():
    there = [pod("a", on="node-1", labels={"app": "x"}), *(pod(f"y{i}", on="node-2") for i in range(3))]
    assert pick_node(pod(labels={"app": "x"}), THREE[:2], there) == "node-2"
    done = [msgspec.structs.replace(p, status=PodStatus(phase="Succeeded")) for p in there]
    assert pick_node(pod(labels={"app": "x"}), THREE[:2], done) == "node-1"


def required(*terms: NodeSelectorTerm) -> Affinity:
    return Affinity(node_affinity=NodeAffinity(required=NodeSelector(terms)))


def term(key: str, operator: str, *values: str) -> NodeSelectorTerm:
    return NodeSelectorTerm(match_expressions=(NodeSelectorRequirement(key, operator, values),))


FAST = node("fast", labels={"disk": "ssd", "cores": "8"})
SLOW = node("slow", labels={"disk": "hdd", "cores": "2"})
BARE = node("bare")


@pytest.mark.parametrize(
    ("affinity", "allowed"),
    [
        (required(term("disk", "In", "ssd", "nvme")), {"fast"}),
        (required(term("disk", "NotIn", "ssd")), {"slow", "bare"}),
        (required(term("disk", "Exists")), {"fast", "slow"}),
        (required(term("disk", "DoesNotExist")), {"bare"}),
        (required(term("cores", "Gt", "4")), {"fast"}),
        (required(term("cores", "Lt", "4")), {"slow"}),
        (required(term("cores", "Gt", "x")), set()),
        (required(term("disk", "In", "ssd"), term("cores", "In", "2")), {"fast", "slow"}),
        (required(NodeSelectorTerm()), set()),
        (
            required(
                NodeSelectorTerm(match_fields=(NodeSelectorRequirement("metadata.name", "In", ("bare",)),))
            ),
            {"bare"},
        ),
        (required(), set()),
        (Affinity(), {"fast", "slow", "bare"}),
    ],
)
def test_node_affinity(affinity, allowed):
    for one in (FAST, SLOW, BARE):
        choice = pick_node(pod(affinity=affinity), [one], [])
        assert (choice == one.metadata.name) is (one.metadata.name in allowed)


def test_node_selector():
    assert pick_node(pod(node_selector={"disk": "hdd"}), [FAST, SLOW, BARE], []) == "slow"


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration("dedicated", "Equal", "gpu", "NoSchedule"), True),
        (Toleration("dedicated", "Equal", "gpu"), True),
        (Toleration("dedicated", "Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration("dedicated", "Equal", "cpu"), False),
        (Toleration("dedicated", "Equal", "gpu", "NoExecute"), False),
        (Toleration("other", "Exists"), False),
    ],
)
def test_taints(toleration, tolerated):
    tainted = node("n", taints=(Taint("dedicated", "gpu", "NoSchedule"),))
    assert isinstance(pick_node(pod(), [tainted], []), Unschedulable)
    assert (pick_node(pod(tolerations=(toleration,)), [tainted], []) == "n") is tolerated


def test_a_preference_does_not_keep_pods_away():
    assert pick_node(pod(), [node("n", taints=(Taint("a", "", "PreferNoSchedule"),))], []) == "n"


def test_cordoned_and_not_ready_nodes():
    result = pick_node(
        pod(), [node("a", unschedulable=True), node("b", ready=False), node("c", ready=False)], []
    )
    assert str(result) == (
        "0/3 nodes are available: 1 node(s) were unschedulable, "
        "2 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    )
    daemon = pod(tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists"),))
    assert pick_node(daemon, [node("a", unschedulable=True)], []) == "a"
    assert str(pick_node(pod(), [], [])) == "0/0 nodes are available."


def test_host_ports():
    wants = {"containers": (Container(ports=(ContainerPort(80, host_port=8080),)),)}
    there = [pod("a", on="node-1", **wants)]
    assert pick_node(pod(**wants), THREE[:2], there) == "node-2"
    result = pick_node(pod(**wants), THREE[:1], there)
    assert "didn't have free ports" in str(result)
    udp = {"containers": (Container(ports=(ContainerPort(80, protocol="UDP", host_port=8080),)),)}
    assert pick_node(pod(**udp), THREE[:1], there) == "node-1"


def test_anti_affinity_by_hostname_works_both_ways():
    apart = Affinity(
        pod_anti_affinity=PodAntiAffinity(
            required=(
                PodAffinityTerm(
                    topology_key="kubernetes.io/hostname",
                    label_selector=LabelSelector(match_labels={"app": "db"}),
                ),
            )
        )
    )
    db = {"app": "db"}
    for mine, theirs in ((apart, None), (None, apart)):
        there = [pod("a", on="node-1", labels=db, affinity=theirs)]
        assert pick_node(pod(labels=db, affinity=mine), THREE[:2], there) == "node-2"
        assert "anti-affinity" in str(pick_node(pod(labels=db, affinity=mine), THREE[:1], there))
        assert pick_node(pod(labels={"app": "web"}), THREE[:1], there) == "node-1"
