from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from netloom.api.core import Service
from netloom.local.runner.spec import Pod

MakePod = Callable[..., Pod]
MakeService = Callable[[str], Service]
_BASE = """
metadata: {name: web-1, namespace: shop, uid: u-1, labels: {app: web}}
spec:
  nodeName: node-1
"""


@pytest.fixture
def pod() -> MakePod:
    """A pod from YAML: its spec, and its status."""

    def make(spec: str = "{}", status: str = "{}") -> Pod:
        body = msgspec.yaml.decode(_BASE)
        body["spec"] |= msgspec.yaml.decode(spec)
        body["status"] = msgspec.yaml.decode(status)
        return msgspec.convert(body, Pod)

    return make


@pytest.fixture
def service() -> MakeService:
    """A Service from YAML."""
    return lambda text: msgspec.yaml.decode(text, type=Service)
