"""Rules for storage: classes, volumes, claims, drivers. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Not here: binding a claim to a volume.
Source: API references of core/v1 and storage.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import forbidden, invalid, items, mapping, not_supported, required
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_objects import quantities

_ACCESS = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_MODES = ("Block", "Filesystem")
_NOT_SOURCES = frozenset({
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
    "storageClassName", "volumeAttributesClassName", "volumeMode",
})  # fmt: skip
_CLAIM_MUTABLE = ("resources", "volumeAttributesClassName")

Document = Mapping[str, Any]


def storage_class(document: Document, old: Document | None) -> Errors:
    """A storage.k8s.io/v1 StorageClass."""
    yield from names.named("provisioner", document.get("provisioner"), _provisioner)
    yield from names.one_of("reclaimPolicy", document.get("reclaimPolicy"), ("Delete", "Retain"), needed=True)
    modes = ("Immediate", "WaitForFirstConsumer")
    yield from names.one_of("volumeBindingMode", document.get("volumeBindingMode"), modes, needed=True)
    if old is not None:
        for field in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
            if (document.get(field) or None) != (old.get(field) or None):
                yield forbidden(field, f"updates to {field} are forbidden.")


def _provisioner(text: str) -> str:
    return names.qualified_name_problem(text.lower())


def _access(path: str, modes: list[Any]) -> Errors:
    if not modes:
        yield required(path, "at least 1 access mode is required")
    for number, mode in enumerate(modes):
        if mode not in _ACCESS:
            yield not_supported(f"{path}[{number}]", mode, _ACCESS)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        yield forbidden(path, "may not use ReadWriteOncePod with other access modes")


def persistent_volume(document: Document, old: Document | None) -> Errors:
    """A core/v1 PersistentVolume."""
    spec = mapping(document.get("spec"))
    yield from _access("spec.accessModes", items(spec.get("accessModes")))
    if "storage" not in mapping(spec.get("capacity")):
        yield required("spec.capacity", "must have storage")
    yield from quantities("spec.capacity", spec.get("capacity"))
    sources = [field for field in spec if field not in _NOT_SOURCES]
    if not sources:
        yield required("spec", "must specify a volume type")
    for extra in sources[1:]:
        yield forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
    policies = ("Delete", "Recycle", "Retain")
    policy = spec.get("persistentVolumeReclaimPolicy")
    yield from names.one_of("spec.persistentVolumeReclaimPolicy", policy, policies, needed=True)
    yield from names.one_of("spec.volumeMode", spec.get("volumeMode"), _MODES)
    if "local" in sources and not spec.get("nodeAffinity"):
        yield required("spec.nodeAffinity", "Local volume requires node affinity")
    if old is not None:
        before = mapping(old.get("spec"))
        if {f: spec[f] for f in sources} != {f: v for f, v in before.items() if f not in _NOT_SOURCES}:
            yield forbidden(
                "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
            )
        if spec.get("volumeMode") != before.get("volumeMode"):
            yield invalid("spec.volumeMode", spec.get("volumeMode"), "field is immutable")


def persistent_volume_claim(document: Document, old: Document | None) -> Errors:
    """A core/v1 PersistentVolumeClaim."""
    spec = mapping(document.get("spec"))
    yield from claim_spec("spec", spec)
    if old is None:
        return
    before = mapping(old.get("spec"))
    unbound = not before.get("volumeName")
    # what binds a claim names its volume, and the class where nobody had said one
    may_change = {*_CLAIM_MUTABLE, *(("volumeName",) if unbound else ())}
    if not before.get("storageClassName"):
        may_change.add("storageClassName")
    if {n: v for n, v in spec.items() if n not in may_change} != {
        n: v for n, v in before.items() if n not in may_change
    }:
        yield forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


def claim_spec(path: str, spec: Document) -> Errors:
    """The spec of a claim, also within a StatefulSet."""
    yield from _access(f"{path}.accessModes", items(spec.get("accessModes")))
    requests = mapping(mapping(spec.get("resources")).get("requests"))
    if "storage" not in requests:
        yield required(f"{path}.resources[storage]")
    yield from quantities(f"{path}.resources.requests", requests)
    yield from names.label_selector(f"{path}.selector", spec.get("selector"))
    yield from names.optional(
        f"{path}.storageClassName", spec.get("storageClassName"), names.subdomain_problem
    )
    yield from names.one_of(f"{path}.volumeMode", spec.get("volumeMode"), _MODES)


def csi_driver(document: Document, old: Document | None) -> Errors:
    """A storage.k8s.io/v1 CSIDriver."""
    spec = mapping(document.get("spec"))
    policies = ("File", "None", "ReadWriteOnceWithFSType")
    yield from names.one_of("spec.fsGroupPolicy", spec.get("fsGroupPolicy"), policies)
    for number, mode in enumerate(items(spec.get("volumeLifecycleModes"))):
        path = f"spec.volumeLifecycleModes[{number}]"
        yield from names.one_of(path, mode, ("Ephemeral", "Persistent"), needed=True)
    if old is not None and spec.get("attachRequired") != mapping(old.get("spec")).get("attachRequired"):
        yield invalid("spec.attachRequired", spec.get("attachRequired"), "field is immutable")


def volume_attachment(document: Document, old: Document | None) -> Errors:
    """A storage.k8s.io/v1 VolumeAttachment."""
    spec = mapping(document.get("spec"))
    for field in ("attacher", "nodeName"):
        if not spec.get(field):
            yield required(f"spec.{field}")
    source = mapping(spec.get("source"))
    if (source.get("persistentVolumeName") is not None) is (source.get("inlineVolumeSpec") is not None):
        yield required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    if old is not None and spec != mapping(old.get("spec")):
        yield invalid("spec", "", "field is immutable")
