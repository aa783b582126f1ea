"""OpenAPI documents of the served kinds: what ``kubectl explain``, ``kubectl apply`` and client generators read. Pure.

Comes in: the schema (schema.py) and the served kinds (kinds.py). Goes out: JSON, made on first use and kept. Not here: HTTP.

``/openapi/v3`` is an index of paths with a hash; ``/openapi/v3/<path>`` a document of one group and version. Answer both with
``Content-Type: application/json``. ``/openapi/v2`` is one document of everything; client-go reads it as protobuf only, which
openapi_protobuf.py makes of it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from netloom.local.apiserver import kinds, schema
from netloom.local.apiserver.custom import published
from netloom.local.apiserver.custom.nodes import metadata_node
from netloom.local.apiserver.custom.served import CustomKind, list_kind
from netloom.local.apiserver.kind import Kind, Subresource
from netloom.local.apiserver.openapi_words import DELETE, LIST, PARAMETERS, PATCHES, PATCHES_OF_DEFINED, WRITE
from netloom.local.apiserver.schema import Node

_TITLE = "Kubernetes"
_VERSION = "v1.34.0"
_INTSTR = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"

_SCALARS: dict[str, dict[str, str]] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
}
_NAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "quantity": (_QUANTITY, {"type": "string", "description": "An amount, such as 500m, 1.5 or 64Mi."}),
    "int-or-string": (
        _INTSTR,
        {"type": "string", "format": "int-or-string", "description": "A number or a text."},
    ),
    "time": (
        f"{_META}.Time",
        {"type": "string", "format": "date-time", "description": "A time in UTC, to the second."},
    ),
    "microtime": (
        f"{_META}.MicroTime",
        {"type": "string", "format": "date-time", "description": "A time in UTC, to the microsecond."},
    ),
    "any": (f"{_META}.FieldsV1", {"type": "object", "description": "A set of fields."}),
}
"""Scalars with a definition of their own, as explain names their types."""

Document = dict[str, Any]
Served = tuple[Kind, ...]


class _Dialect(msgspec.Struct, frozen=True):
    """What differs between OpenAPI 2 and 3: where definitions are, and how bodies are told."""

    v3: bool

    def reference(self, name: str, description: str = "") -> Document:
        """A reference to a definition."""
        where = "#/components/schemas/" if self.v3 else "#/definitions/"
        link: Document = {"$ref": where + name}
        if not description:
            return link
        return (
            {"description": description, "allOf": [link]} if self.v3 else {"description": description, **link}
        )

    def query(self, name: str) -> Document:
        """A query parameter."""
        kind, description = PARAMETERS[name]
        shape: Document = {"schema": {"type": kind}} if self.v3 else {"type": kind}
        return {"name": name, "in": "query", "description": description, **shape}

    def in_path(self, name: str) -> Document:
        """A part of the path."""
        shape: Document = {"schema": {"type": "string"}} if self.v3 else {"type": "string"}
        return {"name": name, "in": "path", "required": True, **shape}

    def takes(self, operation: Document, name: str, media: tuple[str, ...]) -> None:
        """Gives the operation a body."""
        if self.v3:
            content = {kind: {"schema": self.reference(name)} for kind in media}
            operation["requestBody"] = {"content": content, "required": True}
        else:
            operation["consumes"] = list(media)
            operation["parameters"].append(
                {"name": "body", "in": "body", "required": True, "schema": self.reference(name)}
            )

    def gives(self, operation: Document, name: str, code: str) -> None:
        """Says what the operation answers."""
        answer: Document = {"description": "OK" if code == "200" else "Created"}
        if self.v3:
            answer["content"] = {"application/json": {"schema": self.reference(name)}}
        else:
            operation["produces"] = ["application/json"]
            answer["schema"] = self.reference(name)
        operation["responses"] = {code: answer, "401": {"description": "Unauthorized"}}


_V2 = _Dialect(v3=False)
_V3 = _Dialect(v3=True)


def type_name(key: str) -> str:
    """OpenAPI name of a type: ``core.Pod`` -> ``io.k8s.api.core.v1.Pod``."""
    package, _, name = key.partition(".")
    return f"{schema.data().packages[package]}.{name}"


class _Definitions:
    """Definitions of all types that are asked for, and of what they refer to."""

    def __init__(self, dialect: _Dialect) -> None:
        self._dialect = dialect
        self.found: dict[str, Document] = {}
        self._kinds: dict[str, list[Document]] = {}
        for entry in schema.data().kinds:
            api_version, _, kind = entry.gvk.rpartition("/")
            group, _, version = api_version.rpartition("/")
            self._kinds.setdefault(entry.type, []).append({"group": group, "version": version, "kind": kind})

    def add(self, node: Node) -> str:
        """The name of the definition of an object's type."""
        name = type_name(node.type_key)
        if name in self.found:
            return name
        described = schema.data().types[node.type_key]
        definition: Document = {"type": "object"}
        self.found[name] = definition
        if described.text:
            definition["description"] = described.text
        if node.required:
            definition["required"] = list(node.required)
        if described.atomic:
            definition["x-kubernetes-map-type"] = "atomic"
        if node.type_key in self._kinds:
            definition["x-kubernetes-group-version-kind"] = self._kinds[node.type_key]
        definition["properties"] = {field: self._of(member) for field, member in node.fields.items()}
        return name

    def of_kind(self, kind: Kind) -> str:
        """The name of the definition of a kind."""
        if not isinstance(kind, CustomKind):
            return self.add(schema.root(kind.gvk))
        name = published.name(kind)
        meta = self._dialect.reference(self.add(metadata_node()), "Standard object's metadata.")
        self.found[name] = published.document(kind, meta, v3=self._dialect.v3)
        return name

    def add_list(self, kind: Kind) -> str:
        """The name of the definition of a kind's list."""
        item = self.of_kind(kind)
        name = f"{item}List"
        self.found[name] = {
            "type": "object",
            "description": f"Objects of kind {kind.kind}.",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": "Group and version of this representation."},
                "items": {"type": "array", "items": self._dialect.reference(item)},
                "kind": {"type": "string", "description": "The kind of list."},
                "metadata": self._dialect.reference(self.add(schema.root("v1/Status").fields["metadata"])),
            },
            "x-kubernetes-group-version-kind": [
                {"group": kind.group, "version": kind.version, "kind": list_kind(kind)}
            ],
        }
        return name

    def _of(self, node: Node) -> Document:
        shape = self._shape(node)
        if node.merge:
            shape["x-kubernetes-patch-strategy"] = "merge,retainKeys" if node.retain_keys else "merge"
            if node.merge_key:
                shape["x-kubernetes-patch-merge-key"] = node.merge_key
        elif node.retain_keys:
            shape["x-kubernetes-patch-strategy"] = "retainKeys"
        return shape

    def _shape(self, node: Node) -> Document:
        if node.shape == "object":
            own = schema.data().types[node.type_key].text
            return self._dialect.reference(self.add(node), node.text if node.text != own else "")
        if node.shape in _NAMED:
            name, definition = _NAMED[node.shape]
            if self._dialect.v3 and node.shape == "int-or-string":
                definition = {**definition, "oneOf": [{"type": "integer"}, {"type": "string"}]}
                del definition["type"]
            self.found.setdefault(name, definition)
            return self._dialect.reference(name, node.text)
        found: Document
        if node.shape == "list":
            found = {
                "type": "array",
                "items": self._shape(node.element),
                "x-kubernetes-list-type": node.list_type,
            }
            if node.keys:
                found["x-kubernetes-list-map-keys"] = list(node.keys)
        elif node.shape == "map":
            found = {"type": "object", "additionalProperties": self._shape(node.element)}
            if node.atomic:
                found["x-kubernetes-map-type"] = "atomic"
        else:
            found = dict(_SCALARS[node.shape])
        if node.text:
            found["description"] = node.text
        return found


