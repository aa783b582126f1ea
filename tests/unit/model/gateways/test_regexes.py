from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.model.gateways.regexes import LONGEST, trouble


@pytest.mark.parametrize(
    "pattern",
    [
        "", "/v[0-9]+/.*", "(?:a|b)+", "(?i)shop", "(/[a-z]+)*", "a{2,4}", "a{3}", r"\d+\.\d+", "[]a-z]+", "[^/]+", "x{", "(?P<id>a)",
        "(a+b)+", r"(\w+/)*", "a+?", "(a|b+c)*", r"\(+", "[(+]+",
    ],
)  # fmt: skip
def test_a_pattern_that_can_be_used(pattern):
    assert trouble(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("(", "no regular expression"),
        ("[a", "no regular expression"),
        ("*a", "no regular expression"),
        (r"(a)\1", "refers back"),
        ("(?=a)", "looks around"),
        ("(?!a)b", "looks around"),
        ("(?<=a)b", "looks around"),
        ("(?<!a)b", "looks around"),
        ("(?>a)", "not supported"),
        ("a++", "possessive"),
        ("(a+)+", "repeats a repetition"),
        ("(a*)*b", "repeats a repetition"),
        ("((a+))*", "repeats a repetition"),
        ("(?:a|b+)+", "repeats a repetition"),
        ("(a{2,})*", "repeats a repetition"),
        ("(.*){3,}", "repeats a repetition"),
        ("a{2000}", "more than 1000 times"),
        ("a{1,99999}", "more than 1000 times"),
        ("a" * (LONGEST + 1), "longer than"),
        ("[[:alpha:]]", "within a class"),
        ("[a&&b]", "within a class"),
    ],
)
def test_a_pattern_that_cannot_is_refused_with_a_reason(pattern, word):
    assert word in trouble(pattern)


@given(st.text(alphabet="ab()[]{}|*+?\\^$.1,:<=!P-", max_size=24))
def test_what_is_let_through_compiles(pattern):
    if not trouble(pattern):
        re.compile(pattern)
