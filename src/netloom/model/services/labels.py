"""Who serves a Service, as its labels say: we, or somebody else.

Comes in: labels. Goes out: yes or no. The rule is that of kube-proxy's informers, which leave out Services and EndpointSlices
with one of these labels, whatever its value: with the first another proxy serves them, with the second nobody does.
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.api.discovery import SERVICE_NAME_LABEL, EndpointSlice
from netloom.units import ObjectKey

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


def opt_out(labels: Mapping[str, str]) -> str:
    """The label that leaves an object to somebody else; empty where it is ours."""
    if PROXY_NAME_LABEL in labels:
        return PROXY_NAME_LABEL
    return HEADLESS_LABEL if HEADLESS_LABEL in labels else ""


def served_service(slice_: EndpointSlice) -> ObjectKey | None:
    """The Service whose endpoints a slice holds; None for an orphan, and for a slice that is left to somebody else."""
    meta = slice_.metadata
    name = meta.labels.get(SERVICE_NAME_LABEL, "")
    return ObjectKey(meta.namespace, name) if name and not opt_out(meta.labels) else None
