"""Who is alive, and who answers for what, told by heartbeats: the state machines, in a time of our own."""

from ipaddress import ip_address

import pytest

from netloom.announce.members.beats import (
    Heartbeat,
    pages_of,
    read_heard,
    seal,
    short_id,
    unseal,
    write_heard,
)
from netloom.announce.members.holdings import PATIENCE_S, Holdings
from netloom.announce.members.state import Members, steps
from netloom.model.announcing.elect import elected, ranked
from netloom.testing.members_rig import ADDRESSES, Rig

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
NAMES = ("a", "b", "c")
ADDRESS = ip_address("192.0.2.1")


def beat(sender="b", *, incarnation=1, sequence=1, **fields):
    return Heartbeat(sender=sender, incarnation=incarnation, sequence=sequence, **fields)


def settled(names=NAMES, **how):
    rig = Rig(names, **how)
    rig.run(2.0)
    return rig


def test_a_heartbeat_comes_as_it_was_sent():
    sent = beat(is_ready=True, claims=(ADDRESS.packed,), heard=write_heard([(short_id("c"), 0.1)]))
    assert unseal(seal(sent, KEY), KEY) == sent


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d[:-1],
        lambda d: d + b"\0",
        lambda d: bytes([d[0] ^ 1]) + d[1:],
        lambda d: d[:20] + bytes([d[20] ^ 1]) + d[21:],
        lambda _: b"",
        lambda d: d[:16],
    ],
)
def test_what_is_not_whole_is_refused(spoil):
    assert unseal(spoil(seal(beat(), KEY)), KEY) is None


def test_who_has_another_key_is_nobody():
    assert unseal(seal(beat(), OTHER_KEY), KEY) is None


def test_claims_that_are_no_addresses_are_refused():
    assert unseal(seal(beat(claims=(b"abc",)), KEY), KEY) is None


def test_ages_are_never_rounded_to_younger_ones():
    for age in (0.0, 0.001, 0.0099, 0.01, 0.3333, 2.5):
        ((id_, told),) = read_heard(write_heard([(short_id("x"), age)]))
        assert id_ == short_id("x")
        assert age <= told <= age + 0.0201


def test_the_longest_heartbeat_needs_no_fragments():
    many = [ip_address(f"2001:db8::{n:x}") for n in range(100)]
    pages = pages_of(many)
    longest = beat(
        "n" * 253,
        incarnation=2**62,
        sequence=2**62,
        heard=write_heard([(short_id(str(n)), 0.1) for n in range(500)]),
        claims_version=2**62,
        page=2,
        pages=len(pages),
        claims=pages[0],
    )
    assert unseal(seal(longest, KEY), KEY) == longest
    assert [one.packed for one in many] == [one for page in pages for one in page]


def test_claims_on_several_pages_count_once_all_are_there():
    members = Members("a")
    members.know(NAMES, 0.0)
    pages = pages_of(ip_address(f"192.0.2.{n}") for n in range(100))
    for number, page in enumerate(pages):
        members.heard(beat(sequence=number + 1, claims_version=1, page=number, pages=3, claims=page), 1.0)
    assert len(members.peers["b"].claims) == 100
    members.heard(beat(sequence=9, claims_version=2, pages=1, claims=pages[0][:1]), 1.1)
    assert len(members.peers["b"].claims) == 1


def test_a_recorded_heartbeat_wakes_nobody():
    members = Members("a")
    members.know(NAMES, 0.0)
    assert members.heard(beat(sequence=5), 1.0)
    assert not members.heard(beat(sequence=5), 9.0)
    assert not members.heard(beat(sequence=4), 9.0)
    assert "b" in members.silent(9.0)
    assert members.heard(beat(incarnation=2, sequence=1), 9.0)
    assert "b" not in members.silent(9.0)


def test_a_clock_that_was_set_back_is_no_death_for_ever():
    members = Members("a")
    members.know(NAMES, 0.0)
    assert members.heard(beat(incarnation=9), 1.0)
    assert not members.heard(beat(incarnation=3), 60.0)
    assert members.heard(beat(incarnation=3), 61.1)
    assert not members.heard(beat(incarnation=3), 61.2)
    assert members.heard(beat(incarnation=3, sequence=2), 61.3)


def test_a_stranger_is_nobody():
    members = Members("a")
    members.know(NAMES, 0.0)
    assert not members.heard(beat("z"), 1.0)


def test_all_hear_all_and_each_address_has_one_owner():
    rig = settled()
    assert {name: node.gone for name, node in rig.nodes.items()} == dict.fromkeys(NAMES, frozenset())
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), NAMES),) for a in ADDRESSES]
    assert rig.overlaps == []


def test_a_death_is_known_to_all_within_seven_tenths_of_a_second_and_others_answer():
    rig = settled()
    rig.kill("b")
    rig.run(0.35)
    assert all("b" not in node.gone for node in rig.nodes.values())
    rig.run(0.40)
    assert all(node.gone == {"b"} for node in rig.nodes.values())
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), ("a", "c")),) for a in ADDRESSES]


def test_a_planned_stop_is_known_at_once():
    rig = settled()
    rig.nodes["b"].leave()
    rig.kill("b")
    rig.run(0.01)
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), ("a", "c")),) for a in ADDRESSES]


