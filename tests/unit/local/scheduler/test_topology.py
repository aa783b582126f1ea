"""Resources, company and spread: which nodes will do, and which is best."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local.scheduler.build import (
    apart,
    asking,
    board_of,
    near,
    node,
    pick_node,
    pod,
    spread,
    term,
)

from netloom.api.core import ContainerPort
from netloom.api.meta import LabelSelector
from netloom.local.controllers.objects import HOSTNAME, ZONE, Container
from netloom.local.controllers.placement import (
    Affinity,
    NodeAffinity,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PreferredNode,
    Resources,
    Taint,
    Toleration,
)
from netloom.local.scheduler.decide import Unschedulable, decide
from netloom.local.scheduler.wants import requests_of, wants_of

ZONED = [node("a1", labels={ZONE: "a"}), node("a2", labels={ZONE: "a"}), node("b1", labels={ZONE: "b"})]


def test_a_pod_needs_what_its_containers_need_at_most():
    def one(cpu, policy=""):
        return Container(resources=Resources({"cpu": cpu}), restart_policy=policy)

    spec = {
        "containers": (one("100m"), one("0.2")),
        "init_containers": (one("250m"), one("50m", "Always"), one("400m")),
        "overhead": {"cpu": "10m", "memory": "1Mi"},
    }
    # the sidecar and the last init container are more than the sidecar and all containers
    assert requests_of(pod(**spec)) == {"cpu": 460, "memory": 1 << 20}
    assert requests_of(pod(**asking(cpu="1500u", memory="0.5"))) == {"cpu": 2, "memory": 1}
    assert requests_of(pod(**asking(cpu="0"))) == {}


def test_a_node_gives_what_it_has():
    small = node("small", room={"cpu": "1", "memory": "1Gi", "pods": 2})
    there = [pod("x", on="small", **asking(cpu="600m"))]
    assert pick_node(pod(**asking(cpu="400m")), [small], there) == "small"
    assert "1 Insufficient cpu" in str(pick_node(pod(**asking(cpu="401m")), [small], there))
    assert "1 Insufficient memory" in str(pick_node(pod(**asking(memory="2Gi")), [small], there))
    assert "Insufficient example.org/gpu" in str(
        pick_node(pod(**asking(**{"example.org/gpu": "1"})), [small])
    )
    assert "Too many pods" in str(pick_node(pod(), [small], [*there, pod("y", on="small")]))
    assert pick_node(pod(**asking(cpu="64")), [node("says-nothing")]) == "says-nothing"


def test_the_node_with_most_left_is_taken():
    nodes = [node("n1", room={"cpu": "2", "memory": "2Gi"}), node("n2", room={"cpu": "8", "memory": "8Gi"})]
    assert pick_node(pod(**asking(cpu="1")), nodes) == "n2"


def test_a_pod_is_near_to_those_that_it_wants():
    there = [pod("db", on="a2", labels={"app": "db"})]
    assert pick_node(pod(affinity=near(term("db"))), ZONED, there) == "a2"
    assert pick_node(pod(affinity=near(term("db", ZONE))), ZONED, there) == "a1"
    assert "3 node(s) didn't match pod affinity rules" in str(
        pick_node(pod(affinity=near(term("no"))), ZONED)
    )


def test_the_first_of_those_that_want_to_be_together_may_be_anywhere_with_the_label():
    wanted = pod(labels={"app": "db"}, affinity=near(term("db", ZONE)))
    assert pick_node(wanted, [node("bare"), *ZONED]) == "a1"
    assert isinstance(pick_node(wanted, [node("bare")]), Unschedulable)


def test_company_must_be_what_all_terms_mean():
    there = [pod("x", on="a1", labels={"app": "db"}), pod("y", on="b1", labels={"app": "web"})]
    assert isinstance(pick_node(pod(affinity=near(term("db"), term("web"))), ZONED, there), Unschedulable)


def test_a_zone_is_left_to_those_that_want_it_for_themselves():
    there = [pod("x", on="a1", labels={"app": "db"}, affinity=apart(term("web", ZONE)))]
    assert pick_node(pod(labels={"app": "web"}), ZONED, there) == "b1"
    said = str(pick_node(pod(labels={"app": "web"}), ZONED[:2], there))
    assert "2 node(s) didn't satisfy existing pods anti-affinity rules" in said


def test_namespaces_are_those_that_are_named_or_labelled_or_the_own():
    other = pod("x", on="a1", namespace="other", labels={"app": "db"})

    def takes(**more):
        board = board_of(ZONED[:1], [other])
        board.put_namespace("other", {"team": "blue"})
        return decide(wants_of(pod(affinity=apart(term("db", **more)))), board) == "a1"

    assert takes()
    assert not takes(namespaces=("other",))
    assert not takes(namespace_selector=LabelSelector(match_labels={"team": "blue"}))
    assert takes(namespace_selector=LabelSelector(match_labels={"team": "red"}))
    assert not takes(namespace_selector=LabelSelector())


def test_keys_in_which_pods_agree_or_not():
    there = [pod("x", on="a1", labels={"app": "db", "v": "1"})]

    def takes(version, **more):
        wanted = pod(labels={"app": "db", "v": version}, affinity=apart(term("db", **more)))
        return pick_node(wanted, ZONED[:1], there) == "a1"

    assert not takes("1", match_label_keys=("v",))
    assert takes("2", match_label_keys=("v",))
    assert takes("1", mismatch_label_keys=("v",))
    assert not takes("2", mismatch_label_keys=("v",))


def test_preferences_are_followed_where_they_can_be():
    ssd = NodeSelectorTerm(match_expressions=(NodeSelectorRequirement(ZONE, "In", ("b",)),))
    likes = Affinity(node_affinity=NodeAffinity(preferred=(PreferredNode(5, ssd),)))
    crowd = [pod(f"c{i}", on="b1", owner="rs") for i in range(5)]
    assert pick_node(pod(owner="rs", affinity=likes), ZONED, crowd) == "b1"
    assert pick_node(pod(affinity=likes), ZONED[:2]) == "a1"
    db = [pod("db", on="a2", labels={"app": "db"})]
    assert pick_node(pod(affinity=near(liked=[(1, term("db"))])), ZONED, db) == "a2"
    assert pick_node(pod(affinity=apart(liked=[(1, term("db", ZONE))])), ZONED, db) == "b1"
    disliked = [node("n1", taints=(Taint("a", "", "PreferNoSchedule"),)), node("n2")]
    crowd = [pod("c", on="n2")]
    assert pick_node(pod(), disliked, crowd) == "n2"
    assert pick_node(pod(tolerations=(Toleration("a", "Exists"),)), disliked, crowd) == "n1"


def test_pods_that_are_there_may_like_company_too():
    likes = pod("x", on="a2", affinity=near(liked=[(10, term("web"))]))
    assert pick_node(pod(labels={"app": "web"}), ZONED, [likes]) == "a2"
    hates = pod("x", on="a1", affinity=apart(liked=[(10, term("web", ZONE))]))
    assert pick_node(pod(labels={"app": "web"}), ZONED, [hates]) == "b1"


def test_pods_are_spread_over_zones_and_a_skew_is_kept():
    placed = []
    for i in range(8):
        wanted = pod(f"p{i}", **spread(ZONE))
        choice = pick_node(wanted, ZONED, placed)
        placed.append(pod(f"p{i}", on=choice, labels={"app": "web"}))
    zones = Counter(p.spec.node_name[0] for p in placed)
    assert zones == {"a": 4, "b": 4}
    # one domain alone has no skew
    assert pick_node(pod(**spread(ZONE)), ZONED[:2], placed[:1]) in ("a1", "a2")


def test_what_a_constraint_counts():
    there = [
        pod("x", on="a1", labels={"app": "web"}),
        pod("gone", on="b1", labels={"app": "web"}, leaving=True),
        pod("far", on="b1", labels={"app": "web"}, namespace="other"),
    ]
    # those on their way out and those elsewhere do not count
    assert pick_node(pod(**spread(ZONE)), ZONED, there) == "b1"
    bare = node("bare")
    assert "missing required label" in str(pick_node(pod(**spread(ZONE)), [bare]))
    # a domain that the pod cannot go to is none, unless the constraint says so
    only_a = {"node_selector": {ZONE: "a"}}
    assert pick_node(pod(**spread(ZONE), **only_a), ZONED, there) == "a2"
    ignoring = spread(ZONE, node_affinity_policy="Ignore")
    assert "didn't match pod topology spread" in str(pick_node(pod(**ignoring, **only_a), ZONED, there))
    # fewer domains than wanted: the least is none
    assert "topology spread" in str(pick_node(pod(**spread(ZONE, min_domains=3)), ZONED[:2], there))


def test_tainted_domains_count_unless_the_constraint_heeds_taints():
    nodes = [ZONED[0], node("b1", labels={ZONE: "b"}, taints=(Taint("x", "", "NoSchedule"),))]
    there = [pod("x", on="a1", labels={"app": "web"})]
    assert isinstance(pick_node(pod(**spread(ZONE)), nodes, there), Unschedulable)
    assert pick_node(pod(**spread(ZONE, node_taints_policy="Honor")), nodes, there) == "a1"


def test_a_soft_constraint_only_prefers():
    soft = spread(ZONE, when_unsatisfiable="ScheduleAnyway")
    there = [pod(f"x{i}", on="b1", labels={"app": "web"}) for i in range(3)]
    assert pick_node(pod(**soft), ZONED, there) == "a1"
    assert pick_node(pod(**soft), ZONED[2:], there) == "b1"


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from("abc")), min_size=1, max_size=6),
    st.integers(1, 3),
    st.integers(1, 20),
)
def test_a_hard_skew_is_never_broken(shape, skew, count):
    nodes = [
        node(f"{zone}{i}-{j}", labels={ZONE: zone})
        for i, (size, zone) in enumerate(shape)
        for j in range(size)
    ]
    board = board_of(nodes)
    zones = {n.metadata.labels[ZONE] for n in nodes}
    there = Counter(dict.fromkeys(zones, 0))
    for i in range(count):
        wanted = wants_of(pod(f"p{i}", **spread(ZONE, skew)))
        choice = decide(wanted, board)
        assert isinstance(choice, str)
        board.add(wanted, choice)
        there[choice[0]] += 1
        assert max(there.values()) - min(there.values()) <= skew


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=40))
def test_a_board_after_any_history_is_as_one_made_at_once(history):
    nodes = [node(f"n{i}", labels={ZONE: "ab"[i % 2]}) for i in range(4)]
    board = board_of(nodes)
    now = {}
    for number, place, goes in history:
        name = f"p{number}"
        if goes:
            board.remove(name)
            now.pop(name, None)
            continue
        one = pod(
            name,
            on=f"n{place}",
            owner=f"o{number % 2}",
            affinity=apart(term(f"x{number % 3}", ZONE)),
            labels={"app": "w"},
        )
        board.add(wants_of(one), one.spec.node_name)
        now[name] = one
    fresh = board_of(nodes, now.values())
    assert board.repelling == fresh.repelling
    for one, other in zip(board.places, fresh.places, strict=True):
        assert (one.pods.keys(), one.kin, one.ports) == (other.pods.keys(), other.kin, other.ports)
    assert board.by_value(wants_of(pod(affinity=apart(term("w", HOSTNAME)))).apart[0]) == fresh.by_value(
        wants_of(pod(affinity=apart(term("w", HOSTNAME)))).apart[0]
    )


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1"])
def test_a_port_of_all_addresses_is_a_port_of_each(address):
    def with_port(host_ip, **more):
        return pod(containers=(Container(ports=(ContainerPort(80, host_port=80, host_ip=host_ip),)),), **more)

    there = [with_port(address, name="x", on="a1")]
    assert isinstance(pick_node(with_port(""), ZONED[:1], there), Unschedulable)
    taken = pick_node(with_port("192.0.2.2"), ZONED[:1], there)
    assert isinstance(taken, Unschedulable) is (address == "0.0.0.0")
