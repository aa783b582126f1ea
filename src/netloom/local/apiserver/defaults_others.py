"""Defaults of kinds that are kept for others to read: roles, storage, webhooks, limits, priorities. Pure.

Comes in: a document, changed in place. Goes out: nothing. Source: API references of rbac.authorization.k8s.io/v1,
storage.k8s.io/v1, admissionregistration.k8s.io/v1, scheduling.k8s.io/v1 and core/v1.
"""

from __future__ import annotations

from netloom.local.apiserver.defaults_pods import Document, fill, member, object_at, objects

_RBAC = "rbac.authorization.k8s.io"
_HTTPS = 443
_WEBHOOK_SECONDS = 10


def role_binding(document: Document) -> None:
    """A RoleBinding or ClusterRoleBinding: users and groups belong to the group of roles, service accounts to core."""
    if reference := member(document, "roleRef"):
        fill(reference, {"apiGroup": _RBAC})
    for subject in objects(document.get("subjects")):
        if subject.get("kind") in ("User", "Group"):
            fill(subject, {"apiGroup": _RBAC})


def _selectors(target: Document) -> None:
    fill(target, {"matchPolicy": "Equivalent"})
    target.setdefault("namespaceSelector", {})
    target.setdefault("objectSelector", {})


def _rules(rules: object) -> None:
    for rule in objects(rules):
        fill(rule, {"scope": "*"})


def mutating_webhooks(document: Document) -> None:
    """A MutatingWebhookConfiguration."""
    validating_webhooks(document)
    for hook in objects(document.get("webhooks")):
        fill(hook, {"reinvocationPolicy": "Never"})


def validating_webhooks(document: Document) -> None:
    """A ValidatingWebhookConfiguration."""
    for hook in objects(document.get("webhooks")):
        fill(hook, {"failurePolicy": "Fail"})
        hook.setdefault("timeoutSeconds", _WEBHOOK_SECONDS)
        _selectors(hook)
        _rules(hook.get("rules"))
        if service := member(member(hook, "clientConfig"), "service"):
            service.setdefault("port", _HTTPS)


def admission_policy(document: Document) -> None:
    """A ValidatingAdmissionPolicy."""
    spec = object_at(document, "spec")
    fill(spec, {"failurePolicy": "Fail"})
    _constraints(spec, "matchConstraints")


def mutating_admission_policy(document: Document) -> None:
    """A MutatingAdmissionPolicy."""
    admission_policy(document)
    fill(object_at(document, "spec"), {"reinvocationPolicy": "Never"})


def admission_policy_binding(document: Document) -> None:
    """A ValidatingAdmissionPolicyBinding or MutatingAdmissionPolicyBinding."""
    _constraints(object_at(document, "spec"), "matchResources")


def _constraints(spec: Document, field: str) -> None:
    if spec.get(field) is not None:
        found = object_at(spec, field)
        _selectors(found)
        _rules(found.get("resourceRules"))
        _rules(found.get("excludeResourceRules"))


def persistent_volume(document: Document) -> None:
    """A core/v1 PersistentVolume."""
    spec = object_at(document, "spec")
    fill(spec, {"persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"})
    if "hostPath" in spec:
        member(spec, "hostPath").setdefault("type", "")


def persistent_volume_claim(document: Document) -> None:
    """A core/v1 PersistentVolumeClaim."""
    fill(object_at(document, "spec"), {"volumeMode": "Filesystem"})


def storage_class(document: Document) -> None:
    """A storage.k8s.io/v1 StorageClass."""
    fill(document, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


def csi_driver(document: Document) -> None:
    """A storage.k8s.io/v1 CSIDriver."""
    spec = object_at(document, "spec")
    for field, value in (
        *(("attachRequired", True), ("podInfoOnMount", False), ("storageCapacity", False)),
        *(
            ("requiresRepublish", False),
            ("seLinuxMount", False),
            ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ),
    ):
        spec.setdefault(field, value)
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def csi_node(document: Document) -> None:
    """A storage.k8s.io/v1 CSINode: no driver is an empty list, which clients with types demand."""
    object_at(document, "spec").setdefault("drivers", [])


def priority_class(document: Document) -> None:
    """A scheduling.k8s.io/v1 PriorityClass."""
    fill(document, {"preemptionPolicy": "PreemptLowerPriority"})


def limit_range(document: Document) -> None:
    """A core/v1 LimitRange: what containers get follows from what they may have."""
    for item in objects(member(document, "spec").get("limits")):
        if item.get("type") != "Container":
            continue
        limits = {**member(item, "max"), **member(item, "default")}
        requests = {**member(item, "min"), **limits, **member(item, "defaultRequest")}
        for field, amounts in (("default", limits), ("defaultRequest", requests)):
            if amounts:
                item[field] = amounts
