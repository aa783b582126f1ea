"""What the server itself does to objects of a kind when they are written: parts that clients may not set, parts it fills in.

Comes in: documents that are about to be stored. Goes out: the same documents, changed in place. Pure. Not here: defaults
that clients own (defaults.py), addresses (allocate.py), rules (validate.py). Source: core/v1, apps/v1 API reference.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from netloom.local.apiserver import defaults, kinds, kinds_custom
from netloom.local.apiserver.custom.definition import new_status
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.definitions import definition
from netloom.local.apiserver.kind import Kind

DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_SPEC_AND_ANNOTATIONS = (kinds.DEPLOYMENTS,)
_ABSENCES = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_EPHEMERAL = "ephemeralContainers"
_OWN_FIELDS = frozenset({"apiVersion", "kind", "metadata", "status"})
_WITHOUT_STATUS = (kinds_custom.CLUSTER_NETWORK_POLICIES,)
"""Kinds whose status has fields that must be there; so have those that are defined (definitions.py)."""
_LABELS_THROUGH_STATUS = (kinds.PODS, kinds.NODES, kinds.SERVICES, kinds.NAMESPACES)
"""Kinds whose status subresource also takes labels and annotations, as kubelets and CNI agents rely on."""


def strip_for_create(kind: Kind, document: dict[str, Any]) -> None:
    """Take away what a creator may not set."""
    if kind.has_status and kind is not kinds.NODES:  # a kubelet registers its node with status
        document.pop("status", None)
    if kind is kinds.SECRETS:
        _merge_string_data(document)


def fill_for_create(kind: Kind, document: dict[str, Any]) -> None:
    """Add what the server knows."""
    if kind.counts_generations:
        document["metadata"]["generation"] = 1
    if kind is kinds.PODS:
        spec = document["spec"]
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = account
        document["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    elif kind is kinds.SERVICES:
        document["status"] = {"loadBalancer": {}}
    elif kind is kinds.NAMESPACES:
        metadata = document["metadata"]
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
        finalizers = document.setdefault("spec", {}).setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        document["status"] = {"phase": "Active"}
    elif kind is kinds.INGRESSES:
        document["status"] = {"loadBalancer": {}}
    elif kind is kinds.CUSTOM_RESOURCE_DEFINITIONS:
        document["status"] = new_status()
    elif isinstance(kind, CustomKind):
        return
    elif kind in (kinds.PERSISTENT_VOLUMES, kinds.PERSISTENT_VOLUME_CLAIMS):
        document["status"] = {"phase": "Pending"}
    elif kind.has_status and kind not in _WITHOUT_STATUS and definition(kind.gvk) is None:
        document.setdefault("status", {})
        defaults.count_from_zero(kind.gvk, document)
    if kind is kinds.JOBS:
        _select_own_pods(document)


def _select_own_pods(job: dict[str, Any]) -> None:
    """A Job that does not say otherwise selects its pods by its own uid, which nobody else has (batch/v1 Job)."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    given = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    metadata = spec["template"].setdefault("metadata", {})
    metadata["labels"] = {**(metadata.get("labels") or {}), **given}
    selector = spec.setdefault("selector", {})
    chosen = {"batch.kubernetes.io/controller-uid": uid}
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), **chosen}


def fill_ingress_class(ingress: dict[str, Any], classes: Iterable[Mapping[str, Any]]) -> None:
    """Give an Ingress that says no class the default one: the newest of those that say so, of equally old ones the first by name.

    Source: admission plugin DefaultIngressClass.
    """
    spec = ingress.get("spec")
    annotations = ingress["metadata"].get("annotations") or {}
    if (
        not isinstance(spec, dict)
        or spec.get("ingressClassName") is not None
        or _CLASS_ANNOTATION in annotations
    ):
        return
    marked = [one["metadata"] for one in classes if _is_default(one["metadata"])]
    marked.sort(key=lambda meta: str(meta["name"]))
    marked.sort(key=lambda meta: str(meta.get("creationTimestamp")), reverse=True)
    if marked:
        spec["ingressClassName"] = marked[0]["name"]


def fill_tolerations(pod: dict[str, Any], seconds: int) -> None:
    """Let a pod that says nothing of it stay for so long on a node that is not ready, or not heard (admission DefaultTolerationSeconds)."""
    spec = pod["spec"]
    said = spec.get("tolerations") or []
    for key in _ABSENCES:
        if any(t.get("key", "") in ("", key) and t.get("effect", "") in ("", "NoExecute") for t in said):
            continue
        tolerated = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
        spec["tolerations"] = [*(spec.get("tolerations") or []), tolerated]


def _is_default(metadata: Mapping[str, Any]) -> bool:
    return (metadata.get("annotations") or {}).get(DEFAULT_CLASS_ANNOTATION) == "true"


