"""Subresources that are documents of another kind than their object: scale, binding, eviction.

Comes in: records and small documents. Goes out: documents. Source: autoscaling/v1 Scale, core/v1 Binding, policy/v1 Eviction.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.api.meta import LabelSelector
from netloom.api.selectors import Requirement, from_selector
from netloom.local.apiserver import status
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.objects import Objects, Written
from netloom.local.apiserver.queries import WriteOptions
from netloom.local.apiserver.status import Cause

SCALE_GVK = "autoscaling/v1/Scale"


def scale_of(record: Record) -> dict[str, Any]:
    """The Scale of an object that has replicas."""
    document = record.document()
    metadata, spec = document["metadata"], document.get("spec") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            field: metadata[field]
            for field in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if field in metadata
        },
        "spec": {"replicas": spec.get("replicas", 1)},
        "status": {
            "replicas": (document.get("status") or {}).get("replicas", 0),
            "selector": _selector_text(spec.get("selector") or {}),
        },
    }


def rescale(objects: Objects, live: Record, scale: dict[str, Any], options: WriteOptions) -> Written:
    """Set the replicas that a Scale asks for.

    Raises:
        ApiError: 409, 422.
        StorageError: it could not be written.
    """
    metadata = scale.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("name", live.name) != live.name:
        raise status.bad_request(f"the name of the Scale does not match the name on the URL ({live.name})")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if type(replicas) is not int or replicas < 0:
        problem = (
            f"Invalid value: {msgspec.json.encode(replicas).decode()}: must be greater than or equal to 0"
        )
        raise status.invalid(
            "Scale", "autoscaling", live.name, [Cause("FieldValueInvalid", problem, "spec.replicas")]
        )
    document = live.document()
    document.setdefault("spec", {})["replicas"] = replicas
    for field in ("uid", "resourceVersion"):
        document["metadata"][field] = metadata.get(field, "")
    return objects.update(live, document, options, subresource="scale")


def bind(objects: Objects, live: Record, binding: dict[str, Any], options: WriteOptions) -> None:
    """Give a pod its node.

    Raises:
        ApiError: 400 without a node, 409 where the pod has one already or is going.
        StorageError: it could not be written.
    """
    target = binding.get("target")
    node = target.get("name") if isinstance(target, dict) else None
    if not isinstance(node, str) or not node:
        raise status.bad_request("Binding: target.name: a node name is required")
    document = live.document()
    if live.deleting:
        raise status.conflict(
            live.kind, live.name, f"pod {live.name} is being deleted, cannot be assigned to a host"
        )
    if document["spec"].get("nodeName"):
        why = f'pod {live.name} is already assigned to node "{document["spec"]["nodeName"]}"'
        raise status.conflict(live.kind, live.name, why)
    document["spec"]["nodeName"] = node
    conditions = document.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [c for c in conditions if c.get("type") != "PodScheduled"]
    conditions.append({"type": "PodScheduled", "status": "True", "lastTransitionTime": objects.now()})
    if not options.dry_run:
        objects.rewrite(live, document)


def _selector_text(selector: dict[str, Any]) -> str:
    if selector and not {"matchLabels", "matchExpressions"} & selector.keys():
        selector = {"matchLabels": selector}  # ReplicationController selects by labels alone
    try:
        compiled = from_selector(msgspec.convert(selector, LabelSelector))
    except msgspec.ValidationError:
        return ""
    return ",".join(_requirement_text(r) for r in compiled.requirements)


def _requirement_text(requirement: Requirement) -> str:
    values = sorted(requirement.values)
    match requirement.operator:
        case "In" if len(values) == 1:
            return f"{requirement.key}={values[0]}"
        case "In":
            return f"{requirement.key} in ({','.join(values)})"
        case "NotIn":
            return f"{requirement.key} notin ({','.join(values)})"
        case "Exists":
            return requirement.key
        case _:
            return f"!{requirement.key}"
