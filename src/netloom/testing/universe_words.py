"""A cluster of ``service_universe`` in a few lines, for whoever reads a failure. In: objects. Out: text."""

from __future__ import annotations

from netloom.api.core import ServiceSpec
from netloom.api.discovery import EndpointHints
from netloom.model.inputs import ClusterView


def described(view: ClusterView) -> str:
    """Services and slices in a few lines, for whoever reads a failure."""
    lines = []
    for service in view.services.values():
        spec = service.spec
        fields = {name: getattr(spec, name) for name in spec.__struct_fields__}
        defaults = ServiceSpec()
        said = " ".join(f"{k}={v}" for k, v in fields.items() if k != "ports" and v != getattr(defaults, k))
        ports = " ".join(f"{p.name}:{p.port}/{p.protocol}({p.node_port})" for p in spec.ports)
        ingress = [(one.ip, one.ip_mode) for one in service.status.load_balancer.ingress]
        labels, created = dict(service.metadata.labels), service.metadata.creation_timestamp
        lines.append(
            f"{service.key} ports {ports} {said} ingress={ingress} labels={labels} created={created}"
        )
    for one in view.slices.values():
        ports = " ".join(f"{p.name}:{p.port}/{p.protocol}" for p in one.ports or ())
        lines.append(f"  {one.key} of {one.service} {one.address_type} {ports}")
        for found in one.endpoints:
            c, h = found.conditions, found.hints or EndpointHints()
            hinted = [*(zone.name for zone in h.for_zones), *(node.name for node in h.for_nodes)]
            words = f"ready={c.ready} serving={c.serving} terminating={c.terminating} hints={hinted}"
            lines.append(f"    {found.addresses} on {found.node_name} {words}")
    for pod in view.pods.values():
        for container in (*pod.spec.containers, *pod.spec.init_containers):
            asked = [(p.host_ip, p.host_port, p.protocol, p.container_port) for p in container.ports]
            meta = pod.metadata
            words = f"{pod.status.phase} created={meta.creation_timestamp} deleted={meta.deletion_timestamp}"
            restarts = container.restart_policy
            lines.append(f"{pod.key} on {pod.spec.node_name} host ports {asked} restarts={restarts} {words}")
    return "\n".join(lines)