class _Paths:
    """Paths and operations of kinds."""

    def __init__(self, dialect: _Dialect, definitions: _Definitions) -> None:
        self._dialect = dialect
        self._definitions = definitions
        self._status = definitions.add(schema.root("v1/Status"))
        self._options = definitions.add(schema.root("v1/DeleteOptions"))

    def of(self, kind: Kind) -> Iterator[tuple[str, Document]]:
        """All paths of a kind."""
        base = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
        item = self._definitions.of_kind(kind)
        several = self._definitions.add_list(kind)
        group_kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        lists = self._operation("list", group_kind, LIST, gives=several)
        collection: Document = {
            "get": lists,
            "post": self._operation("post", group_kind, WRITE, takes=item, gives=item),
            "delete": self._operation(
                "deletecollection", group_kind, (*LIST, *DELETE), takes=self._options, gives=self._status
            ),
        }
        where = (
            f"{base}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{base}/{kind.plural}"
        )
        yield where, self._path(collection, where)
        if kind.namespaced:
            yield f"{base}/{kind.plural}", self._path({"get": lists}, f"{base}/{kind.plural}")
        one = {
            **self._read_write(group_kind, item, is_defined=isinstance(kind, CustomKind)),
            "delete": self._operation("delete", group_kind, DELETE, takes=self._options, gives=self._status),
        }
        yield f"{where}/{{name}}", self._path(one, f"{where}/{{name}}")
        for part in kind.subresources:
            if path := self._subresource(kind, part, item):
                yield f"{where}/{{name}}/{part.name}", self._path(path, f"{where}/{{name}}/{part.name}")

    def _read_write(self, group_kind: Document, item: str, *, is_defined: bool) -> Document:
        return {
            "get": self._operation("get", group_kind, (), gives=item),
            "put": self._operation("put", group_kind, WRITE, takes=item, gives=item),
            "patch": self._operation(
                "patch",
                group_kind,
                (*WRITE, "force"),
                takes=f"{_META}.Patch",
                gives=item,
                media=PATCHES_OF_DEFINED if is_defined else PATCHES,
            ),
        }

    def _subresource(self, kind: Kind, part: Subresource, item: str) -> Document:
        group, version = part.group or kind.group, part.version or kind.version
        gvk = f"{group}/{version}/{part.kind}".lstrip("/")
        if gvk != kind.gvk and not schema.known(gvk):
            return {}
        name = item if gvk == kind.gvk else self._definitions.add(schema.root(gvk))
        group_kind = {"group": group, "version": version, "kind": part.kind}
        if "create" in part.verbs:
            return {"post": self._operation("post", group_kind, WRITE, takes=name, gives=name)}
        operations = self._read_write(group_kind, name, is_defined=isinstance(kind, CustomKind))
        served = {"get": "get", "put": "update", "patch": "patch"}
        return {method: operation for method, operation in operations.items() if served[method] in part.verbs}

    def _operation(
        self,
        action: str,
        group_kind: Document,
        query: tuple[str, ...],
        *,
        gives: str,
        takes: str = "",
        media: tuple[str, ...] = ("application/json",),
    ) -> Document:
        operation: Document = {
            "parameters": [self._dialect.query(name) for name in dict.fromkeys(query)],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group_kind,
        }
        if action == "patch":
            self._definitions.found.setdefault(
                takes, {"type": "object", "description": "A patch, by its media type."}
            )
        if takes:
            self._dialect.takes(operation, takes, media)
        self._dialect.gives(operation, gives, "201" if action == "post" else "200")
        return operation

    def _path(self, operations: Document, where: str) -> Document:
        names = [name for name in ("namespace", "name") if f"{{{name}}}" in where]
        return {**operations, "parameters": [self._dialect.in_path(name) for name in names]}


