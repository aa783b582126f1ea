"""The scale subresource of defined kinds: replicas wherever their definition says.

Comes in: records of a kind with ``subresources.scale``. Goes out: an autoscaling/v1 Scale; or the object with other replicas. Not here: the scale of
kinds that every server has (subresources.py). Source: apiextensions.k8s.io/v1 CustomResourceSubresourceScale.
"""

from __future__ import annotations

from typing import Any

import msgspec

from netloom.local.apiserver import status
from netloom.local.apiserver.custom import paths
from netloom.local.apiserver.custom.served import CustomKind, ScalePaths
from netloom.local.apiserver.history import Record
from netloom.local.apiserver.objects import Objects, Written
from netloom.local.apiserver.queries import WriteOptions
from netloom.local.apiserver.status import Cause

_OF_THE_OBJECT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(record: Record) -> dict[str, Any]:
    """The Scale of an object."""
    said, document = _paths(record), record.document()
    found = {
        "replicas": _number(paths.get(document, said.status_replicas_path)),
        "selector": paths.get(document, said.label_selector_path) if said.label_selector_path else "",
    }
    selector = found["selector"]
    metadata = document["metadata"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in _OF_THE_OBJECT if field in metadata},
        "spec": {"replicas": _number(paths.get(document, said.spec_replicas_path))},
        "status": {
            "replicas": found["replicas"],
            **({"selector": selector} if selector and isinstance(selector, str) else {}),
        },
    }


def rescale(objects: Objects, live: Record, scale: dict[str, Any], options: WriteOptions) -> Written:
    """Set the replicas that a Scale asks for.

    Raises:
        ApiError: 400, 409, 422.
        StorageError: it could not be written.
    """
    metadata = scale.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("name", live.name) != live.name:
        raise status.bad_request(f"the name of the Scale does not match the name on the URL ({live.name})")
    spec = scale.get("spec")
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else 0
    if type(replicas) is not int or replicas < 0:
        shown = msgspec.json.encode(replicas).decode()
        problem = f"Invalid value: {shown}: must be greater than or equal to 0"
        cause = Cause("FieldValueInvalid", problem, "spec.replicas")
        raise status.invalid("Scale", "autoscaling", live.name, [cause])
    document = live.document()
    paths.put(document, _paths(live).spec_replicas_path, replicas)
    for field in ("uid", "resourceVersion"):
        document["metadata"][field] = metadata.get(field, "")
    return objects.update(live, document, options, subresource="scale")


def _paths(record: Record) -> ScalePaths:
    kind = record.kind
    if not isinstance(kind, CustomKind) or kind.version_data.scale is None:
        raise status.unknown_path()
    return kind.version_data.scale


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
