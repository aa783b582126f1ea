"""What a pod may be told of itself: fields and resources (core/v1 ObjectFieldSelector, ResourceFieldSelector). Pure.

In: the pod, its addresses, what its node has. Out: text. Variables know the addresses, volumes the whole of labels and
annotations; each is asked here. Not here: where it goes (``env``, ``volumes.payload``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from netloom.api.quantity import parse
from netloom.local.runner.references import FieldRef, Quantity, ResourceFieldRef
from netloom.local.runner.spec import Container, Pod

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_MILLI = Decimal("0.001")


def field_text(
    pod: Pod, reference: FieldRef, *, pod_ips: tuple[str, ...], host_ips: tuple[str, ...]
) -> str | None:
    """The value of a field; None where there is no such one."""
    path, meta = reference.field_path, pod.metadata
    if match := _SUBSCRIPT.fullmatch(path):
        return (meta.labels if match[1] == "labels" else meta.annotations).get(match[2], "")
    return {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _pairs(meta.labels),
        "metadata.annotations": _pairs(meta.annotations),
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": next(iter(host_ips), ""),
        "status.hostIPs": ",".join(host_ips),
        "status.podIP": next(iter(pod_ips), ""),
        "status.podIPs": ",".join(pod_ips),
    }.get(path)


def resource_text(
    pod: Pod, own: Container | None, reference: ResourceFieldRef, allocatable: Mapping[str, str]
) -> str | None:
    """A request or limit in units of the divisor, rounded up; a limit that is not set is what the node has.

    Args:
        pod: where other containers are looked up.
        own: the container that asks, where it is one.
        reference: what is asked.
        allocatable: ``status.allocatable`` of the node.
    """
    container = own
    if reference.container_name:
        every = (*pod.spec.init_containers, *pod.spec.containers)
        container = next((c for c in every if c.name == reference.container_name), None)
    kind, _, name = reference.resource.partition(".")
    if container is None or kind not in {"limits", "requests"}:
        return None
    said = container.resources.limits if kind == "limits" else container.resources.requests
    amount: Quantity | None = said.get(name)
    if amount is None:
        amount = container.resources.limits.get(name) if kind == "requests" else allocatable.get(name)
    value, divisor = parse(amount or "0") or Decimal(0), parse(reference.divisor) or Decimal(0)
    if name == "cpu":  # both are counted in thousandths
        value, divisor = (Decimal(math.ceil(x / _MILLI)) for x in (value, divisor or Decimal(1)))
    return str(math.ceil(value / (divisor or 1)))


def _pairs(values: Mapping[str, str]) -> str:
    """One ``key="value"`` a line, sorted, quoted as in JSON."""
    return "\n".join(f"{key}={msgspec.json.encode(values[key]).decode()}" for key in sorted(values))
