"""The names that pods and namespaces give (Kubernetes DNS specification 1.1, section 2.6, only for pods that are there)."""

from __future__ import annotations

from netloom.api.core import Namespace, Pod
from netloom.model.names.records import NameSettings, Part, RecordCollector, is_label
from netloom.model.names.services import dashed
from netloom.units import parse_addr

_ENDED = frozenset({"Succeeded", "Failed"})


def pod_part(pod: Pod, settings: NameSettings) -> Part:
    """``10-244-1-3.<ns>.pod.<zone>`` for each address of a pod that has not ended: its address may be another's by then."""
    if pod.status.phase in _ENDED or not is_label(pod.metadata.namespace):
        return Part()
    records = RecordCollector(ttl=settings.ttl)
    for text in {pod.status.pod_ip, *(p.ip for p in pod.status.pod_ips)}:
        address = parse_addr(text)
        if address is not None:
            records.add_address(
                f"{dashed(address)}.{pod.metadata.namespace}.pod.{settings.cluster_domain}", address
            )
    return Part(records.collected())


def namespace_part(namespace: Namespace, settings: NameSettings) -> Part:
    """``<ns>.svc`` and ``<ns>.pod`` exist as long as the namespace does, also while nothing is in it (NODATA)."""
    name = namespace.metadata.name
    if not is_label(name):
        return Part()
    return Part({f"{name}.{branch}.{settings.cluster_domain}": () for branch in ("svc", "pod")})
