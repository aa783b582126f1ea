"""Writes the API server's schema: field names and types of the Kubernetes kinds that it serves.

    .venv/bin/python tools/generate_schema.py

Comes in: the model classes of the PyPI package ``kubernetes`` (names, types, required fields) and the tables of
schema_facts.py, schema_words.py, schema_words_further.py, schema_custom.py, schema_networks.py, schema_pools.py, schema_bgp.py,
schema_load_balancers.py, schema_egress.py and schema_definitions.py. Goes out: src/netloom/local/apiserver/schema.json. No text of
the package is copied.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path

import schema_bgp as bgp
import schema_custom as custom
import schema_definitions as definitions
import schema_egress as egress
import schema_facts as facts
import schema_load_balancers as load_balancers
import schema_networks as networks
import schema_pools as pools
import schema_words
import schema_words_further
from kubernetes import client

TYPE_WORDS = {**schema_words_further.TYPES, **schema_words.TYPES}
FIELD_WORDS = {**schema_words_further.FIELDS, **schema_words.FIELDS}
CUSTOM = (custom, pools, networks, bgp, load_balancers, egress, definitions)
"""Kinds that the package does not have, in the order in which they are written."""
PREFIX = re.compile(r"^([A-Z][a-z]+)?V\d((alpha|beta)\d)?(?=[A-Z])")
"""A class's group, where several groups have a type of this name, and its version."""
TARGET = Path(__file__).parent.parent / "src/netloom/local/apiserver/schema.json"
SCALARS = {
    "str": "string",
    "int": "int32",
    "bool": "bool",
    "bytes": "bytes",
    "float": "number",
    "datetime": "time",
    "object": "any",
}


def short_name(class_name: str) -> str:
    """The type's name in the API reference: V1Pod -> Pod, DiscoveryV1EndpointPort -> EndpointPort."""
    return PREFIX.sub("", class_name)


class Generator:
    """Collects the types that can be reached from the kinds."""

    def __init__(self) -> None:
        self.types: dict[str, dict[str, object]] = {}
        self.used: set[str] = set()

    def type_key(self, class_name: str, package: str) -> str:
        """Package and name; a type belongs to the package of the first kind that leads to it."""
        name = short_name(class_name)
        if name in facts.META_TYPES:
            return f"meta.{name}"
        if name in facts.ELSEWHERE:
            return f"{facts.ELSEWHERE[name]}.{name}"
        if (found := PREFIX.match(class_name)) and found[1]:
            return f"{found[1].lower()}.{name}"
        if class_name.startswith("V2"):
            return f"{facts.SECOND}.{name}"
        return next(
            (f"{p}.{name}" for p in facts.PACKAGES if p != facts.SECOND and f"{p}.{name}" in self.types),
            f"{package}.{name}",
        )

    def note(self, table: set[str] | dict[str, object], key: str) -> bool:
        """Whether a table has the key; remembers it, so that mistyped keys are found."""
        if key in table:
            self.used.add(key)
            return True
        return False

    def expression(self, python_type: str, key: str, package: str) -> str:
        """The type of a field: a scalar's name, a type's key, ``[]element`` or ``{}element``."""
        for pattern, prefix in ((r"List\[(.*)\]$", "[]"), (r"Dict\[str, (.*)\]$", "{}")):
            if found := re.match(pattern, python_type):
                return prefix + self.expression(found[1], key, package)
        if python_type not in SCALARS:
            return self.add(python_type, package)
        for table, name in (
            (facts.INT64, "int64"),
            (facts.QUANTITY, "quantity"),
            (facts.BYTES, "bytes"),
            (facts.INT_OR_STRING, "int-or-string"),
            (facts.MICROTIME, "microtime"),
        ):
            if self.note(table, key):
                return name
        return SCALARS[python_type]

    def field(self, cls: type, attribute: str, owner: str, package: str) -> dict[str, object]:
        """One field of a type, as the data file has it; defaults are left out."""
        name = cls.attribute_map[attribute]
        key = f"{owner}.{name}"
        found: dict[str, object] = {"type": self.expression(cls.openapi_types[attribute], key, package)}
        if any(
            described.is_required() and name in (attribute, described.serialization_alias)
            for attribute, described in cls.model_fields.items()
        ):
            found["required"] = True
        if self.note(facts.LIST_MAPS, key):
            found["keys"] = facts.LIST_MAPS[key]
        if self.note(facts.KEY_DEFAULTS, key):
            found["key_defaults"] = facts.KEY_DEFAULTS[key]
        if self.note(facts.LIST_SETS, key):
            found["is_set"] = True
        if self.note(facts.MERGE_KEYS, key):
            found["merge"] = True
            if facts.MERGE_KEYS[key]:
                found["merge_key"] = facts.MERGE_KEYS[key]
        if self.note(facts.RETAIN_KEYS, key):
            found["retain_keys"] = True
        if self.note(facts.ATOMIC_MAPS, key):
            found["atomic"] = True
        if description := FIELD_WORDS.get(key) or FIELD_WORDS.get(name, ""):
            self.used.add(key)
            found["text"] = description
        return found

    def add(self, class_name: str, package: str) -> str:
        """Adds a class and all that it leads to; its key."""
        key = self.type_key(class_name, package)
        if key in self.types:
            return key
        cls = getattr(client, class_name)
        name = short_name(class_name)
        entry: dict[str, object] = {}
        self.types[key] = entry
        if self.note(facts.ATOMIC_TYPES, name):
            entry["atomic"] = True
        if name in TYPE_WORDS:
            self.used.add(name)
            entry["text"] = TYPE_WORDS[name]
        attributes = sorted(cls.openapi_types, key=lambda a: cls.attribute_map[a])
        entry["fields"] = {cls.attribute_map[a]: self.field(cls, a, name, package) for a in attributes}
        return key


def main() -> None:
    """Writes the data file; fails where a table names a field that no type has."""
    generator = Generator()
    kinds = []
    for kind, (api_version, package) in facts.KINDS.items():
        key = generator.add(facts.CLASSES.get(kind, f"V1{kind}"), package)
        kinds.append({"gvk": f"{api_version}/{kind.rpartition('.')[2]}", "type": key})
    packages = dict(facts.PACKAGES)
    for table in CUSTOM:
        kinds += [{"gvk": gvk, "type": key} for gvk, key in table.KINDS.items()]
        generator.types.update(table.TYPES)
        packages.update(table.PACKAGES)
    tables = (
        *(facts.INT64, facts.QUANTITY, facts.BYTES, facts.INT_OR_STRING, facts.MICROTIME, facts.LIST_MAPS),
        *(facts.LIST_SETS, facts.KEY_DEFAULTS, facts.MERGE_KEYS, facts.RETAIN_KEYS, facts.ATOMIC_MAPS),
        *(facts.ATOMIC_TYPES, TYPE_WORDS, [key for key in FIELD_WORDS if "." in key]),
    )
    unknown = sorted({key for table in tables for key in table} - generator.used)
    if unknown:
        raise SystemExit(f"tables name what no kind has: {', '.join(unknown)}")
    data = {
        "source": f"kubernetes {importlib.metadata.version('kubernetes')}",
        "packages": packages,
        "kinds": kinds,
        "types": dict(sorted(generator.types.items())),
    }
    lines = [f'"source": {json.dumps(data["source"])}', f'"packages": {json.dumps(data["packages"])}']
    lines.append('"kinds": [\n' + ",\n".join(json.dumps(kind) for kind in kinds) + "\n]")
    types = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in data["types"].items()]
    lines.append('"types": {\n' + ",\n".join(types) + "\n}")
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
