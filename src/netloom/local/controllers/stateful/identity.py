"""Who a pod of a StatefulSet is: its name, ordinal, host name, labels and claims. Pure.

Rules: apps/v1 StatefulSet (stable network identity, stable storage). Not here: which pods there should be (plan.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, STATEFUL_SETS
from netloom.local.controllers.objects import Meta, Pod, owner_reference
from netloom.local.controllers.podwrites import pod_from
from netloom.local.controllers.revisions import POD_HASH
from netloom.local.controllers.workloads import StatefulSet

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


def ordinal_of(s: StatefulSet, pod: Pod) -> int | None:
    """The pod's number in the StatefulSet; None where its name is not of the StatefulSet's."""
    parent, dash, number = pod.metadata.name.rpartition("-")
    is_number = number.isascii() and number.isdecimal() and (number == "0" or not number.startswith("0"))
    return int(number) if dash and parent == s.metadata.name and is_number else None


def pod_name(s: StatefulSet, ordinal: int) -> str:
    """Name and host name of the pod with this number."""
    return f"{s.metadata.name}-{ordinal}"


def pod_body(s: StatefulSet, ordinal: int, template: dict[str, Any], revision: str) -> dict[str, Any]:
    """The pod with this number, from the template of a revision; its claims stand where the template has volumes of their names."""
    name = pod_name(s, ordinal)
    labels = {POD_HASH: revision, POD_NAME: name, POD_INDEX: str(ordinal)}
    body = pod_from(template, s, STATEFUL_SETS, labels=labels)
    del body["metadata"]["generateName"]
    body["metadata"]["name"] = name
    claimed = dict(claims_of(s, ordinal))
    volumes = [v for v in body["spec"].get("volumes") or [] if v.get("name") not in claimed]
    volumes += [{"name": t, "persistentVolumeClaim": {"claimName": c}} for t, c in claimed.items()]
    body["spec"] = body["spec"] | {"hostname": name, "subdomain": s.spec.service_name}
    if volumes:
        body["spec"]["volumes"] = volumes
    return body


def missing_labels(s: StatefulSet, ordinal: int, pod: Pod) -> dict[str, str]:
    """Labels of its identity that somebody took from the pod."""
    wish = {POD_NAME: pod_name(s, ordinal), POD_INDEX: str(ordinal)}
    return {k: v for k, v in wish.items() if pod.metadata.labels.get(k) != v}


def claims_of(s: StatefulSet, ordinal: int) -> Iterator[tuple[str, str]]:
    """Name of each template and of the claim that the pod with this number has from it."""
    for template in s.spec.volume_claim_templates:
        name = str((template.get("metadata") or {}).get("name", ""))
        yield name, f"{name}-{pod_name(s, ordinal)}"


def claim_bodies(s: StatefulSet, ordinal: int) -> Iterator[dict[str, Any]]:
    """The claims of the pod with this number."""
    for template, (_, name) in zip(s.spec.volume_claim_templates, claims_of(s, ordinal), strict=True):
        metadata = template.get("metadata") or {}
        yield {
            "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
            "kind": PERSISTENT_VOLUME_CLAIMS.kind,
            "metadata": {
                "namespace": s.metadata.namespace,
                "name": name,
                "labels": (metadata.get("labels") or {}) | s.spec.selector.match_labels,
                "annotations": metadata.get("annotations") or {},
                "ownerReferences": owners_of_claim(s, None, []),
            },
            "spec": template.get("spec") or {},
        }


def owners_of_claim(
    s: StatefulSet, leaving: Pod | None, others: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Owner references of a claim by ``persistentVolumeClaimRetentionPolicy``: with whose end it goes.

    Args:
        s: the StatefulSet.
        leaving: the pod of the claim where it is beyond ``spec.replicas`` and goes; None otherwise.
        others: references that are not of the StatefulSet or its pods.
    """
    policy = s.spec.persistent_volume_claim_retention_policy
    if leaving is not None and policy.when_scaled == "Delete":
        reference = owner_reference("v1", "Pod", leaving)
    elif policy.when_deleted == "Delete":
        reference = owner_reference(STATEFUL_SETS.api_version, STATEFUL_SETS.kind, s)
    else:
        return others
    # neither of them controls the claim, nor does the claim hold up their deletion
    return [*others, {k: reference[k] for k in ("apiVersion", "kind", "name", "uid")}]


def foreign_owners(s: StatefulSet, metadata: Meta) -> list[dict[str, Any]]:
    """Owner references of a claim that the StatefulSet did not set."""
    return [
        {"apiVersion": o.api_version, "kind": o.kind, "name": o.name, "uid": o.uid}
        | ({"controller": True} if o.controller else {})
        for o in metadata.owner_references
        if not (o.kind == "StatefulSet" and o.uid == s.uid)
        and not (o.kind == "Pod" and o.name.startswith(f"{s.metadata.name}-"))
    ]
