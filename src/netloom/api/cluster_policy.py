"""policy.networking.k8s.io/v1alpha2: ClusterNetworkPolicy.

As with NetworkPolicy the spec is kept as it was written and read by ``model/policy/reading``.
"""

from __future__ import annotations

from netloom.api.meta import KubeObject


class ClusterNetworkPolicy(KubeObject, frozen=True):
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy, of the whole cluster; ``spec`` is a JSON value."""

    spec: object = None
