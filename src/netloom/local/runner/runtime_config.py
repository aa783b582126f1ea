"""What a container runtime tells a CNI plugin about a pod besides CNI_ARGS: ``runtimeConfig``, as kubelet and containerd fill it. Pure.

In: the pod. Out: the value of each capability that the pod gives rise to. Only those that the network configuration asks for in
``capabilities`` are told (``cni_client``; CNI conventions, "Dynamic Plugin specific fields").
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from netloom.api.quantity import parse
from netloom.errors import InvalidObject
from netloom.local.runner.spec import Pod

INGRESS, EGRESS = "kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"
"""Annotations of a pod: bits per second that it may receive and send."""
BURST = 2**32 - 1
"""Bits that containerd allows at once."""
_LEAST, _MOST = Decimal(10**3), Decimal(10**15)


def runtime_config(pod: Pod) -> dict[str, Any]:
    """``portMappings`` and ``bandwidth``, each where the pod asks for it.

    Raises:
        InvalidObject: a bandwidth is no quantity, or out of bounds (1k to 1P bits per second).
    """
    found: dict[str, Any] = {}
    if mappings := _port_mappings(pod):
        found["portMappings"] = mappings
    if bandwidth := _bandwidth(pod):
        found["bandwidth"] = bandwidth
    return found


def _port_mappings(pod: Pod) -> list[dict[str, Any]]:
    return [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol.lower(),
            "hostIP": port.host_ip,
        }
        for container in pod.apps
        for port in container.ports
        if port.host_port > 0
    ]


def _bandwidth(pod: Pod) -> dict[str, int]:
    found: dict[str, int] = {}
    for annotation, way in ((INGRESS, "ingress"), (EGRESS, "egress")):
        rate = _rate(pod, annotation)
        if rate:
            found |= {f"{way}Rate": rate, f"{way}Burst": BURST}
    return found


def _rate(pod: Pod, annotation: str) -> int:
    text = pod.metadata.annotations.get(annotation)
    if text is None:
        return 0
    value = parse(text)
    field = f'metadata.annotations["{annotation}"]'
    subject = f"Pod {pod.key}"
    if value is None:
        raise InvalidObject(subject, field, f"{text!r} is no quantity", "write bits per second, such as 10M")
    if not _LEAST <= value <= _MOST:
        raise InvalidObject(subject, field, f"{text} bits per second is out of bounds", "write 1k to 1P")
    return math.ceil(value)
