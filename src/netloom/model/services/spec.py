"""The settings of one Service beside its ports and addresses, checked.

Comes in: a Service. Goes out: what each setting means, and a Finding where it cannot be taken as written.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netloom.api.core import Service, ServiceSpec
from netloom.model.provenance import Finding, Source
from netloom.model.services.topology import DISTRIBUTIONS

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
POLICIES = ("Cluster", "Local")
AFFINITY_S = 10800
"""core/v1 ClientIPConfig.timeoutSeconds where it is absent."""
_LONGEST_AFFINITY_S = 86400
INTERNAL_POLICY, EXTERNAL_POLICY = "spec.internalTrafficPolicy", "spec.externalTrafficPolicy"
TIMEOUT = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"


class Settings(msgspec.Struct, frozen=True, gc=False):
    """What a Service says about all of its frontends."""

    has_node_ports: bool = False
    is_internal_local: bool = False
    is_external_local: bool = False
    affinity_s: int = 0
    distribution: str | None = None
    """``spec.trafficDistribution``, where it is one."""


_PLAIN = Settings()


def read_settings(service: Service, subject: Source) -> tuple[Settings, tuple[Finding, ...]]:
    """The settings; what is unknown counts as the default."""
    spec = service.spec
    if _is_plain(spec):
        return _PLAIN, ()
    settings = Settings(
        has_node_ports=spec.type in ("NodePort", "LoadBalancer"),
        is_internal_local=spec.internal_traffic_policy == "Local",
        is_external_local=spec.external_traffic_policy == "Local",
        affinity_s=affinity_seconds(spec),
        distribution=spec.traffic_distribution if spec.traffic_distribution in DISTRIBUTIONS else None,
    )
    return settings, tuple(_findings(spec, subject))


def affinity_seconds(spec: ServiceSpec) -> int:
    """For how long a client stays with its endpoint; 0 where it does not."""
    if spec.session_affinity != "ClientIP":
        return 0
    timeout = _timeout(spec)
    return timeout if timeout is not None and 1 <= timeout <= _LONGEST_AFFINITY_S else AFFINITY_S


def _is_plain(spec: ServiceSpec) -> bool:
    return (
        spec.type == "ClusterIP"
        and spec.session_affinity == "None"
        and spec.traffic_distribution is None
        and spec.internal_traffic_policy == "Cluster"
        and spec.external_traffic_policy == "Cluster"
    )


def _timeout(spec: ServiceSpec) -> int | None:
    config = spec.session_affinity_config
    return None if config is None or config.client_ip is None else config.client_ip.timeout_seconds


def _findings(spec: ServiceSpec, subject: Source) -> Iterator[Finding]:
    if spec.type not in TYPES:
        problem = f'"{spec.type}" is no type; served as ClusterIP'
        yield Finding(subject.at("spec.type"), problem, f"use one of {', '.join(TYPES)}")
    for field, value in (
        (INTERNAL_POLICY, spec.internal_traffic_policy),
        (EXTERNAL_POLICY, spec.external_traffic_policy),
    ):
        # Absent is written as "" by clients that have no pointer there.
        if value not in POLICIES and value:
            problem = f'"{value}" is no traffic policy; served as Cluster'
            yield Finding(subject.at(field), problem, "use Cluster or Local")
    if spec.session_affinity not in ("None", "ClientIP", ""):
        problem = f'"{spec.session_affinity}" is no session affinity; served without'
        yield Finding(subject.at("spec.sessionAffinity"), problem, "use None or ClientIP")
    timeout = _timeout(spec)
    if (
        spec.session_affinity == "ClientIP"
        and timeout is not None
        and not 1 <= timeout <= _LONGEST_AFFINITY_S
    ):
        problem = f"{timeout} seconds is out of range; {AFFINITY_S} are kept"
        yield Finding(subject.at(TIMEOUT), problem, f"use 1 to {_LONGEST_AFFINITY_S}")
    if spec.traffic_distribution not in (None, "", *DISTRIBUTIONS):
        problem = (
            f'"{spec.traffic_distribution}" is no traffic distribution; hints of endpoints count as always'
        )
        yield Finding(
            subject.at("spec.trafficDistribution"), problem, f"use one of {', '.join(DISTRIBUTIONS)}"
        )
