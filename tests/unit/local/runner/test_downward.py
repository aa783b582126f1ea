from __future__ import annotations

import pytest

from netloom.local.runner import downward
from netloom.local.runner.references import FieldRef, ResourceFieldRef

SPEC = """
serviceAccountName: shop
containers:
- {name: app, resources: {limits: {cpu: 1500m, memory: 64Mi}, requests: {cpu: 250m}}}
- {name: side}
"""
HAS = {"cpu": "4", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resource", "container", "divisor", "said"),
    [
        ("limits.cpu", "", "0", "2"),
        ("limits.cpu", "", "1m", "1500"),
        ("requests.cpu", "", "1", "1"),
        ("limits.memory", "", "1Mi", "64"),
        ("limits.memory", "", "0", str(64 << 20)),
        ("requests.memory", "", "0", str(64 << 20)),
        ("limits.cpu", "side", "0", "4"),
        ("limits.memory", "side", "1Gi", "1"),
        ("requests.cpu", "side", "0", "0"),
        ("limits.cpu", "ghost", "0", None),
        ("cpu", "", "0", None),
    ],
)
def test_resources(pod, resource, container, divisor, said):
    made = pod(SPEC)
    asked = ResourceFieldRef(resource, container, divisor)
    assert downward.resource_text(made, made.spec.containers[0], asked, HAS) == said


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("metadata.name", "web-1"),
        ("metadata.labels", 'app="web"'),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['none']", ""),
        ("spec.serviceAccountName", "shop"),
        ("status.podIPs", "192.0.2.5,2001:db8::5"),
        ("status.hostIP", "192.0.2.1"),
        ("spec.containers", None),
    ],
)
def test_fields(pod, path, said):
    ips = {"pod_ips": ("192.0.2.5", "2001:db8::5"), "host_ips": ("192.0.2.1",)}
    assert downward.field_text(pod(SPEC), FieldRef(path), **ips) == said
