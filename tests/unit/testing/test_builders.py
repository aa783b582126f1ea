"""Manifests as views, and what is said of those that are none."""

from __future__ import annotations

import pytest

from netloom.errors import InvalidObject
from netloom.testing import builders as b
from netloom.units import ObjectKey

MANIFESTS = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {clusterIP: 10.96.0.1}}
- {apiVersion: v1, kind: Node, metadata: {name: node-1, creationTimestamp: 2024-01-01T00:00:00Z}}
---
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
---
kind: Pod
metadata: {name: web-1, namespace: shop}
"""


def test_manifests():
    view = b.load_view(MANIFESTS)
    assert list(view.services) == [ObjectKey("default", "web")]
    assert view.nodes[ObjectKey("", "node-1")].metadata.creation_timestamp == "2024-01-01T00:00:00Z"
    assert list(view.pods) == [ObjectKey("shop", "web-1")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: b: c", "manifest: is no YAML"),
        ("kind: Pod\nmetadata: {name: p}\nspec: {hostNetwork: 3}", "Pod p: Expected `bool`, got `int`"),
        ("kind: Pod\nmetadata: {name: 3}", "Pod 3: "),
        ("[1, 2]", "manifest: is no object"),
        ("kind: List\nitems: [1]", "manifest: is no object"),
    ],
)
def test_what_is_no_manifest(text, says):
    with pytest.raises(InvalidObject) as caught:
        b.load_view(text)
    assert says in str(caught.value)


def test_changes_and_views_from_objects():
    changes = b.changes(b.service("a/x"), gone=[b.node("node-1"), b.network_policy("a/p", {})])
    assert list(changes.services) == [ObjectKey("a", "x")]
    assert dict(changes.nodes) == {ObjectKey("", "node-1"): None}
    assert dict(changes.policies) == {ObjectKey("a", "p"): None}
    assert len(b.view(b.endpoint_slice("a/s", "x"), b.pod("a/p")).slices) == 1
