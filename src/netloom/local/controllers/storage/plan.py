"""Which volume a claim gets. Pure.

In: a claim, volumes, classes; out: a volume, or what stands against it. Rules: core/v1 PersistentVolumeClaim (class, access modes, size,
selector, volume mode, binding mode). Volumes that are made here are directories that every node of the cluster has.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from netloom.api.quantity import parse
from netloom.api.selectors import from_selector
from netloom.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from netloom.local.controllers.objects import Pod, owner_reference
from netloom.local.controllers.storage.objects import Claim, StorageClass, Volume

PROVISIONER = "netloom.io/host-path"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
BOUND_HERE = "pv.kubernetes.io/bound-by-controller"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DIRECTORY = "/var/lib/netloom/volumes"
"""Where nodes show provisioned volumes: one directory of all nodes (runner/volumes)."""
WAITS = "WaitForFirstConsumer"


def default_class(classes: Iterable[StorageClass]) -> StorageClass | None:
    """The class of claims that name none: the newest of those that say so."""
    marked = [c for c in classes if c.metadata.annotations.get(DEFAULT_CLASS) == "true"]
    return max(marked, key=lambda c: (c.metadata.creation_timestamp or "", c.metadata.name), default=None)


def size_of(claim: Claim) -> Decimal:
    """Bytes that the claim asks for."""
    return parse(claim.spec.resources.requests.get("storage", 0)) or Decimal(0)


def is_kept_for(volume: Volume, claim: Claim) -> bool:
    """The volume's reference names this claim, and no other of the same name."""
    reference = volume.spec.claim_ref
    return (
        reference is not None
        and (reference.namespace, reference.name) == (claim.metadata.namespace, claim.metadata.name)
        and reference.uid in ("", claim.uid)
    )


def volume_for(claim: Claim, volumes: Iterable[Volume]) -> Volume | None:
    """A volume that is there and fits: one that is kept for the claim, else the smallest that nobody has."""
    fitting = [v for v in volumes if not v.is_terminating and _fits(claim, v)]
    kept = next((v for v in fitting if is_kept_for(v, claim)), None)
    free = [v for v in fitting if v.spec.claim_ref is None]
    return kept or min(free, key=lambda v: (_capacity(v), v.metadata.name), default=None)


def _capacity(volume: Volume) -> Decimal:
    return parse(volume.spec.capacity.get("storage", 0)) or Decimal(0)


def _fits(claim: Claim, volume: Volume) -> bool:
    wanted, offered = claim.spec, volume.spec
    return (
        (wanted.storage_class_name or "") == offered.storage_class_name
        and wanted.volume_mode == offered.volume_mode
        and set(wanted.access_modes) <= set(offered.access_modes)
        and _capacity(volume) >= size_of(claim)
        and (wanted.selector is None or from_selector(wanted.selector).matches(volume.metadata.labels))
    )


def provisioned(claim: Claim, class_: StorageClass) -> dict[str, Any]:
    """The volume to make for a claim: a directory of its own, kept for the claim."""
    name = f"pvc-{claim.uid}"
    return {
        "apiVersion": PERSISTENT_VOLUMES.api_version,
        "kind": PERSISTENT_VOLUMES.kind,
        "metadata": {
            "name": name,
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": ["kubernetes.io/pv-protection"],
        },
        "spec": {
            "accessModes": list(claim.spec.access_modes) or ["ReadWriteOnce"],
            "capacity": {"storage": claim.spec.resources.requests.get("storage", "1Gi")},
            "claimRef": reference_to(claim),
            "hostPath": {"path": f"{DIRECTORY}/{name}", "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": class_.reclaim_policy,
            "storageClassName": class_.metadata.name,
            "volumeMode": claim.spec.volume_mode,
        },
    }


def ephemeral_claim(pod: Pod, name: str, source: dict[str, Any]) -> dict[str, Any]:
    """The claim of a pod's ephemeral volume."""
    template = source.get("volumeClaimTemplate") or {}
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIMS.api_version,
        "kind": PERSISTENT_VOLUME_CLAIMS.kind,
        "metadata": {
            "namespace": pod.metadata.namespace,
            "name": name,
            "labels": metadata.get("labels") or {},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [owner_reference("v1", "Pod", pod)],
        },
        "spec": template.get("spec") or {},
    }


def reference_to(claim: Claim) -> dict[str, str]:
    """What a volume that is bound to the claim says of it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.metadata.namespace,
        "name": claim.metadata.name,
        "uid": claim.uid,
    }


def is_ours(volume: Volume) -> bool:
    """The volume was provisioned here, and its directory goes with it."""
    path = volume.spec.host_path.path if volume.spec.host_path else ""
    return (
        volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER
        and path == f"{DIRECTORY}/{volume.metadata.name}"
        and volume.metadata.name.startswith("pvc-")
    )