def _group_path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.version}"


def _document(dialect: _Dialect, served: list[Kind]) -> bytes:
    definitions = _Definitions(dialect)
    paths = _Paths(dialect, definitions)
    found = {where: path for kind in served for where, path in paths.of(kind)}
    document: Document = {
        **({"openapi": "3.0.0"} if dialect.v3 else {"swagger": "2.0"}),
        "info": {"title": _TITLE, "version": _VERSION},
        "paths": dict(sorted(found.items())),
    }
    sorted_types = dict(sorted(definitions.found.items()))
    if dialect.v3:
        document["components"] = {"schemas": sorted_types}
    else:
        document["definitions"] = sorted_types
    return msgspec.json.encode(document)


@functools.lru_cache(maxsize=2)
def v2_document(served: Served = kinds.ALL) -> bytes:
    """``/openapi/v2`` as JSON: all kinds."""
    return _document(_V2, list(served))


@functools.lru_cache(maxsize=2)
def v3_index(served: Served = kinds.ALL) -> bytes:
    """``/openapi/v3`` as JSON: the path of each group and version, with a hash by which clients cache."""
    known = _known()
    found: dict[str, list[Kind]] = {}
    for kind in served:
        found.setdefault(_group_path(kind), []).append(kind)
    paths = {}
    for path, members in sorted(found.items()):
        defined = [published.digest(kind) for kind in members if isinstance(kind, CustomKind)]
        tag = hashlib.sha256("".join(defined).encode()).hexdigest().upper() if defined else known
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={tag}"}
    return msgspec.json.encode({"paths": paths})


@functools.cache
def _known() -> str:
    """What tells the schemas of one version of this server from those of another."""
    content = repr((schema.data().source, schema.data(), kinds.ALL)).encode()
    return hashlib.sha256(content).hexdigest().upper()


@functools.lru_cache(maxsize=128)
def v3_group(group_version: str, served: Served = kinds.ALL) -> bytes:
    """``/openapi/v3/<path>`` as JSON.

    Args:
        group_version: the path of the index, such as ``api/v1`` or ``apis/apps/v1``; ``v1`` and ``apps/v1`` mean the same.
        served: all kinds that are served.

    Raises:
        KeyError: no kind of this group and version is served.
    """
    asked = group_version.removeprefix("apis/").removeprefix("api/")
    members = [kind for kind in served if kind.api_version == asked]
    if not members:
        raise KeyError(group_version)
    return _document(_V3, members)
