"""The gateways' kinds: types as schema.json has them, from what tools/crds/write.py wrote. Read by tools/generate_schema.py only.

Types are named by the first place that has them; places that say the same share one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_DEFINITIONS = Path(__file__).parent.parent / "src/netloom/local/apiserver/definitions.json"
PACKAGES = {"gateways": "io.k8s.networking.gateway.v1", "traffic": "io.netloom.traffic.v1alpha1"}
_SCALARS = {"boolean": "bool", "string": "string"}


class _Types:
    """Collects types; equal ones once."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, object]] = {}
        self._names: dict[str, str] = {}

    def expression(self, schema: dict[str, Any], key: str) -> str:
        """The type of a place: a scalar's name, a type's key, ``[]element`` or ``{}element``."""
        match schema["type"]:
            case "integer":
                return str(schema["format"])
            case "array":
                return f"[]{self.expression(schema['items'], key)}"
            case "object" if "additionalProperties" in schema:
                return f"{{}}{self.expression(schema['additionalProperties'], key)}"
            case "object":
                return self.type_(schema, key)
            case scalar:
                return "time" if schema.get("format") == "date-time" else _SCALARS[scalar]

    def type_(self, schema: dict[str, Any], key: str) -> str:
        """The key of an object's type."""
        fields = schema["properties"]
        if set(fields) == {"matchLabels", "matchExpressions"}:
            return "meta.LabelSelector"
        if "lastTransitionTime" in fields:
            return "meta.Condition"
        needed = schema.get("required", ())
        made = {name: self._field(member, key, name, name in needed) for name, member in fields.items()}
        entry = {
            **({"text": schema["description"]} if "description" in schema else {}),
            **({"atomic": True} if schema.get("x-kubernetes-map-type") == "atomic" else {}),
            "fields": dict(sorted(made.items())),
        }
        told = json.dumps(entry)
        if told not in self._names:
            self._names[told] = key
            self.found[key] = entry
        return self._names[told]

    def _field(self, schema: dict[str, Any], key: str, name: str, needed: bool) -> dict[str, object]:
        if name == "metadata":
            return {"type": "meta.ObjectMeta", "text": "Name, labels and bookkeeping of the object."}
        made: dict[str, object] = {"type": self.expression(schema, key + name[0].upper() + name[1:])}
        if needed:
            made["required"] = True
        if "description" in schema:
            made["text"] = schema["description"]
        if schema.get("x-kubernetes-list-type") == "map":
            made["keys"] = schema["x-kubernetes-list-map-keys"]
        if schema.get("x-kubernetes-list-type") == "set":
            made["is_set"] = True
        return made


_types = _Types()
KINDS: dict[str, str] = {}
for _gvk, _said in json.loads(_DEFINITIONS.read_text()).items():
    _package = "traffic" if _gvk.startswith("netloom.io") else "gateways"
    KINDS[_gvk] = _types.type_(_said["schema"], f"{_package}.{_gvk.rpartition('/')[2]}")
TYPES = _types.found
