"""What cells of `kubectl get` are made of: columns, and how parts of a document are written in them. Pure.

Comes in: parts of documents. Goes out: texts and numbers. Not here: which kind has which columns (columns.py and the modules
that it names). Source: the columns that kubectl's users know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.ages import age
from netloom.local.apiserver.jsonvalue import Json

Document = Mapping[str, Any]
NONE = "<none>"


class Column(msgspec.Struct, frozen=True):
    """One column; ``priority`` 1 is shown with ``-o wide`` only (meta/v1 TableColumnDefinition)."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""


class Sheet(msgspec.Struct, frozen=True):
    """Columns of a kind, and the function that fills them."""

    columns: tuple[Column, ...]
    cells: Callable[[Document, float], list[Any]]


def columns(text: str) -> tuple[Column, ...]:
    """``Name Ready:integer IP+``: a type after the colon, ``+`` for wide, ``_`` for a space."""
    columns = []
    for word in text.split():
        name, _, type_ = word.rstrip("+").partition(":")
        plain = name.replace("_", " ")
        columns.append(
            Column(plain, type_ or "string", int(word.endswith("+")), "name" if plain == "Name" else "")
        )
    return tuple(columns)


def meta(d: Document) -> Mapping[str, Any]:
    """The metadata of a document."""
    return d["metadata"]  # type: ignore[no-any-return] # checked when it was stored


def part(d: Document, *path: str) -> Json:
    """The value at a path of fields; None where it leads nowhere."""
    found: Any = d
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def some(d: Document, *path: str) -> list[Any]:
    """The list at a path of fields; an empty one where there is none."""
    found = part(d, *path)
    return found if isinstance(found, list) else []


def born(d: Document, now: float) -> str:
    """How old the object is."""
    return age(meta(d).get("creationTimestamp"), now)


def short(words: Iterable[str], limit: int = 3) -> str:
    """A few words, and how many more there are."""
    found = list(words)
    more = f" + {len(found) - limit} more..." if len(found) > limit else ""
    return ",".join(found[:limit]) + more if found else NONE


def selector_text(selector: Json) -> str:
    """A label selector, or a plain map of labels, as kubectl writes it."""
    if not isinstance(selector, Mapping):
        return NONE
    plain = not ({"matchLabels", "matchExpressions"} & selector.keys())
    labels = selector if plain else selector.get("matchLabels") or {}
    terms = [f"{k}={v}" for k, v in sorted(labels.items())]
    for e in () if plain else selector.get("matchExpressions") or ():
        values = ",".join(sorted(e.get("values") or ()))
        match e.get("operator"):
            case "Exists":
                terms.append(e["key"])
            case "DoesNotExist":
                terms.append(f"!{e['key']}")
            case operator:
                terms.append(f"{e.get('key')} {str(operator).lower()} ({values})")
    return ",".join(terms) or NONE


def ordinary(d: Document, now: float) -> list[Any]:
    """Name and age."""
    return [meta(d)["name"], born(d, now)]


def template(d: Document) -> list[str]:
    """Containers, images and selector of what has a pod template."""
    containers = some(d, "spec", "template", "spec", "containers")
    names = ",".join(str(c.get("name", "")) for c in containers)
    images = ",".join(str(c.get("image", "")) for c in containers)
    return [names, images, selector_text(part(d, "spec", "selector"))]


def count(d: Document, field: str) -> int:
    """A number of the status; 0 where nobody has counted."""
    return int(part(d, "status", field) or 0)


def wanted(d: Document) -> int:
    """The replicas that are wanted; 1 where nothing is said."""
    replicas = part(d, "spec", "replicas")
    return 1 if replicas is None else int(replicas)
