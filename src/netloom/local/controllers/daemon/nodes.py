"""Which nodes a DaemonSet's pods belong on, and how a pod is told which one is its own. Pure.

Rules: apps/v1 DaemonSet (scheduling, taints and tolerations). The scheduler puts the pods there: each asks for its node by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.kube.resources import DAEMON_SETS
from netloom.local.controllers.objects import Node, Pod, PodSpec
from netloom.local.controllers.placement import Taint, Toleration, term_matches
from netloom.local.controllers.podwrites import pod_from
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.workloads import DaemonSet

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_NODE = "node.kubernetes.io/"
_BORNE = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
"""What every DaemonSet's pod bears: it is there whatever befalls its node."""


class Belonging(msgspec.Struct, frozen=True):
    """A pod should be made on the node; a pod that is there may stay."""

    should_run: bool
    may_stay: bool


def belonging(ds: DaemonSet, node: Node) -> Belonging:
    """Whether the DaemonSet's pods belong on the node: node name, selector and required affinity, then taints."""
    spec = msgspec.convert(ds.spec.template.get("spec") or {}, PodSpec)
    if (spec.node_name and spec.node_name != node.metadata.name) or not _fits(spec, node):
        return Belonging(should_run=False, may_stay=False)
    tolerations = [*spec.tolerations, *map(_read, tolerations_of(spec.host_network))]
    unborne = [t for t in _taints(node) if not any(x.tolerates(t) for x in tolerations)]
    return Belonging(should_run=not unborne, may_stay=all(t.effect != "NoExecute" for t in unborne))


def tolerations_of(host_network: bool) -> list[dict[str, str]]:
    """What is added to the tolerations of the template."""
    borne = [*_BORNE, *([("network-unavailable", "NoSchedule")] if host_network else [])]
    return [{"key": _NODE + key, "operator": "Exists", "effect": effect} for key, effect in borne]


def pod_body(ds: DaemonSet, node: str, hash_: str) -> dict[str, Any]:
    """The pod for a node; a node affinity of the template has been looked at, and gives way to the node's name."""
    body = pod_from(ds.spec.template, ds, DAEMON_SETS, labels={POD_HASH: hash_})
    spec = dict(body["spec"])
    affinity = spec.get("affinity") or {}
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {_REQUIRED: {"nodeSelectorTerms": [{"matchFields": [by_name]}]}}
    spec["affinity"] = affinity | {"nodeAffinity": (affinity.get("nodeAffinity") or {}) | required}
    there = spec.get("tolerations") or []
    added = tolerations_of(bool(spec.get("hostNetwork")))
    spec["tolerations"] = [*there, *(t for t in added if t not in there)]
    return body | {"spec": spec}


def node_of(pod: Pod) -> str:
    """The node that the pod is on or was made for; empty where it says neither."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    terms = affinity.required.node_selector_terms if affinity and affinity.required else ()
    for term in terms:
        for field in term.match_fields:
            if field.key == "metadata.name" and field.operator == "In" and len(field.values) == 1:
                return field.values[0]
    return ""


def _fits(spec: PodSpec, node: Node) -> bool:
    if not spec.node_selector.items() <= node.metadata.labels.items():
        return False
    affinity = spec.affinity.node_affinity if spec.affinity else None
    if affinity is None or affinity.required is None:
        return True
    return any(
        term_matches(term, name=node.metadata.name, labels=node.metadata.labels)
        for term in affinity.required.node_selector_terms
    )


def _taints(node: Node) -> list[Taint]:
    return [t for t in node.spec.taints if t.effect in {"NoSchedule", "NoExecute"}]


def _read(toleration: dict[str, str]) -> Toleration:
    return msgspec.convert(toleration, Toleration)
