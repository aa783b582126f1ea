from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.model.gateways.hostnames import (
    covers,
    intersection,
    is_hostname,
    is_precise,
    of_authority,
    patterns_of,
    rank,
    specificity,
)

NAMES = (
    "",
    "*.org",
    "*.example.org",
    "example.org",
    "a.example.org",
    "*.a.example.org",
    "b.a.example.org",
    "x.net",
)
names = st.sampled_from(NAMES)


@pytest.mark.parametrize("text", ["example.org", "*.example.org", "a-b.c", "x1", "localhost"])
def test_a_hostname(text):
    assert is_hostname(text)
    assert is_precise(text) is not text.startswith("*")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "a.*.b",
        "A.example.org",
        "192.0.2.1",
        "a..b",
        "-a",
        "a_b",
        "x" * 254,
        "a.example.org.",
        "a:80",
    ],
)
def test_no_hostname(text):
    assert not is_hostname(text)


@pytest.mark.parametrize(
    ("pattern", "name", "is_so"),
    [
        # A match for *.example.com would match both test.example.com and foo.test.example.com, but not example.com.
        ("*.example.com", "test.example.com", True),
        ("*.example.com", "foo.test.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.foo.example.com", True),
        ("*.foo.example.com", "*.example.com", False),
        ("*.example.com", "badexample.com", False),
        ("", "anything", True),
        ("", "", True),
        ("example.com", "", False),
        ("*.example.com", "", False),
    ],
)
def test_a_wildcard_is_one_or_more_labels(pattern, name, is_so):
    assert covers(pattern, name) is is_so


@given(names, names)
def test_an_intersection_is_what_both_cover(one, other):
    both = intersection(one, other)
    assert both == intersection(other, one)
    if both is not None:
        assert covers(one, both)
        assert covers(other, both)


@given(names, names)
def test_patterns_of_a_name_are_all_that_cover_it(one, other):
    assert (one in set(patterns_of(other))) is covers(one, other)


def test_names_stand_before_wildcards_and_those_with_more_labels_before_others():
    assert sorted(["", "*.org", "*.example.org", "example.org"], key=specificity) == [
        "example.org",
        "*.example.org",
        "*.org",
        "",
    ]


def test_characters_of_names_without_wildcards_count_first():
    assert sorted(["*.long.example.org", "a.org", "", "b.example.org"], key=rank) == [
        "b.example.org",
        "a.org",
        "*.long.example.org",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Shop.Example.org:8080", "shop.example.org"),
        ("shop.", "shop"),
        ("[2001:db8::1]:80", "[2001:db8::1]"),
        ("", ""),
    ],
)
def test_the_host_of_an_authority(text, host):
    assert of_authority(text) == host