def test_who_comes_back_gets_its_addresses_in_order():
    rig = settled()
    rig.kill("b")
    rig.run(1.5)
    rig.start("b")
    rig.run(0.5)
    assert all(rig.owners(a) != () for a in ADDRESSES)  # it is not ready yet, so nobody gives up anything
    rig.run(1.5)
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), NAMES),) for a in ADDRESSES]
    assert rig.overlaps == []


@pytest.mark.parametrize("ways", [{("a", "b")}, {("a", "b"), ("b", "a")}])
def test_a_broken_way_between_two_makes_nobody_dead(ways):
    rig = settled()
    rig.cut |= ways
    for _ in range(60):
        rig.run(0.05)
        assert all(node.gone == frozenset() for node in rig.nodes.values())


def test_who_is_cut_off_from_all_takes_nothing():
    rig = settled()
    before = {a for a in ADDRESSES if rig.owners(a) == ("a",)}
    rig.cut |= {(x, y) for x in NAMES for y in NAMES if "a" in (x, y)}
    rig.run(2.0)
    assert set(rig.nodes["a"].holdings.held) == before
    assert all(set(rig.owners(a)) - {"a"} for a in ADDRESSES)  # the others have all of them
    rig.cut.clear()
    rig.run(1.0)
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), NAMES),) for a in ADDRESSES]


def test_who_is_heard_by_nobody_answers_for_nothing():
    rig = settled()
    rig.cut |= {("a", "b"), ("a", "c")}
    rig.run(1.0)
    assert not rig.nodes["a"].holdings.held
    assert all(len(rig.owners(a)) == 1 for a in ADDRESSES)


def test_who_slept_lets_go_before_it_answers_again():
    rig = settled()
    rig.sleep("a", 3.0)
    rig.run(2.0)
    assert rig.nodes["b"].gone == {"a"}
    rig.run(3.0)
    assert [rig.owners(a) for a in ADDRESSES] == [(elected(str(a), NAMES),) for a in ADDRESSES]
    assert rig.overlaps == []


def test_an_observer_that_slept_holds_nobody_dead_for_that():
    rig = settled()
    rig.sleep("a", 2.0)
    rig.run(2.001)
    assert rig.nodes["a"].members.silent(rig.now) == frozenset()


@pytest.mark.parametrize("count", [2, 3, 7, 25, 50, 64, 150])
def test_everybody_is_two_steps_away_at_most(count):
    ahead = steps(count)
    reached = ahead | {(one + other) % count for one in ahead for other in ahead}
    assert reached >= set(range(1, count))
    assert len(ahead) <= 2 * count**0.5 + 1


def test_thirty_nodes_hear_of_a_death_and_of_nothing_else():
    names = tuple(f"node-{n:02}" for n in range(30))
    rig = Rig(names)
    rig.run(1.3)
    assert all(node.gone == frozenset() for node in rig.nodes.values())
    rig.kill("node-07")
    rig.run(0.9)
    assert all(node.gone == {"node-07"} for node in rig.nodes.values())
    assert all(len(node.members.to_beat(rig.now)) <= 14 for node in rig.nodes.values())


# --- holdings alone


def held(holdings, wanted, claimed, now, *, may_take=True, is_fenced=False):
    return holdings.turn(wanted, claimed, now, may_take=may_take, is_fenced=is_fenced)


def test_an_address_is_taken_once_nobody_claims_it():
    holdings = Holdings("a")
    assert not held(holdings, [ADDRESS], {ADDRESS: ("b",)}, 0.0)
    assert held(holdings, [ADDRESS], {}, 0.1).taken == (ADDRESS,)
    assert held(holdings, [], {}, 0.2).given_up == (ADDRESS,)


def test_who_does_not_give_up_is_waited_for_with_patience():
    first, second = ranked(str(ADDRESS), ("a", "b"))
    stubborn = Holdings(first)
    assert not held(stubborn, [ADDRESS], {ADDRESS: (second,)}, 0.0)
    assert not held(stubborn, [ADDRESS], {ADDRESS: (second,)}, PATIENCE_S)
    assert stubborn.overdue(PATIENCE_S + 0.1) == (ADDRESS,)
    assert held(stubborn, [ADDRESS], {ADDRESS: (second,)}, PATIENCE_S + 0.1).taken == (ADDRESS,)
    patient = Holdings(second)
    for now in (0.0, 5.0, 60.0):
        assert not held(patient, [ADDRESS], {ADDRESS: (first,)}, now)


def test_of_two_that_answer_one_stops():
    first, second = ranked(str(ADDRESS), ("a", "b"))
    for name, other, stays in ((first, second, True), (second, first, False)):
        holdings = Holdings(name)
        held(holdings, [ADDRESS], {}, 0.0)
        held(holdings, [ADDRESS], {ADDRESS: (other,)}, 1.0)
        assert (ADDRESS in holdings.held) is stays


def test_a_fenced_node_answers_for_nothing_and_who_may_not_take_keeps_what_it_has():
    holdings = Holdings("a")
    held(holdings, ADDRESSES[:1], {}, 0.0)
    assert not held(holdings, ADDRESSES[:2], {}, 1.0, may_take=False)
    assert tuple(holdings.held) == ADDRESSES[:1]
    assert held(holdings, ADDRESSES[:2], {}, 2.0, is_fenced=True).given_up == ADDRESSES[:1]
