"""What a kind asks of its documents, whether it is there from the start or defined by a CustomResourceDefinition. Pure.

Comes in: a kind and documents. Goes out: unknown fields, defaults, errors, the node that says how fields merge. Each question is answered by the modules of
its own: schema.py, defaults.py and validate.py, or those of custom/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.api.nulls import without_nulls
from netloom.local.apiserver import defaults, schema, validate
from netloom.local.apiserver.custom import filling, values
from netloom.local.apiserver.custom.served import CustomKind
from netloom.local.apiserver.fielderrors import FieldError
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.schema import Node

Document = dict[str, Any]


def is_defined(kind: Kind) -> bool:
    """The kind comes from a CustomResourceDefinition."""
    return isinstance(kind, CustomKind)


def is_terminating(kind: Kind) -> bool:
    """Its definition is being deleted, so that no object is made any more."""
    return isinstance(kind, CustomKind) and kind.terminating


def node_of(kind: Kind) -> Node:
    """How the fields of this kind are typed, merged and owned."""
    return kind.version_data.node if isinstance(kind, CustomKind) else schema.root(kind.gvk)


def unknown_fields(kind: Kind, document: Mapping[str, Any]) -> list[str]:
    """Paths of fields that the kind does not have."""
    if isinstance(kind, CustomKind):
        return filling.unknown_fields(kind.version_data.schema, document)
    return schema.unknown_fields(kind.gvk, document)


def type_errors(kind: Kind, document: Mapping[str, Any]) -> list[FieldError]:
    """Values that cannot be read at all (400). Of defined kinds everything can be read: their types are rules like others (422)."""
    return [] if isinstance(kind, CustomKind) else schema.type_errors(kind.gvk, document)


def applied(kind: Kind, document: Document) -> Document:
    """What a manager applies, without nulls; of a defined kind null may be a value."""
    if isinstance(kind, CustomKind):
        return document
    found: Document = without_nulls(document)
    return found


def complete(kind: Kind, document: Document) -> Document:
    """The document as it is to be kept: without what has no place in its kind, with defaults."""
    if not isinstance(kind, CustomKind):
        return defaults.set_defaults(kind.gvk, document)
    found = filling.filled(kind.version_data.schema, filling.pruned(kind.version_data.schema, document))
    metadata = {name: value for name, value in found["metadata"].items() if value not in (None, {}, [])}
    return {**found, "metadata": metadata}


def errors(kind: Kind, document: Document, old: Document | None) -> list[FieldError]:
    """What is wrong with a document; ``old`` is the one that it replaces."""
    if isinstance(kind, CustomKind):
        return values.errors(kind, document, old)
    return validate.validate(kind.gvk, document, old)
