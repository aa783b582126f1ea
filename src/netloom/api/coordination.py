"""coordination.k8s.io/v1: Lease; the fields that the network reads."""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """coordination/v1 LeaseSpec."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    lease_transitions: int = 0


class Lease(KubeObject, frozen=True):
    """coordination/v1 Lease."""

    spec: LeaseSpec = LeaseSpec()
