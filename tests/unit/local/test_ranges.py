import pytest

from netloom.errors import UsageError
from netloom.local.ranges import DEFAULTS, POD, SERVICE, UNDERLAY, completed


def families(ranges):
    return [
        "".join("6" if ":" in text else "4" for text in ranges[flag]) for flag in (POD, SERVICE, UNDERLAY)
    ]


@pytest.mark.parametrize(
    ("given", "word", "means"),
    [
        ({}, "", "4"),
        ({}, "ipv4", "4"),
        ({}, "ipv6", "6"),
        ({}, "dual", "46"),
        ({POD: ("fd00:1::/48",)}, "", "6"),
        ({POD: ("fd00:1::/48", "10.1.0.0/16")}, "", "64"),
        ({SERVICE: ("10.1.0.0/16", "fd00:1::/112")}, "", "46"),
        ({SERVICE: ("10.1.0.0/16", "fd00:1::/112")}, "dual", "46"),
        ({POD: ("fd00:1::/48", "10.1.0.0/16")}, "dual", "64"),
    ],
)
def test_what_is_not_said_follows_what_is(given, word, means):
    ranges = completed(given, word)
    assert families(ranges) == [means] * 3
    assert {flag: ranges[flag] for flag in given} == given


def test_a_word_that_contradicts_a_range_is_refused():
    with pytest.raises(UsageError, match=r"--service-cidr 10\.1\.0\.0/16: does not go with --ip-family dual"):
        completed({SERVICE: ("10.1.0.0/16",)}, "dual")


def test_defaults_are_of_their_families():
    assert all(
        ":" in text for texts in DEFAULTS.values() for family, text in texts.items() if family.value == "ip6"
    )
