"""Structural schemas as nodes: what server-side apply and managedFields need to know of a place. Pure.

Comes in: a schema with its ``x-kubernetes-*`` words. Goes out: nodes (schema.py). Source: apiextensions.k8s.io/v1 JSONSchemaProps;
"Server-Side Apply", merge strategy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from netloom.local.apiserver import schema as types
from netloom.local.apiserver.schema import Node

_SCALARS = {"string": "string", "boolean": "bool", "integer": "int64", "number": "number"}
_META_OF = "v1/ConfigMap"
"""A kind that every server has: its metadata is typed as all metadata is."""


def metadata_node() -> Node:
    """The type of ``metadata`` (meta/v1 ObjectMeta)."""
    return types.root(_META_OF).fields["metadata"]


def root_node(schema: Mapping[str, Any]) -> Node:
    """The node of a whole object: its own schema, and apiVersion, kind and metadata as everywhere."""
    node = node_of(schema)
    if node.shape != "object":  # a schema that says nothing of the fields, but that there may be some
        node = Node("object")
        node.is_open = True
    node.fields = {**node.fields, **_type_meta(), "metadata": metadata_node()}
    return node


def node_of(schema: Mapping[str, Any]) -> Node:
    """The node of a place."""
    if schema.get("x-kubernetes-int-or-string"):
        return _told(Node("int-or-string"), schema)
    match schema.get("type"):
        case "object":
            return _told(_object(schema), schema)
        case "array":
            return _told(_list(schema), schema)
        case scalar:
            return _told(Node(_SCALARS.get(str(scalar), "any")), schema)


def _object(schema: Mapping[str, Any]) -> Node:
    members, others = schema.get("properties"), schema.get("additionalProperties")
    is_open = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    if members or embedded or (not others and not is_open):
        node = Node("object")
        node.fields = {name: node_of(member) for name, member in (members or {}).items()}
        if embedded:
            node.fields |= {**_type_meta(), "metadata": metadata_node()}
        node.required = tuple(schema.get("required") or ())
        node.is_open = is_open or bool(others)
    elif others:
        node = Node("map")
        node.element = node_of(others) if isinstance(others, Mapping) else types.ANY
    else:
        node = Node("any")
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    return node


def _list(schema: Mapping[str, Any]) -> Node:
    node = Node("list")
    items = schema.get("items")
    node.element = node_of(items) if isinstance(items, Mapping) else types.ANY
    node.list_type = schema.get("x-kubernetes-list-type") or "atomic"
    node.atomic = node.list_type == "atomic"
    node.keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    members = (items.get("properties") if isinstance(items, Mapping) else None) or {}
    node.key_defaults = {
        name: copy.deepcopy(members[name]["default"])
        for name in node.keys
        if "default" in members.get(name, {})
    }
    return node


def _told(node: Node, schema: Mapping[str, Any]) -> Node:
    node.text = str(schema.get("description") or "")
    return node


def _type_meta() -> dict[str, Node]:
    return {"apiVersion": Node("string"), "kind": Node("string")}
