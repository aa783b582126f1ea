"""Claims, volumes and classes as the binder reads them (core/v1, storage.k8s.io/v1). Not here: any behaviour."""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.api.meta import LabelSelector
from netloom.local.controllers.objects import Loaded

Quantity = str | int | float


class Resources(msgspec.Struct, frozen=True):
    """core/v1 VolumeResourceRequirements."""

    requests: dict[str, Quantity] = {}


class ClaimSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PersistentVolumeClaimSpec; no class at all (None) is not the same as the empty one."""

    access_modes: tuple[str, ...] = ()
    selector: LabelSelector | None = None
    resources: Resources = Resources()
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str = "Filesystem"


class ClaimStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PersistentVolumeClaimStatus."""

    phase: str = ""
    access_modes: tuple[str, ...] = ()
    capacity: dict[str, Quantity] = {}


class Claim(Loaded, frozen=True):
    """core/v1 PersistentVolumeClaim."""

    spec: ClaimSpec = ClaimSpec()
    status: ClaimStatus = ClaimStatus()


class ClaimRef(msgspec.Struct, frozen=True):
    """The claim that a volume is bound to or kept for (core/v1 ObjectReference)."""

    namespace: str = ""
    name: str = ""
    uid: str = ""


class HostPath(msgspec.Struct, frozen=True):
    """core/v1 HostPathVolumeSource."""

    path: str = ""


class VolumeSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PersistentVolumeSpec."""

    capacity: dict[str, Quantity] = {}
    access_modes: tuple[str, ...] = ()
    claim_ref: ClaimRef | None = None
    persistent_volume_reclaim_policy: str = "Retain"
    storage_class_name: str = ""
    volume_mode: str = "Filesystem"
    host_path: HostPath | None = None
    node_affinity: dict[str, Any] | None = None


class VolumeStatus(msgspec.Struct, frozen=True):
    """core/v1 PersistentVolumeStatus."""

    phase: str = ""
    message: str = ""


class Volume(Loaded, frozen=True):
    """core/v1 PersistentVolume."""

    spec: VolumeSpec = VolumeSpec()
    status: VolumeStatus = VolumeStatus()


class StorageClass(Loaded, frozen=True, rename="camel"):
    """storage.k8s.io/v1 StorageClass."""

    provisioner: str = ""
    reclaim_policy: str = "Delete"
    volume_binding_mode: str = "Immediate"
