"""Host ports of pods as the API's documentation tells them, read naively; a part of ``naive_services``, which says who comes before them.

core/v1 ContainerPort: ``hostPort`` and ``hostIP`` of whatever runs as long as the pod does.
"""

from __future__ import annotations

from collections.abc import Iterator

from netloom.api.core import ContainerPort, Pod
from netloom.model.inputs import ClusterView, NodeFacts
from netloom.units import Addr, Protocol, parse_addr

EVERYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - what a hostIP may say
Place = tuple[Addr, int]


def place_alone(
    view: ClusterView, facts: NodeFacts, to: Addr, protocol: Protocol, number: int
) -> Place | None:
    """Where the pod listens that asks for this port of the node at this address; None where none does."""
    for pod, port in _wanting(view, facts, to, protocol, number):
        if to in facts.addresses and parse_addr(port.host_ip) == to:
            return _address(pod, to), port.container_port
    return None


def place_everywhere(
    view: ClusterView, facts: NodeFacts, to: Addr, protocol: Protocol, number: int
) -> Place | None:
    """Where the pod listens that asks for this port of the node at all of its addresses, which are those of NodePorts."""
    cidrs = facts.node_port_cidrs
    if to not in facts.addresses or not (cidrs is None or any(to in cidr for cidr in cidrs)):
        return None
    for pod, port in _wanting(view, facts, to, protocol, number):
        if port.host_ip in ("", EVERYWHERE[to.version]):
            return _address(pod, to), port.container_port
    return None


def _wanting(
    view: ClusterView, facts: NodeFacts, to: Addr, protocol: Protocol, number: int
) -> Iterator[tuple[Pod, ContainerPort]]:
    def age(pod: Pod) -> tuple[bool, bool, str, str, str]:
        meta = pod.metadata
        created = meta.creation_timestamp
        is_leaving = meta.deletion_timestamp is not None
        return (is_leaving, created is None, created or "", meta.namespace, meta.name)

    for pod in sorted(view.pods.values(), key=age):
        has_its_own = not pod.spec.host_network and pod.status.phase not in ("Succeeded", "Failed")
        versions = [one.version for one in _addresses(pod)]
        if pod.spec.node_name != facts.name or not has_its_own or to.version not in versions:
            continue
        sidecars = [one for one in pod.spec.init_containers if one.restart_policy == "Always"]
        for container in (*pod.spec.containers, *sidecars):
            for port in container.ports:
                if (port.host_port, port.protocol) == (number, protocol.value):
                    yield pod, port


def _addresses(pod: Pod) -> list[Addr]:
    return [address for one in pod.status.pod_ips if (address := parse_addr(one.ip)) is not None]


def _address(pod: Pod, to: Addr) -> Addr:
    return next(one for one in _addresses(pod) if one.version == to.version)
