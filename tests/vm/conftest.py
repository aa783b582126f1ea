"""What tests in the VM share. The conftest.py above is not read there: what it imports takes half a minute in emulation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cni_shim() -> Path:
    """The compiled CNI shim: ``tools/setup.sh`` has made it, and the VM can write nothing."""
    return ROOT / "build/netloom-cni"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Outside of the VM nothing of this is run: this machine's kernel may have other drivers, or none."""
    if not os.environ.get("NETLOOM_VM"):
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs another kernel; run: make test-vm"))
