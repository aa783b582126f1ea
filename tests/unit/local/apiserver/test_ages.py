from __future__ import annotations

import pytest

from netloom.local.apiserver.ages import is_same_moment


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2026-11-22T02:26:29Z", "2026-11-22T02:26:29+00:00", True),
        ("2026-11-22T02:26:29Z", "2026-11-22T03:26:29.000001+01:00", True),
        ("2026-11-22T02:26:29Z", "2026-11-22T02:26:30Z", False),
        ("2026-11-22T02:26:29Z", "2026-11-22T02:26:29", False),
        ("2026-11-22T02:26:29Z", None, False),
        ("2026-11-22T02:26:29Z", "yesterday", False),
        (None, None, True),
    ],
)
def test_clients_write_the_same_moment_in_their_own_ways(one: str | None, other: str | None, same: bool):
    assert is_same_moment(one, other) is same
