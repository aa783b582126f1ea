"""What images say of themselves and cannot be: signals and users that are none end no runner."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.local.runner.crun import container, users
from netloom.local.runner.running import ContainerSpec, Refused


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGINT", signal.SIGINT),
        ("quit", signal.SIGQUIT),
        ("9", signal.SIGKILL),
        ("64", 64),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("0", signal.SIGTERM),
        ("65", signal.SIGTERM),
        ("999", signal.SIGTERM),
        ("RTMIN+99", signal.SIGTERM),
        ("SIGRTMIN+31", signal.SIGTERM),
        ("\u00b2", signal.SIGTERM),
        ("RTMIN+\u00b2", signal.SIGTERM),
        ("SIG_DFL", signal.SIGTERM),
    ],
)
def test_a_stop_signal_is_one_that_there_is(name: str, number: int):
    assert container._signal_number(name) == number


@pytest.fixture
def container_spec() -> ContainerSpec:
    return ContainerSpec(
        id="a" * 64, pod_uid="u-1", namespace="shop", pod_name="web-1", name="app", image="example.com/app:1"
    )


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("odd:x:\u00b2:\u00b2::/:\nweb:x:7:8::/srv:\n")
    (tmp_path / "etc" / "group").write_text("odd:x:\u00b2:\nstaff:x:50:web\n")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_lines_that_are_no_users_are_passed_over(root: int, container_spec: ContainerSpec):
    assert users.user_of(container_spec, "web", root) == users.User(7, 8, (50,), "/srv")


@pytest.mark.parametrize("user", ["\u00b2", "web:\u00b2", "odd"])
def test_a_user_that_is_no_number_is_refused(root: int, container_spec: ContainerSpec, user: str):
    with pytest.raises(Refused, match="unable to find"):
        users.user_of(container_spec, user, root)
