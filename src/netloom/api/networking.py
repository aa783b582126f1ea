"""networking.k8s.io/v1: NetworkPolicy, as far as it is read today (stored and shown, not enforced)."""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject, LabelSelector


class NetworkPolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    """networking.k8s.io/v1 NetworkPolicySpec: which pods it selects and for which directions."""

    pod_selector: LabelSelector = LabelSelector()
    policy_types: tuple[str, ...] = ()


class NetworkPolicy(KubeObject, frozen=True):
    """networking.k8s.io/v1 NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()
