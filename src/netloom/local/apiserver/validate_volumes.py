"""Rules for the volumes of pods and pod templates. Pure.

Comes in: ``volumes`` of a pod's spec. Goes out: FieldErrors. Not here: where containers mount them (validate_containers.py), and whether
what they name is there. Source: API reference of core/v1 Volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_storage import claim_spec

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "configMap": ("name",),
    "secret": ("secretName",),
    "hostPath": ("path",),
    "persistentVolumeClaim": ("claimName",),
    "nfs": ("server", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "csi": ("driver",),
    "rbd": ("monitors", "image"),
    "cephfs": ("monitors",),
    "glusterfs": ("endpoints", "path"),
    "gitRepo": ("repository",),
}
_HOST_PATHS = (
    *("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate"),
    *("File", "FileOrCreate", "Socket"),
)
_MODES = 0o777
_SHORTEST_TOKEN_S = 600
_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_PROJECTED = (
    "clusterTrustBundle",
    "configMap",
    "downwardAPI",
    "podCertificate",
    "secret",
    "serviceAccountToken",
)

Document = Mapping[str, Any]


def volumes(path: str, found: list[Any]) -> Errors:
    """All volumes of a pod."""
    seen: set[Json] = set()
    for number, item in enumerate(found):
        volume, here = mapping(item), f"{path}[{number}]"
        name = volume.get("name")
        yield from names.named(f"{here}.name", name, names.label_problem)
        if name in seen and name:
            yield duplicate(f"{here}.name", name)
        seen.add(name)
        sources = [field for field in volume if field != "name"]
        if not sources:
            yield required(here, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{here}.{extra}", "may not specify more than 1 volume type")
        for source in sources[:1]:
            yield from _source(f"{here}.{source}", source, mapping(volume[source]))


def _source(path: str, kind: str, source: Document) -> Errors:
    for field in _NEEDED.get(kind, ()):
        if not source.get(field):
            yield required(f"{path}.{field}")
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    match kind:
        case "configMap" | "secret":
            yield from _items(f"{path}.items", source)
        case "downwardAPI":
            yield from _downward(f"{path}.items", source)
        case "hostPath":
            yield from _host_path(path, source)
        case "ephemeral":
            template = mapping(source.get("volumeClaimTemplate"))
            if not template:
                yield required(f"{path}.volumeClaimTemplate")
            else:
                yield from claim_spec(f"{path}.volumeClaimTemplate.spec", mapping(template.get("spec")))
        case "projected":
            yield from _projected(f"{path}.sources", items(source.get("sources")))


def _host_path(path: str, source: Document) -> Errors:
    if ".." in str(source.get("path") or "").split("/"):
        yield invalid(f"{path}.path", source["path"], "must not contain '..'")
    if (source.get("type") or "") not in _HOST_PATHS:
        yield not_supported(f"{path}.type", source["type"], _HOST_PATHS)


def _mode(path: str, value: Json) -> Errors:
    if isinstance(value, int) and not 0 <= value <= _MODES:
        yield invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive")


def _places(path: str, source: Document) -> Iterator[tuple[str, Document]]:
    for number, item in enumerate(items(source.get("items"))):
        yield f"{path}[{number}]", mapping(item)


def _items(path: str, source: Document) -> Errors:
    for here, item in _places(path, source):
        if not item.get("key"):
            yield required(f"{here}.key")
        yield from _file(here, item)


def _file(path: str, item: Document) -> Errors:
    text = str(item.get("path") or "")
    if not text:
        yield required(f"{path}.path")
    elif text.startswith("/"):
        yield invalid(f"{path}.path", text, "must be a relative path")
    elif ".." in text.split("/"):
        yield invalid(f"{path}.path", text, "must not contain '..'")
    elif text.startswith(".."):
        yield invalid(f"{path}.path", text, "must not start with '..'")
    yield from _mode(f"{path}.mode", item.get("mode"))


def _downward(path: str, source: Document) -> Errors:
    for here, item in _places(path, source):
        yield from _file(here, item)
        field, resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if field is None and resource is None:
            yield required(here, "one of fieldRef and resourceFieldRef is required")
        elif field is not None and resource is not None:
            yield invalid(
                here, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
            )
        elif resource is not None:
            for name in ("containerName", "resource"):
                if not mapping(resource).get(name):
                    yield required(f"{here}.resourceFieldRef.{name}")
        else:
            yield from _field(f"{here}.fieldRef.fieldPath", mapping(field).get("fieldPath"))


def _field(path: str, value: Json) -> Errors:
    text = str(value or "")
    if not text:
        yield required(path)
    elif text not in _FIELDS and not text.startswith(("metadata.annotations['", "metadata.labels['")):
        yield not_supported(path, text, _FIELDS)


def _projected(path: str, sources: list[Any]) -> Errors:
    for number, item in enumerate(sources):
        source, here = mapping(item), f"{path}[{number}]"
        given = [field for field in _PROJECTED if source.get(field) is not None]
        if len(given) != 1:
            why = "may not specify more than 1 volume type" if given else "must specify a volume type"
            yield forbidden(here, why) if given else required(here, why)
        for kind in given[:1]:
            yield from _projection(f"{here}.{kind}", kind, mapping(source[kind]))


def _projection(path: str, kind: str, source: Document) -> Errors:
    match kind:
        case "configMap" | "secret":
            if not source.get("name"):
                yield required(f"{path}.name")
            yield from _items(f"{path}.items", source)
        case "downwardAPI":
            yield from _downward(f"{path}.items", source)
        case "serviceAccountToken":
            seconds = source.get("expirationSeconds")
            if isinstance(seconds, int) and seconds < _SHORTEST_TOKEN_S:
                yield invalid(
                    f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
                )
            yield from _file(path, source)
