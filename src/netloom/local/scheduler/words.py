"""Bodies that the scheduler sends: a binding, and why a pod has none. Pure."""

from __future__ import annotations

from typing import Any

from netloom.local.controllers.objects import Pod
from netloom.units import NodeName


def binding(pod: Pod, node: NodeName) -> dict[str, Any]:
    """The body of ``pods/binding`` (core/v1 Binding)."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"namespace": pod.metadata.namespace, "name": pod.metadata.name, "uid": pod.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def unscheduled(
    pod: Pod, message: str, reason: str, now: str, nominated: str | None
) -> dict[str, Any] | None:
    """The status that says why a pod has no node; None where it says so already.

    Args:
        pod: as it is.
        message: for people.
        reason: of condition PodScheduled.
        now: RFC 3339 time.
        nominated: the node that is being cleared for it, ``""`` for no change, None: there is none any more.
    """
    known = next((c for c in pod.status.conditions if c.type == "PodScheduled"), None)
    says = known is not None and (known.status, known.message, known.reason) == ("False", message, reason)
    if says and (nominated == "" or (nominated or "") == pod.status.nominated_node_name):
        return None
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }
    status: dict[str, Any] = {"conditions": [condition]}
    if nominated != "":
        status["nominatedNodeName"] = nominated
    return {"metadata": {"uid": pod.uid}, "status": status}
