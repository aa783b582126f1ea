"""What tests in the VM share. The conftest.py above is not read there: what it imports takes half a minute in emulation."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cni_shim() -> Path:
    """The compiled CNI shim: ``tools/setup.sh`` has made it, and the VM can write nothing."""
    return ROOT / "build/netloom-cni"
