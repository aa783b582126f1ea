"""Who loses where several objects claim the same, in words.

Comes in: who holds it, and who does not. Goes out: a Finding at the loser. Not here: who wins (``claims.py``).
"""

from __future__ import annotations

from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import Frontend, FrontendKind, HealthCheck
from netloom.model.state import LocalPod

GUESTS = (FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP)
"""Addresses that are not a Service's own."""


def health_dispute(holder: HealthCheck, loser: HealthCheck) -> Finding:
    """Two Services with one ``spec.healthCheckNodePort``."""
    problem = (
        f"belongs to {holder.source.subject}, which is older: load balancers are told of that one's endpoints"
    )
    return Finding(loser.source, problem, "give one of the two another")


def frontend_dispute(holder: Frontend, loser: Frontend) -> Finding:
    """Two Services, or pods with host ports, at one address and port."""
    if loser.kind is FrontendKind.HOST_PORT:
        return _port_dispute(holder, loser)
    is_by_right = holder.kind not in GUESTS and loser.kind in GUESTS
    because = "whose ClusterIP it is" if is_by_right else "which is older"
    problem = f"{loser.key} belongs to {holder.source.subject}, {because}"
    return Finding(loser.source, problem, "give one of the two another")


def address_dispute(holder: LocalPod, loser: LocalPod) -> Finding:
    """Two pods with one address."""
    source = Source("Pod", loser.pod.namespace, loser.pod.name, loser.uid, field="status.podIPs")
    problem = f"{loser.address} belongs to Pod {holder.pod}, which is older"
    return Finding(source, problem, "delete one of the two pods")


def _port_dispute(holder: Frontend, loser: Frontend) -> Finding:
    """Services come before host ports, pods before other containers, and of two pods the one that is not leaving, then the older."""
    if holder.kind is not FrontendKind.HOST_PORT:
        because = f"{holder.source.subject} ({holder.source.field}): Services come before host ports"
    elif holder.source.kind != loser.source.kind:
        because = f"{holder.source.subject}: pods come before other containers"
    elif loser.source.kind == "Pod":
        because = f"{holder.source.subject}, which is older, or stays while this one goes"
    else:
        because = f"{holder.source.subject}, the first by name"
    return Finding(loser.source, f"{loser.key} belongs to {because}", "give one of the two another port")
