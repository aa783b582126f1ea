"""What a load balancer learns of a Service at ``spec.healthCheckNodePort``.

Comes in: a Service, its read slices, the node. Goes out: a HealthCheck with its port, or none, and Findings. Not here: the server
that answers (``agent/servers``).
"""

from __future__ import annotations

from collections.abc import Sequence

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import HealthCheck
from netloom.model.services.ports import is_port
from netloom.model.services.slices import ReadSlice, Usability

FIELD = "spec.healthCheckNodePort"


def read_health_check(
    service: Service, subject: Source, slices: Sequence[ReadSlice], node: str
) -> tuple[int, HealthCheck | None, tuple[Finding, ...]]:
    """Port and answer; only with type LoadBalancer and externalTrafficPolicy Local (core/v1 ServiceSpec).

    As kube-proxy counts: ready endpoints on this node, of all slices that have a port, each address once.
    """
    spec = service.spec
    port = spec.health_check_node_port
    if port == 0 or spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return 0, None, ()
    if not is_port(port):
        return 0, None, (Finding(subject.at(FIELD), f"{port} is no port", "use 1 to 65535"),)
    here = {
        (one.address.version, one.value)
        for slice_ in slices
        if slice_.ports
        for one in slice_.endpoints
        if one.usability is Usability.READY and one.node == node
    }
    return port, HealthCheck(service.key, len(here), subject.at(FIELD)), ()
