"""The words in which our CustomResourceDefinitions are written: parts of structural schemas (apiextensions.k8s.io/v1). Pure.

Comes in: bounds, defaults, descriptions. Goes out: JSON schemas as plain dictionaries. Not here: any kind's own fields.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

HOST_LABELS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
GATEWAY_GROUP = "gateway.networking.k8s.io"


def text(about: str = "", **bounds: object) -> Schema:
    """A text; ``longest`` and ``least`` bound its length."""
    return _described({"type": "string", **_renamed(bounds, "Length")}, about)


def number(about: str = "", *, wide: bool = False, **bounds: object) -> Schema:
    """An integer; ``least`` and ``most`` bound it."""
    found: Schema = {"type": "integer", "format": "int64" if wide else "int32"}
    for ours, theirs in (("least", "minimum"), ("most", "maximum")):
        if ours in bounds:
            found[theirs] = bounds.pop(ours)
    return _described({**found, **bounds}, about)


def yes_or_no(about: str = "", **more: object) -> Schema:
    """A boolean."""
    return _described({"type": "boolean", **more}, about)


def words(about: str, *choices: str, **more: object) -> Schema:
    """One of these words."""
    return _described({"type": "string", "enum": list(choices), **more}, about)


def several(item: Schema, about: str = "", *, keys: tuple[str, ...] = (), **bounds: object) -> Schema:
    """A list; ``keys`` name its items, ``unique=True`` makes it a set; ``rules`` are (CEL, message)."""
    kind = "map" if keys else "set" if bounds.pop("unique", False) else "atomic"
    rules = bounds.pop("rules", ())
    found: Schema = {"type": "array", "items": item, "x-kubernetes-list-type": kind}
    found |= _renamed(bounds, "Items")
    if keys:
        found["x-kubernetes-list-map-keys"] = list(keys)
    return _described(_ruled(found, rules), about)


def table(about: str = "", *, value: Schema | None = None, most: int = 16) -> Schema:
    """A map of texts."""
    return _described(
        {"type": "object", "additionalProperties": value or text(longest=4096), "maxProperties": most}, about
    )


def group(
    about: str, fields: dict[str, Schema], *, needed: tuple[str, ...] = (), rules: tuple[tuple[str, str], ...] = (), **more: object
) -> Schema:  # fmt: skip
    """An object with fields; ``rules`` are (CEL, message)."""
    found: Schema = {"type": "object"}
    if needed:
        found["required"] = list(needed)
    return _described({**_ruled(found, rules), **more, "properties": fields}, about)


def named(kind: str, about: str, spec: Schema, status: Schema | None = None) -> Schema:
    """The whole object of a kind."""
    fields: dict[str, Schema] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": spec,
    }
    if status is not None:
        fields["status"] = status
    return group(f"{kind}: {about}", fields, needed=("spec",))


def pending(*types: str) -> list[dict[str, str]]:
    """The conditions of an object that no controller has seen."""
    return [
        {
            "type": word,
            "status": "Unknown",
            "reason": "Pending",
            "message": "Waiting for controller",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }
        for word in types
    ]


def conditions(*waiting: str, most: int = 8) -> Schema:
    """Named statements; ``waiting`` are there from the start."""
    item = group(
        "A named statement.",
        {
            "type": text(longest=316, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"),
            "status": words("", "True", "False", "Unknown"),
            "observedGeneration": number(wide=True, least=0),
            "lastTransitionTime": text(format="date-time"),
            "reason": text(least=1, longest=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
            "message": text(longest=32768),
        },
        needed=("lastTransitionTime", "message", "reason", "status", "type"),
    )  # fmt: skip
    more = {"default": pending(*waiting)} if waiting else {}
    return several(item, "Named yes/no statements.", keys=("type",), most=most, **more)


def host(about: str = "", *, wild: bool = True) -> Schema:
    """A DNS name; ``wild``: its first label may be ``*``."""
    start = r"^(\*\.)?" if wild else "^"
    return text(about, least=1, longest=253, pattern=f"{start}{HOST_LABELS}$")


def section(about: str = "") -> Schema:
    """Name of a listener or of a rule."""
    return text(about, least=1, longest=253, pattern=f"^{HOST_LABELS}$")


def name(about: str = "") -> Schema:
    """Name of an object."""
    return text(about, least=1, longest=253)


def namespace(about: str = "") -> Schema:
    """Name of a namespace."""
    return text(about, least=1, longest=63, pattern=f"^{_LABEL}$")


def group_of(**more: object) -> Schema:
    """An API group; empty is core."""
    return text(longest=253, pattern=f"^$|^{HOST_LABELS}$", **more)


def kind_of(**more: object) -> Schema:
    """A kind."""
    return text(least=1, longest=63, pattern="^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", **more)


def port(about: str = "") -> Schema:
    """A port."""
    return number(about, least=1, most=65535)


def duration(about: str, **more: object) -> Schema:
    """Such as 1s, 500ms or 1h30m (GEP-2257)."""
    return text(about, pattern="^([0-9]{1,5}(h|m|s|ms)){1,4}$", **more)


def parameters(about: str) -> Schema:
    """A reference to an object with an implementation's own settings."""
    fields = {"group": group_of(), "kind": kind_of(), "name": name()}
    return group(about, fields, needed=("group", "kind", "name"))


def local(about: str, *, kind: str = "", group_name: str = "") -> Schema:
    """A reference into the object's own namespace."""
    fields = {
        "group": group_of(**({"default": group_name} if kind else {})),
        "kind": kind_of(**({"default": kind} if kind else {})),
        "name": name(),
    }
    return group(about, fields, needed=("name",) if kind else ("group", "kind", "name"))


def label_selector(about: str) -> Schema:
    """meta/v1 LabelSelector."""
    expression = group(
        "",
        {
            "key": {"type": "string"},
            "operator": {"type": "string"},
            "values": several({"type": "string"}),
        },
        needed=("key", "operator"),
    )
    fields = {
        "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}},
        "matchExpressions": several(expression),
    }
    return group(about, fields, **{"x-kubernetes-map-type": "atomic"})


def _renamed(bounds: dict[str, Any], what: str) -> Schema:
    names = {"least": f"min{what}", "longest": f"max{what}", "most": f"max{what}"}
    return {names.get(ours, ours): value for ours, value in bounds.items()}


def _ruled(schema: Schema, rules: tuple[tuple[str, str], ...]) -> Schema:
    if rules:
        schema["x-kubernetes-validations"] = [{"message": m, "rule": r} for r, m in rules]
    return schema


def _described(schema: Schema, about: str) -> Schema:
    return {"description": about, **schema} if about else schema
