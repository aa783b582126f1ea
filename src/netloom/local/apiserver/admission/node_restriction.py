"""What a node may not write, though the object is its own: labels that are for others to set, and pods that are no mirrors.

Comes in: who writes, the object before and after. Goes out: why not, or empty. Pure. Which objects a node may touch at all says
the node authorizer. Source: Kubernetes docs, "Admission Controllers: NodeRestriction".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver.access.nodes import named_by
from netloom.local.apiserver.admission import service_accounts

_OWN = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os", "node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type",
        "topology.kubernetes.io/region", "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
    }
)  # fmt: skip
_NAMED = frozenset({"secrets", "configmaps", "persistentvolumeclaims"})
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def node_problem(node: str, new: Mapping[str, Any], old: Mapping[str, Any] | None) -> str:
    """Why this node may not write this Node."""
    if new["metadata"]["name"] != node:
        return f'node "{node}" is not allowed to modify node "{new["metadata"]["name"]}"'
    before = ((old or {}).get("metadata") or {}).get("labels") or {}
    after = new["metadata"].get("labels") or {}
    changed = {k for k in {*before, *after} if before.get(k) != after.get(k)}
    forbidden = sorted(k for k in changed if not _may_set(k))
    if forbidden:
        return f'node "{node}" is not allowed to modify labels: {", ".join(forbidden)}'
    if old is not None and (old.get("spec") or {}).get("taints") != (new.get("spec") or {}).get("taints"):
        return f'node "{node}" is not allowed to modify taints'
    return ""


def _may_set(label: str) -> bool:
    domain, slash, _ = label.rpartition("/")
    if not slash or label in _OWN:
        return True
    if domain == "node-restriction.kubernetes.io" or domain.endswith(".node-restriction.kubernetes.io"):
        return False
    if any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS):
        return True
    return not any(
        domain == reserved or domain.endswith(f".{reserved}") for reserved in ("kubernetes.io", "k8s.io")
    )


def pod_problem(node: str, pod: Mapping[str, Any]) -> str:
    """Why this node may not make this pod."""
    if not service_accounts.is_mirror(pod):
        return f'pod does not have "kubernetes.io/config.mirror" annotation, node "{node}" can only create mirror pods'
    spec = pod.get("spec") or {}
    if spec.get("nodeName") != node:
        return f'node "{node}" can only create pods with spec.nodeName set to itself'
    if service_accounts.names_account(pod):
        return f'node "{node}" can not create pods that reference a service account'
    for resource, _ in named_by(spec, pod["metadata"].get("name", "")):
        if resource in _NAMED:  # what its pods name, a node may read
            return f'node "{node}" can not create pods that reference {resource}'
    return ""


def name_problem(node: str, document: Mapping[str, Any]) -> str:
    """Why this node may not make an object that stands for a node: a Lease, a CSINode."""
    if document["metadata"].get("name", "") != node:
        return f'node "{node}" can only create one with the same name as itself'
    return ""
