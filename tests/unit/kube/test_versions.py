import pytest

from netloom.kube.versions import is_number, reached


@pytest.mark.parametrize(
    ("at", "wanted", "answer"),
    [
        ("10", "9", True),
        ("9", "10", False),
        ("10", "10", True),
        ("", "1", False),
        ("10", "", False),
        ("a10", "a9", False),
        ("a9", "a9", True),
        ("010", "9", False),
        ("99999999999999999999", "99999999999999999998", True),
    ],
)
def test_a_state_includes_what_came_before_it(at, wanted, answer):
    assert reached(at, wanted) is answer


def test_only_plain_decimals_are_numbers():
    assert is_number("0")
    assert not any(map(is_number, ("", "00", "-1", "1.0", "٣", "0x1", " 1")))
