"""A version of a defined kind as it is served. Pure.

Comes in: a CustomResourceDefinition whose names are accepted. Goes out: kinds with their schemas, columns and scale paths. Not here: whether
the definition is in order (definition.py, structure.py), and what the schema does to documents (values.py, filling.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.custom.nodes import root_node
from netloom.local.apiserver.kind import VERBS, Kind, Subresource

_READ_WRITE = ("get", "patch", "update")
_READ_AND_DELETE = ("delete", "deletecollection", "get", "list", "watch")
_STATUS = "status"

Schema = Mapping[str, Any]


class ColumnData(msgspec.Struct, frozen=True, rename="camel"):
    """An additional column of `kubectl get` (apiextensions.k8s.io/v1 CustomResourceColumnDefinition)."""

    name: str
    type: str
    json_path: str
    priority: int = 0
    format: str = ""
    description: str = ""


_AGE = ColumnData("Age", "date", ".metadata.creationTimestamp")


class ScalePaths(msgspec.Struct, frozen=True, rename="camel"):
    """Where a Scale finds its numbers, as simple paths such as ``.spec.replicas``."""

    spec_replicas_path: str
    status_replicas_path: str
    label_selector_path: str = ""


class Version:
    """What a definition says of one version. One value for each reading of the definition: compared by identity."""

    def __init__(self, spec: Mapping[str, Any], version: Mapping[str, Any]) -> None:
        names = spec["names"]
        said = version.get("schema") or {}
        self.schema: Schema = said.get("openAPIV3Schema") or {"type": "object"}
        self.node = root_node(self.schema)
        self.list_kind = str(names.get("listKind") or f"{names['kind']}List")
        self.converts_by_webhook = (spec.get("conversion") or {}).get("strategy") == "Webhook"
        self.warnings = _warnings(spec, version)
        self.selectable = tuple(
            dict.fromkeys(field for one in spec["versions"] for field in _selectable(one))
        )
        """Fields that objects can be selected by in any version."""
        columns = version.get("additionalPrinterColumns")
        self.columns = msgspec.convert(columns, tuple[ColumnData, ...]) if columns else (_AGE,)
        scale = (version.get("subresources") or {}).get("scale")
        self.scale = msgspec.convert(scale, ScalePaths) if scale else None


class CustomKind(Kind, frozen=True, kw_only=True):
    """A version of a defined kind.

    Attributes:
        version_data: what the definition says of it.
        terminating: the definition is being deleted, so nothing new is made.
        stored: the version that documents are kept in; None where it is this one. For a kind that every server of ours has, that one.
    """

    version_data: Version
    terminating: bool = False
    stored: Kind | None = None

    @property
    def recorded(self) -> tuple[str, ...]:
        """Objects are kept in one version and selected in any."""
        return self.version_data.selectable


def kinds_of(definition: Mapping[str, Any]) -> tuple[CustomKind, ...]:
    """The versions of a definition, the one that is stored first, served or not."""
    spec = definition["spec"]
    terminating = "deletionTimestamp" in definition["metadata"]
    stored = next(version for version in spec["versions"] if version.get("storage"))
    first = _kind(spec, stored, terminating=terminating, stored=None)
    return (
        first,
        *(
            _kind(spec, version, terminating=terminating, stored=first)
            for version in spec["versions"]
            if version is not stored
        ),
    )


def more_versions(definition: Mapping[str, Any], kind: Kind) -> tuple[CustomKind, ...]:
    """Served versions of a definition of a kind that is there from the start in one version only: they show the same objects."""
    spec = definition["spec"]
    return tuple(
        _kind(spec, version, terminating=False, stored=kind)
        for version in spec["versions"]
        if version["served"] and version["name"] != kind.version
    )


def list_kind(kind: Kind) -> str:
    """The kind of a list of these objects."""
    return kind.version_data.list_kind if isinstance(kind, CustomKind) else f"{kind.kind}List"


def verbs_of(kind: Kind) -> tuple[str, ...]:
    """What can be done with objects of a kind; those of a definition that is going are only read and deleted."""
    return _READ_AND_DELETE if isinstance(kind, CustomKind) and kind.terminating else VERBS


def is_served(definition: Mapping[str, Any], kind: CustomKind) -> bool:
    """Whether clients see this version."""
    return any(v["name"] == kind.version and v.get("served") for v in definition["spec"]["versions"])


def _kind(
    spec: Mapping[str, Any], version: Mapping[str, Any], *, terminating: bool, stored: Kind | None
) -> CustomKind:
    names = spec["names"]
    parts = version.get("subresources") or {}
    found = []
    if "scale" in parts:
        found.append(Subresource("scale", "Scale", _READ_WRITE, "autoscaling", "v1"))
    if _STATUS in parts:
        found.append(Subresource(_STATUS, names["kind"], _READ_WRITE))
    return CustomKind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names.get("singular") or names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=tuple(found),
        selectable=_selectable(version),
        counts_generations=True,
        version_data=Version(spec, version),
        terminating=terminating,
        stored=stored,
    )


def _selectable(version: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(one["jsonPath"]).removeprefix(".") for one in version.get("selectableFields") or ())


def _warnings(spec: Mapping[str, Any], version: Mapping[str, Any]) -> tuple[str, ...]:
    """What users of a deprecated version are told."""
    if not version.get("deprecated"):
        return ()
    plain = f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
    return (str(version.get("deprecationWarning") or plain),)
