"""Whatever is cut, killed, stopped and slept: afterwards all agree, and no two that hear each other have answered for one address."""

from hypothesis import given, settings
from hypothesis import strategies as st

from netloom.model.announcing.elect import elected
from netloom.testing.members_rig import ADDRESSES, Rig

NAMES = ("a", "b", "c", "d")
NODES = st.sampled_from(NAMES)
EVENTS = st.one_of(
    st.tuples(st.just("kill"), NODES, NODES),
    st.tuples(st.just("leave"), NODES, NODES),
    st.tuples(st.just("start"), NODES, NODES),
    st.tuples(st.just("sleep"), NODES, NODES),
    st.tuples(st.just("cut"), NODES, NODES),
    st.tuples(st.just("mend"), NODES, NODES),
)
HISTORIES = st.lists(st.tuples(EVENTS, st.sampled_from((0.0, 0.03, 0.1, 0.3, 0.7, 1.5))), max_size=10)


def happen(rig, event):
    what, one, other = event
    if what == "kill":
        rig.kill(one)
    elif what == "leave" and one in rig.nodes:
        rig.nodes[one].leave()
        rig.kill(one)
    elif what == "start" and one not in rig.nodes:
        rig.start(one)
    elif what == "sleep":
        rig.sleep(one, 1.2)
    elif what == "cut" and one != other:
        rig.cut.add((one, other))
    elif what == "mend":
        rig.cut.discard((one, other))


@settings(deadline=None, max_examples=40)
@given(HISTORIES)
def test_in_the_end_all_agree(history):
    rig = Rig(NAMES)
    rig.run(2.0)
    for event, seconds in history:
        happen(rig, event)
        rig.run(seconds)
    rig.cut.clear()
    rig.run(5.0)
    dead = frozenset(NAMES) - rig.nodes.keys()
    assert {name: node.gone for name, node in rig.nodes.items()} == dict.fromkeys(rig.nodes, dead)
    if 2 * len(rig.nodes) > len(NAMES):
        assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), rig.nodes),) for a in ADDRESSES]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            EVENTS.filter(lambda e: e[0] in ("kill", "leave", "start", "sleep")),
            st.sampled_from((0.0, 0.1, 0.3, 0.7, 1.5)),
        ),
        max_size=10,
    )
)
def test_no_two_answer_for_one_address(history):
    rig = Rig(NAMES)
    rig.run(2.0)
    for event, seconds in history:
        happen(rig, event)
        rig.run(seconds)
    rig.run(5.0)
    assert rig.overlaps == []


@settings(deadline=None, max_examples=30)
@given(st.sets(st.tuples(NODES, NODES), max_size=3))
def test_who_is_heard_by_anybody_that_is_heard_is_not_held_dead(cut):
    rig = Rig(NAMES)
    rig.run(2.0)
    rig.cut |= {(one, other) for one, other in cut if one != other}
    rig.run(3.0)
    for name, node in rig.nodes.items():
        for other in set(NAMES) - {name}:
            between = {other, *NAMES} - {name}
            is_heard = any(
                (via, name) not in rig.cut and (via == other or (other, via) not in rig.cut)
                for via in between
            )
            assert (other in node.members.silent(rig.now)) is not is_heard
