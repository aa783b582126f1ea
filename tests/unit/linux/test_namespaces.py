"""What a user namespace's map says."""

from __future__ import annotations

import pytest

from netloom.linux.namespaces import users


@pytest.mark.parametrize(
    ("uid_map", "count"),
    [
        ("         0       1001          1\n", 1),
        ("         0          0 4294967295\n", 4294967295),
        ("         0       1001          1\n         1     100000      65536\n", 65537),
    ],
)
def test_users_of_a_map(uid_map, count):
    assert users(uid_map) == count