def restrict(kind: Kind, subresource: str, old: Mapping[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    """The document that an update through this path means: the rest stays as it was. It shares parts with both."""
    match subresource:
        case "status":
            return _status_only(kind, old, sent)
        case "finalize":
            finalizers = (sent.get("spec") or {}).get("finalizers") or []
            return {**old, "spec": {**(old.get("spec") or {}), "finalizers": finalizers}}
        case "ephemeralcontainers":
            return _ephemeral_only(old, sent)
    new = dict(sent)
    if kind.has_status:
        if "status" in old:
            new["status"] = old["status"]
        else:
            new.pop("status", None)
    if kind is kinds.NAMESPACES:
        new["spec"] = old.get("spec", {})
    elif kind is kinds.SECRETS:
        _merge_string_data(new)
    elif kind is kinds.PODS:
        _keep_ephemeral(new, old)
    _keep_identity(new, old)
    return new


def _ephemeral_only(old: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """A pod with the ephemeral containers of another one."""
    spec = {**(old.get("spec") or {})}
    spec.pop(_EPHEMERAL, None)
    if containers := (sent.get("spec") or {}).get(_EPHEMERAL):
        spec[_EPHEMERAL] = containers
    kept = {**old, "metadata": dict(old["metadata"]), "spec": spec}
    if "managedFields" in sent["metadata"]:
        kept["metadata"]["managedFields"] = sent["metadata"]["managedFields"]
    return kept


def _keep_ephemeral(new: dict[str, Any], old: Mapping[str, Any]) -> None:
    """Ephemeral containers come through their subresource only."""
    spec, before = new.get("spec"), (old.get("spec") or {}).get(_EPHEMERAL)
    if isinstance(spec, dict) and spec.get(_EPHEMERAL) != before:
        new["spec"] = {k: v for k, v in spec.items() if k != _EPHEMERAL}
        if before is not None:
            new["spec"][_EPHEMERAL] = before


def _status_only(kind: Kind, old: Mapping[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    kept = {**old, "metadata": dict(old["metadata"])}
    kept.pop("status", None)
    if "status" in sent:
        kept["status"] = sent["status"]
    sent_meta = sent["metadata"]
    if kind in _LABELS_THROUGH_STATUS:
        for field in ("labels", "annotations"):
            kept["metadata"].pop(field, None)
            if field in sent_meta:
                kept["metadata"][field] = sent_meta[field]
    if "managedFields" in sent_meta:
        kept["metadata"]["managedFields"] = sent_meta["managedFields"]
    return kept


def _keep_identity(new: dict[str, Any], old: Mapping[str, Any]) -> None:
    metadata, before = dict(new["metadata"]), old["metadata"]
    new["metadata"] = metadata
    for field in ("uid", "creationTimestamp", "generateName"):
        if not metadata.get(field) and before.get(field):
            metadata[field] = before[field]
    for field in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(field, None)
        if field in before:
            metadata[field] = before[field]
    metadata["name"] = before["name"]
    if "namespace" in before:
        metadata["namespace"] = before["namespace"]


def changes_generation(kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """The update changes what the object is to be, so ``metadata.generation`` goes up."""
    if not kind.counts_generations:
        return False
    if kind in _SPEC_AND_ANNOTATIONS and (
        (new["metadata"].get("annotations") or {}) != (old["metadata"].get("annotations") or {})
    ):
        return True
    own = _OWN_FIELDS - {"status"} if isinstance(kind, CustomKind) and not kind.has_status else _OWN_FIELDS
    return {k: v for k, v in new.items() if k not in own} != {k: v for k, v in old.items() if k not in own}


def is_finished(kind: Kind, document: Mapping[str, Any]) -> bool:
    """The object is being deleted and nothing holds it any more."""
    metadata = document["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if kind is kinds.NAMESPACES:
        return not (document.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def qos_class(spec: Mapping[str, Any]) -> str:
    """``status.qosClass`` of a pod: Guaranteed where every container limits cpu and memory to what it requests."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    resources = [c.get("resources") or {} for c in containers]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for resource in resources:
        limits = resource.get("limits") or {}
        requests = {**limits, **(resource.get("requests") or {})}
        if not {"cpu", "memory"} <= limits.keys() or any(requests[k] != limits[k] for k in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"


def _merge_string_data(secret: dict[str, Any]) -> None:
    """``stringData`` is for writing only: it ends up in ``data``, base64 (core/v1 Secret)."""
    clear = secret.pop("stringData", None)
    if isinstance(clear, dict):
        data = dict(secret.get("data") or {})
        data.update({k: base64.b64encode(str(v).encode()).decode() for k, v in clear.items()})
        secret["data"] = data
