"""What all tests share: where kernel tests may run, and the proof that they leave this machine's own namespace alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from netloom.linux import libc
from netloom.testing.netns import fingerprint, has_rights

# Otherwise a first get_event_loop() of some plugin makes a loop that nobody closes, and a later test pays for it with a
# ResourceWarning (Python 3.11).
asyncio.set_event_loop(None)

ROOT = Path(__file__).resolve().parent.parent

# Two busy cores make deadlines lie; the number of examples is what bounds the time.
# The same examples each time: a change does not fail on luck. ``--hypothesis-profile=ci`` looks for others, by hand.
settings.register_profile(
    "dev", max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", parent=settings.get_profile("dev"), max_examples=500, derandomize=False)
settings.load_profile("dev")


def pytest_configure(config: pytest.Config) -> None:
    """Each worker of the kernel tests has a network and mounts of its own, so that none sees what another one does there."""
    if "PYTEST_XDIST_WORKER" in os.environ and config.option.markexpr == "netns":
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Golden files are rewritten on request only; then read the diff."""
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare text with a file, or rewrite the file."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--update-golden"):
            path.write_text(text)
        expected = path.read_text() if path.exists() else ""
        assert text == expected, f"{path} differs; see --update-golden"

    return compare


def _skip_without_rights(items: list[pytest.Item]) -> None:
    """Kernel tests need the right to make namespaces: as root, or under ``unshare -rmn`` as ``make test-netns`` does."""
    if any(item.get_closest_marker("netns") for item in items) and not has_rights():
        skip = pytest.mark.skip(reason="no right to make network namespaces; run: make test-netns")
        for item in items:
            if item.get_closest_marker("netns"):
                item.add_marker(skip)


LONGEST = ("test_rollouts", "test_failures")
"""Modules whose tests take minutes: those that begin last keep one worker busy while all others have nothing to do."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """After all others, who shuffle: the longest modules come first."""
    _skip_without_rights(items)
    yield
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def _own_namespace_untouched() -> Iterator[None]:
    """No test may leave a link or a route of ours in the namespace that the tests were started in."""
    before = fingerprint()
    yield
    assert fingerprint() == before, "a test changed the network namespace that the tests were started in"


@pytest.fixture(scope="session")
def cni_shim() -> Path:
    """The compiled CNI shim."""
    subprocess.run([sys.executable, str(ROOT / "tools/build_shim.py")], check=True)
    return ROOT / "build/netloom-cni"
