from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.dataplane.nftables.slots import (
    DRAWS,
    EXACT_SIZES,
    MOST_TARGETS,
    SIZES,
    assign,
    class_size,
    surely_filled,
)


def targets(*numbers):
    return tuple((bytes([10, 244, 1, number]), 8080) for number in numbers)


sets = st.frozensets(st.integers(1, 40), max_size=20)


def test_from_nothing_slots_are_in_sorted_order():
    assert assign((), targets(3, 1, 2)) == targets(1, 2, 3)


def test_a_newcomer_takes_the_next_slot_and_nobody_moves():
    assert assign(targets(2, 3), targets(1, 2, 3)) == targets(2, 3, 1)


def test_a_successor_takes_the_slot_of_who_went():
    assert assign(targets(1, 2, 3), targets(1, 3, 9)) == targets(1, 9, 3)


def test_a_hole_is_filled_with_the_last():
    assert assign(targets(1, 2, 3, 4), targets(1, 3, 4)) == targets(1, 4, 3)


def test_a_target_that_stood_twice_stands_once():
    assert assign(targets(1, 1, 2), targets(1, 2)) == targets(1, 2)


@given(sets, sets)
def test_slots_hold_exactly_who_is_wanted_and_few_move(before, after):
    previous = assign((), targets(*before))
    slots = assign(previous, targets(*after))
    assert sorted(slots) == sorted(targets(*after))
    moved = sum(1 for index, one in enumerate(slots) if one not in previous[index : index + 1])
    # No slot changes but those of newcomers, those of who went, and those filled from beyond the end.
    assert moved <= max(len(after - before), len(before - after))


@given(st.lists(sets, max_size=6))
def test_who_stays_never_changes_slot_unless_it_is_beyond_the_end(history):
    slots = ()
    for wanted in history:
        after = assign(slots, targets(*wanted))
        for index, one in enumerate(slots[: len(after)]):
            if one in after:
                assert after[index] == one
        slots = after


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 16, 17, 1000, MOST_TARGETS])
def test_a_class_has_room_and_its_last_draw_never_misses(count):
    size = class_size(count)
    assert size in SIZES
    assert size >= count
    assert surely_filled(size) <= count


def test_small_classes_are_exact():
    assert [class_size(n) for n in range(1, EXACT_SIZES + 1)] == list(range(1, EXACT_SIZES + 1))


@pytest.mark.parametrize("size", [size for size in SIZES if size > EXACT_SIZES])
def test_shares_within_a_class_are_nearly_equal(size):
    """What README and slots.py promise: 1.6 % from the fair share at most."""
    for count in range(surely_filled(size), size + 1):
        miss = (1 - count / size) ** DRAWS
        drawn = (1 - miss) / count
        first = drawn + miss / surely_filled(size)
        others = drawn if count > surely_filled(size) else first
        assert abs(first * count - 1) < 0.016
        assert abs(others * count - 1) < 0.016
