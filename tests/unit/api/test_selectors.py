from __future__ import annotations

import pytest

from netloom.api.meta import LabelSelector, LabelSelectorRequirement
from netloom.api.selectors import Requirement, Selector, from_labels, from_selector, in_order, parse
from netloom.errors import UsageError

WEB = {"app": "web", "tier": "front"}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app=cart", False),
        ("app!=cart", True),
        ("app!=web", False),
        ("zone!=a", True),
        ("app in (web, cart)", True),
        ("app in (cart)", False),
        ("app notin (cart)", True),
        ("app notin (web,cart)", False),
        ("zone notin (a)", True),
        ("app", True),
        ("zone", False),
        ("!zone", True),
        ("! app", False),
        ("app=web, tier=front", True),
        ("app=web,tier=back", False),
        ("empty=", False),
    ],
)
def test_a_query_selects(text: str, holds: bool):
    assert parse(text).matches(WEB) is holds


@pytest.mark.parametrize("text", ["app in web", "=web", "app=web)", "(", "app=web tier=front", ",,"])
def test_what_is_no_query_is_refused(text: str):
    with pytest.raises(UsageError, match="labelSelector"):
        parse(text)


def test_a_selector_of_the_api_is_labels_and_expressions():
    selector = LabelSelector(
        match_labels={"app": "web"},
        match_expressions=(LabelSelectorRequirement("tier", "In", ("front", "back")),),
    )
    assert from_selector(selector).matches(WEB)
    assert not from_selector(selector).matches({"app": "web"})
    assert from_selector(LabelSelector()) == Selector()


def test_labels_are_sorted_so_that_equal_maps_give_equal_selectors():
    assert from_labels({"b": "1", "a": "2"}) == from_labels({"a": "2", "b": "1"})
    assert from_labels({"a": "2"}).requirements == (Requirement("a", "In", frozenset({"2"})),)


@pytest.mark.parametrize("text", ["", "a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a=b,!c,d"])
def test_selectors_are_written_as_they_are_read(text):
    assert str(parse(text)) == text


def test_selectors_in_order_are_equal_where_they_mean_the_same():
    assert in_order(parse("b=1,a=2,b=1").requirements) == in_order(parse("a in (2),b=1").requirements)
    assert in_order(parse("a!=2").requirements) != in_order(parse("a=2").requirements)
