"""Roles and bindings that every cluster has are there at each start: missing ones are made, short ones completed.

Comes in: the objects of a store. Goes out: what policy.py and ours.py say is in it; more than that stays. Who marks one with
``rbac.authorization.kubernetes.io/autoupdate: "false"`` keeps it as it is. Source: Kubernetes docs, "Using RBAC Authorization:
auto-reconciliation".
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.access import aggregation, ours, policy
from netloom.local.apiserver.access.rules import Grants, rules_of
from netloom.local.apiserver.admission import priorities
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import WriteOptions

_OPTIONS = WriteOptions(manager="kube-apiserver", validation="Ignore")


def ensure(objects: Objects) -> None:
    """Bring the store up to date.

    Raises:
        StorageError: the store cannot be written.
    """
    of_cluster = policy.cluster_roles() + ours.cluster_roles()
    aggregation.settle(of_cluster)  # later on, a controller does
    for kind, documents in (
        (kinds.CLUSTER_ROLES, of_cluster),
        (kinds.ROLES, policy.roles() + ours.roles()),
        (kinds.CLUSTER_ROLE_BINDINGS, policy.cluster_bindings() + ours.cluster_bindings()),
        (kinds.ROLE_BINDINGS, policy.bindings() + ours.bindings()),
    ):
        for document in documents:
            document["metadata"].setdefault("annotations", {})[policy.AUTOUPDATE] = "true"
            _ensure(objects, kind, document)
    for body in priorities.BUILT_IN:
        kind = kinds.PRIORITY_CLASSES
        if objects.store.get(kind, "", body["metadata"]["name"]) is None:
            document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
            objects.create(kind, "", document, _OPTIONS)


def _ensure(objects: Objects, kind: Kind, wanted: dict[str, Any]) -> None:
    metadata = wanted["metadata"]
    namespace = metadata.get("namespace", "")
    live = objects.store.get(kind, namespace, metadata["name"])
    if live is None:
        objects.create(kind, namespace, wanted, _OPTIONS)
        return
    document = live.document()
    if (document["metadata"].get("annotations") or {}).get(policy.AUTOUPDATE) == "false":
        return
    before = live.document()
    _complete(document, wanted)
    if document != before:
        objects.update(live, document, _OPTIONS)


def _complete(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "roleRef" in wanted:
        present = document.get("subjects") or []
        missing = [s for s in wanted["subjects"] if s not in present]
        if missing:
            document["subjects"] = [*present, *missing]
        return
    if "aggregationRule" in wanted:
        document.setdefault("aggregationRule", wanted["aggregationRule"])
        return
    held = Grants(rules_of(document))
    missing = [r.document() for r in rules_of(wanted) if not held.covers(r)]
    if missing:
        document["rules"] = [*(document.get("rules") or ()), *missing]
