"""Who has to make room: as few, as unimportant and as little protected as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.local.scheduler.build import apart, asking, board_of, node, pod, term

from netloom.api.meta import LabelSelector
from netloom.api.selectors import from_selector
from netloom.local.controllers.objects import PodStatus
from netloom.local.scheduler.decide import Unschedulable, decide
from netloom.local.scheduler.preemption import Budget, make_room
from netloom.local.scheduler.wants import wants_of

ROOM = {"cpu": "2", "memory": "2Gi", "pods": 10}


def placed(name, on, priority, cpu="1", **more):
    return pod(name, on=on, priority=priority, **asking(cpu=cpu), **more)


def outcome(wanted, nodes, pods, budgets=()):
    """The node that is cleared, and for whom others must go; None where nobody can make room."""
    board = board_of(nodes, pods)
    wants = wants_of(wanted)
    why = decide(wants, board)
    assert isinstance(why, Unschedulable)
    room = make_room(wants, board, why.objections, budgets)
    assert {p.name: p.pods.keys() for p in board.places} == {
        p.name: p.pods.keys() for p in board_of(nodes, pods).places
    }
    return room and (room.node, sorted(w.pod.metadata.name for w in room.victims), room.broken)


NODES = [node("n1", room=ROOM), node("n2", room=ROOM)]
VIP = pod("vip", priority=100, **asking(cpu="1"))


def test_the_least_important_goes_and_no_more_than_needed():
    pods = [placed("a", "n1", 10), placed("b", "n1", 5), placed("c", "n2", 20), placed("d", "n2", 20)]
    assert outcome(VIP, NODES, pods) == ("n1", ["b"], 0)


def test_equals_and_betters_stay():
    pods = [placed(f"p{i}", n, 100) for i, n in enumerate(("n1", "n1", "n2", "n2"))]
    assert outcome(VIP, NODES, pods) is None


def test_a_pod_that_never_preempts_waits():
    pods = [placed(f"p{i}", n, 0) for i, n in enumerate(("n1", "n1", "n2", "n2"))]
    assert outcome(VIP, NODES, pods) is not None
    meek = pod("vip", priority=100, preemption_policy="Never", **asking(cpu="1"))
    assert outcome(meek, NODES, pods) is None


def test_fewer_victims_then_those_that_began_last():
    pods = [placed(f"p{i}", "n1", 0, cpu="500m") for i in range(4)]
    pods += [placed("big", "n2", 0, cpu="2")]
    assert outcome(VIP, NODES, pods) == ("n2", ["big"], 0)
    old, young = ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z")
    pods = []
    for name, where, since in (("x", "n1", young), ("y", "n2", old)):
        one = placed(name, where, 0, cpu="2")
        status = PodStatus(phase="Running", start_time=since)
        pods.append(type(one)(metadata=one.metadata, spec=one.spec, status=status))
    assert outcome(VIP, NODES, pods) == ("n1", ["x"], 0)


def test_budgets_are_kept_where_they_can_be():
    budget = Budget("shop", from_selector(LabelSelector(match_labels={"app": "db"})), 0)
    pods = [
        placed("a", "n1", 0, cpu="2", labels={"app": "db"}),
        placed("b", "n2", 50, cpu="2"),
    ]
    assert outcome(VIP, NODES, pods, [budget]) == ("n2", ["b"], 0)
    assert outcome(VIP, NODES[:1], pods[:1], [budget]) == ("n1", ["a"], 1)
    counted = Budget("shop", budget.selector, 0, frozenset({"a"}))
    assert outcome(VIP, NODES[:1], pods[:1], [counted]) == ("n1", ["a"], 0)


def test_where_room_does_not_help_nobody_goes():
    elsewhere = pod("vip", priority=100, node_selector={"disk": "ssd"})
    assert outcome(elsewhere, NODES, [placed("a", "n1", 0)]) is None
    text = str(decide(wants_of(elsewhere), board_of(NODES)))
    assert text == "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    why = decide(wants_of(elsewhere), board_of(NODES))
    assert why.after_preemption().endswith(
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )


def test_pods_that_keep_others_away_make_room_too():
    there = [placed("a", "n1", 0, cpu="1", labels={"app": "x"}, affinity=apart(term("vip")))]
    wanted = pod("vip", priority=1, labels={"app": "vip"})
    assert outcome(wanted, NODES[:1], there) == ("n1", ["a"], 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["n1", "n2"]), st.integers(0, 3), st.sampled_from(["500m", "1"])),
        max_size=6,
    ),
    st.integers(0, 4),
)
def test_after_its_victims_have_gone_the_pod_fits(shape, priority):
    pods = []
    board = board_of(NODES)
    for i, (where, other, cpu) in enumerate(shape):
        one = wants_of(placed(f"p{i}", where, other, cpu=cpu))
        place = board.place(where)
        if place.used.get("cpu", 0) + one.requests["cpu"] <= 2000:
            board.add(one, where)
            pods.append(one)
    wants = wants_of(pod("vip", priority=priority, **asking(cpu="1500m")))
    why = decide(wants, board)
    if not isinstance(why, Unschedulable):
        return
    room = make_room(wants, board, why.objections, ())
    if room is None:
        assert all(
            sum(w.requests["cpu"] for w in p.pods.values() if w.priority >= priority) > 500
            for p in board.places
        )
        return
    assert all(w.priority < priority for w in room.victims)
    for victim in room.victims:
        board.remove(victim.pod.uid)
    assert decide(wants, board, nominated=room.node) == room.node
    # nobody goes in vain
    for victim in room.victims:
        board.add(victim, room.node)
        assert decide(wants, board, nominated=room.node) != room.node
        board.remove(victim.pod.uid)
