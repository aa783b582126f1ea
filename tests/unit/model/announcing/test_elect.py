"""Who has a duty: the same for all who know of the same nodes, and as few moves as can be."""

from hypothesis import given
from hypothesis import strategies as st

from netloom.model.announcing.elect import Elections, elected, ranked

NAMES = tuple(f"node-{n}" for n in range(8))
DUTIES = ("192.0.2.1", "192.0.2.2", "2001:db8::1")
CANDIDATES = st.lists(st.sampled_from(NAMES), unique=True).map(tuple)


def test_nobody_can_be_elected_of_none():
    assert elected(DUTIES[0], ()) is None
    assert ranked(DUTIES[0], ()) == ()


@given(CANDIDATES)
def test_the_order_of_candidates_makes_no_difference(candidates):
    assert elected(DUTIES[0], candidates) == elected(DUTIES[0], sorted(candidates))
    assert ranked(DUTIES[0], candidates)[:1] == (() if not candidates else (elected(DUTIES[0], candidates),))


@given(CANDIDATES, st.sampled_from(NAMES))
def test_who_goes_moves_only_what_was_its_own(candidates, gone):
    before = elected(DUTIES[0], candidates)
    after = elected(DUTIES[0], [name for name in candidates if name != gone])
    assert after == before or before == gone


def test_duties_are_spread():
    owners = [elected(f"192.0.2.{n}", NAMES) for n in range(200)]
    assert all(10 <= owners.count(name) <= 45 for name in NAMES)


@given(st.lists(st.tuples(st.sampled_from(DUTIES), CANDIDATES), max_size=12))
def test_elections_that_follow_changes_say_the_same(history):
    elections = Elections()
    for number, (duty, candidates) in enumerate(history):
        assert elections.owner(duty, candidates) == elected(duty, candidates)
        if number % 5 == 4:
            elections.keep([duty])
