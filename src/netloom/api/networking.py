"""networking.k8s.io/v1: NetworkPolicy.

The spec is kept as it was written. A policy that cannot be read must not vanish (it would open what it closes), so decoding
never fails on it: ``model/policy/reading`` reads it strictly, field by field, and says what it could not read.
"""

from __future__ import annotations

from netloom.api.meta import KubeObject


class NetworkPolicy(KubeObject, frozen=True):
    """networking.k8s.io/v1 NetworkPolicy; ``spec`` is a JSON value."""

    spec: object = None
