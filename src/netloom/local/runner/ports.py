"""On which ports a stand-in listens. Pure.

In: a pod, the Services of its namespace. Out: for each container its ports, each with whether the container cannot do without.
Declared containerPorts are required; the targetPorts of Services that select the pod and the ports of probes are taken where
nobody else has them, since many manifests declare no ports (DESIGN, decision 9).
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.api.core import Service
from netloom.local.runner.spec import Container, Pod, Probe, port_number
from netloom.local.runner.standins.feed import Listen


def listens(pod: Pod, services: Iterable[Service]) -> dict[str, tuple[Listen, ...]]:
    """The sockets of each container, by container name."""
    taken: dict[tuple[int, str], str] = {}
    found: dict[str, list[Listen]] = {c.name: [] for c in pod.apps}

    def take(container: Container, port: int, protocol: str, *, required: bool) -> None:
        if required or (port, protocol) not in taken:
            taken.setdefault((port, protocol), container.name)
            if not any((w.port, w.protocol) == (port, protocol) for w in found[container.name]):
                found[container.name].append(Listen(port, protocol, required))

    for container in pod.apps:
        for declared in container.ports:
            take(container, declared.container_port, declared.protocol, required=True)
    for container in pod.apps:
        for number in _probe_ports(container):
            take(container, number, "TCP", required=False)
    if pod.spec.containers:
        for number, protocol in sorted(_target_ports(pod, services)):
            take(pod.spec.containers[0], number, protocol, required=False)
    return {name: tuple(wishes) for name, wishes in found.items()}


def selects(service: Service, pod: Pod) -> bool:
    """The Service's selector takes the pod (core/v1 ServiceSpec.selector; a Service without one takes nobody)."""
    # Asked for every pod and every change of a Service, so without compiling the selector: it is a subset of the labels.
    wanted = service.spec.selector
    return (
        bool(wanted)
        and service.metadata.namespace == pod.metadata.namespace
        and (wanted or {}).items() <= pod.metadata.labels.items()
    )


def _probe_ports(container: Container) -> list[int]:
    probes: tuple[Probe | None, ...] = (
        container.readiness_probe,
        container.liveness_probe,
        container.startup_probe,
    )
    numbers = []
    for probe in probes:
        if probe is None:
            continue
        action = probe.http_get or probe.tcp_socket or probe.grpc
        if action is not None and (number := port_number(action.port, container)) is not None:
            numbers.append(number)
    return numbers


def _target_ports(pod: Pod, services: Iterable[Service]) -> set[tuple[int, str]]:
    found: set[tuple[int, str]] = set()
    for service in services:
        if not selects(service, pod):
            continue
        for port in service.spec.ports:
            wanted = port.target_port if port.target_port is not None else port.port
            if isinstance(wanted, int):
                found.add((wanted, port.protocol))
    return found
