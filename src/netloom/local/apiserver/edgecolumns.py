"""Cells of `kubectl get` for Ingresses, and for kinds whose columns their definition says. Pure.

Comes in: documents, and paths such as ``.status.conditions[?(@.type=="Accepted")].status``. Goes out: cells. Not here: which kind has
which columns (columns.py). Source: the columns that kubectl's users know; apiextensions.k8s.io/v1 CustomResourceColumnDefinition.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.ages import age
from netloom.local.apiserver.definitions import Definition
from netloom.local.apiserver.fielderrors import items, mapping
from netloom.local.apiserver.jsonvalue import Json

Document = Mapping[str, Any]
_STEP = re.compile(r'\.(?P<field>[A-Za-z0-9]+)|\[(?P<all>\*)\]|\[\?\(@\.(?P<key>\w+)=="(?P<value>[^"]*)"\)\]')
_CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def ingress_cells(d: Document, now: float) -> list[Any]:
    """Name, class, hosts, addresses, ports, age."""
    spec = mapping(d.get("spec"))
    class_name = spec.get("ingressClassName") or mapping(d["metadata"].get("annotations")).get(
        _CLASS_ANNOTATION
    )
    hosts = [str(rule.get("host")) for rule in map(mapping, items(spec.get("rules"))) if rule.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    points = items(mapping(mapping(d.get("status")).get("loadBalancer")).get("ingress"))
    addresses = [str(point.get("ip") or point.get("hostname") or "") for point in map(mapping, points)]
    ports = "80, 443" if spec.get("tls") else "80"
    born = age(d["metadata"].get("creationTimestamp"), now)
    return [d["metadata"]["name"], class_name or "<none>", shown or "*", ",".join(addresses), ports, born]


def ingress_class_cells(d: Document, now: float) -> list[Any]:
    """Name, controller, parameters, age."""
    spec = mapping(d.get("spec"))
    said = mapping(spec.get("parameters"))
    kind = f"{said.get('kind')}.{said['apiGroup']}" if said.get("apiGroup") else str(said.get("kind"))
    born = age(d["metadata"].get("creationTimestamp"), now)
    return [
        d["metadata"]["name"],
        spec.get("controller") or "",
        f"{kind}/{said.get('name')}" if said else "<none>",
        born,
    ]


def defined_cells(definition: Definition) -> Callable[[Document, float], list[Any]]:
    """The function that fills the columns of a definition, the name before them."""
    paths = [(column.type, _steps(column.json_path)) for column in definition.columns]

    def cells(d: Document, now: float) -> list[Any]:
        found: list[Any] = [d["metadata"]["name"]]
        for type_, steps in paths:
            values = _values(d, steps)
            if type_ == "date":
                found.append(age(values[0] if values else None, now))
            else:
                found.append(",".join(map(_shown, values)))
        return found

    return cells


def _steps(path: str) -> list[re.Match[str]]:
    return list(_STEP.finditer(path))


def _values(d: Json, steps: list[re.Match[str]]) -> list[Json]:
    found: list[Json] = [d]
    for step in steps:
        if field := step["field"]:
            found = [one[field] for one in found if isinstance(one, Mapping) and field in one]
        else:
            found = [item for one in found for item in items(one)]
            if key := step["key"]:
                found = [one for one in found if mapping(one).get(key) == step["value"]]
    return found


def _shown(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
