"""What a node may: its own objects, and what the pods that are bound to it name.

Comes in: events of pods, requests by members of ``system:nodes``. Goes out: yes, or why not. Not here: which fields a node may write
(admission/node_restriction.py). Source: Kubernetes docs, "Using Node Authorization".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver import kinds
from netloom.local.apiserver.access.attributes import Attributes
from netloom.local.apiserver.access.identity import Identity
from netloom.local.apiserver.access.policy import NODE
from netloom.local.apiserver.access.rules import Grants
from netloom.local.apiserver.access.written import rule
from netloom.local.apiserver.history import Event, Record
from netloom.local.apiserver.store import Store

LEASE_NAMESPACE = "kube-node-lease"
_READS = frozenset({"get", "list", "watch"})
_NAMED = frozenset({"secrets", "configmaps", "persistentvolumeclaims"})

Thing = tuple[str, str, str]
"""Resource, namespace, name."""


class Nodes:
    """Knows which objects the pods of each node name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rules = Grants(rule(line) for line in NODE)
        self._pods: dict[str, dict[tuple[str, str], frozenset[Thing] | None]] = {}
        self._at: dict[tuple[str, str], str] = {}
        for record in store.scan(kinds.PODS):
            self._learn(record)
        store.listen(self._changed)

    def refusal(self, identity: Identity, wanted: Attributes) -> str:  # noqa: PLR0911 - one for each resource
        """Why the node may not; empty where it may."""
        node = identity.node
        if not node:
            return "unknown node for user"
        if not self._rules.allow(wanted):
            return f"node '{node}' cannot {wanted.verb} {wanted.kind_of_thing}"
        match wanted.group, wanted.resource:
            case "", resource if resource in _NAMED:
                if wanted.verb in _READS and not wanted.name:
                    return "no object name found: can only read resources of this type by name"
                return self._related(node, (resource, wanted.namespace, wanted.name))
            case "", "persistentvolumes":
                return self._related(node, ("persistentvolumes", "", wanted.name))
            case "", "serviceaccounts":
                return self._related(node, ("serviceaccounts", wanted.namespace, wanted.name))
            case "", "pods" if wanted.verb in _READS:
                return self._pod(node, wanted)
            case "", "pods":
                return self._own_pod(node, wanted)
            case "", "nodes" if wanted.verb in _READS and wanted.name != node:
                return f"node '{node}' cannot read '{wanted.name or '*'}', only its own Node object"
            case "coordination.k8s.io", "leases":
                return _own_lease(node, wanted)
            case "storage.k8s.io", "csinodes" if wanted.name != node and wanted.verb != "create":
                return f"can only access CSINode with the same name as the requesting node '{node}'"
        return ""

    def _pod(self, node: str, wanted: Attributes) -> str:
        if wanted.name:
            if (wanted.namespace, wanted.name) in self._pods.get(node, ()):
                return ""
        elif f"spec.nodeName={node}" in wanted.field_selector.replace("==", "=").split(","):
            return ""
        return f"node '{node}' can only list/watch pods with spec.nodeName field selector, and get its own"

    def _own_pod(self, node: str, wanted: Attributes) -> str:
        """Writes are to pods that are bound to the node; of one that is gone, a node hears that it is."""
        record = self._store.get(kinds.PODS, wanted.namespace, wanted.name)
        if record is None or record.values.get("spec.nodeName", "") == node:
            return ""
        return f"node '{node}' can only write pods with spec.nodeName set to itself"

    def _related(self, node: str, thing: Thing) -> str:
        for found in self._things_of(node, thing[1]):
            if thing in found:
                return ""
        return f"no relationship found between node '{node}' and this object"

    def _things_of(self, node: str, namespace: str) -> Iterator[frozenset[Thing]]:
        pods = self._pods.get(node, {})
        for key, known in pods.items():
            if namespace and key[0] != namespace:
                continue
            yield known if known is not None else self._read(pods, key)

    def _read(
        self, pods: dict[tuple[str, str], frozenset[Thing] | None], key: tuple[str, str]
    ) -> frozenset[Thing]:
        record = self._store.get(kinds.PODS, *key)
        found = frozenset(self._named_by(record)) if record is not None else frozenset[Thing]()
        pods[key] = found
        return found

    def _named_by(self, record: Record) -> Iterator[Thing]:
        for resource, name in named_by(record.document().get("spec") or {}, record.name):
            yield resource, record.namespace, name
            if resource == "persistentvolumeclaims":
                claim = self._store.get(kinds.PERSISTENT_VOLUME_CLAIMS, record.namespace, name)
                volume = (claim.document().get("spec") or {}).get("volumeName") if claim is not None else ""
                if volume:
                    yield "persistentvolumes", "", volume

    def _changed(self, event: Event) -> None:
        if event.record.kind is not kinds.PODS:
            return
        if event.deleted:
            self._forget(event.record.key)
        else:
            self._learn(event.record)

    def _learn(self, record: Record) -> None:
        node = record.values.get("spec.nodeName", "")
        if not node:
            return
        self._at[record.key] = node
        # what a pod names may grow (ephemeral containers): it is read again when somebody asks
        self._pods.setdefault(node, {})[record.key] = None

    def _forget(self, key: tuple[str, str]) -> None:
        node = self._at.pop(key, "")
        self._pods.get(node, {}).pop(key, None)


def _own_lease(node: str, wanted: Attributes) -> str:
    if wanted.namespace != LEASE_NAMESPACE:
        return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
    if wanted.verb != "create" and wanted.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""


def named_by(spec: Mapping[str, Any], pod: str) -> Iterator[tuple[str, str]]:
    """Resource and name of everything that a pod's spec names in its namespace; the pod's name begins those of claims made for it."""
    yield "serviceaccounts", spec.get("serviceAccountName") or "default"
    for one in spec.get("imagePullSecrets") or ():
        yield "secrets", one.get("name", "")
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            yield from _named_by_environment(container)
    for volume in spec.get("volumes") or ():
        yield from _named_by_volume(volume)
        if volume.get("ephemeral"):
            yield "persistentvolumeclaims", f"{pod}-{volume.get('name', '')}"
        for source in (volume.get("projected") or {}).get("sources") or ():
            for field, resource in (("configMap", "configmaps"), ("secret", "secrets")):
                if source.get(field):
                    yield resource, source[field].get("name", "")


def _named_by_environment(container: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for one in container.get("envFrom") or ():
        for field, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
            if one.get(field):
                yield resource, one[field].get("name", "")
    for one in container.get("env") or ():
        source = one.get("valueFrom") or {}
        for field, resource in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
            if source.get(field):
                yield resource, source[field].get("name", "")


def _named_by_volume(volume: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field, part, resource in (
        ("configMap", "name", "configmaps"),
        ("secret", "secretName", "secrets"),
        ("persistentVolumeClaim", "claimName", "persistentvolumeclaims"),
    ):
        if volume.get(field):
            yield resource, volume[field].get(part, "")
    for source in volume.values():
        # drivers with credentials of their own: cephfs, csi, flexVolume, iscsi, rbd ...
        if isinstance(source, dict):
            for part in ("secretRef", "nodePublishSecretRef"):
                if isinstance(source.get(part), dict):
                    yield "secrets", source[part].get("name", "")
