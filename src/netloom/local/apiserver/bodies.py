"""Request bodies: bytes to plain documents, and the checks that every document must pass before anyone reads it.

Comes in: body, content type, the kind that the path names. Goes out: a dict whose metadata is well formed and without
nulls. Not here: what the fields mean (schema.py, validate.py) and nulls elsewhere, which defaults.py takes out.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from netloom.api.nulls import without_nulls
from netloom.kube.yaml_loader import Loader
from netloom.local.apiserver import protobuf
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.status import ApiError, bad_request, unsupported_media

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
"""Read, never written: some of kubectl's commands send it and take JSON back."""
LIMIT = 3 << 20
"""Largest body in bytes, as kube-apiserver's."""


class _Owner(msgspec.Struct, rename="camel"):
    name: str
    kind: str
    uid: str
    api_version: str
    controller: bool = False
    block_owner_deletion: bool = False


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: list[str] = []
    owner_references: list[_Owner] = []
    managed_fields: list[dict[str, Any]] = []


def decode(data: bytes, content_type: str) -> Json:
    """The value in a body.

    Raises:
        ApiError: 400, not readable; 415, neither JSON nor YAML nor protobuf.
    """
    media = content_type.partition(";")[0].strip().lower()
    try:
        if media in {"", JSON, "application/octet-stream"} or media.endswith("+json"):
            return msgspec.json.decode(data)
        if media == YAML or media.endswith("+yaml"):
            return _yaml(data)
        if media == PROTOBUF:
            return protobuf.decode(data)
    except protobuf.Undecodable as error:
        raise bad_request(str(error)) from error
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body of the request cannot be read as {media or JSON}: {error}") from error
    raise unsupported_media((JSON, YAML, PROTOBUF))


def _yaml(data: bytes) -> Json:
    try:
        return msgspec.json.decode(data)  # most clients write the JSON subset, a hundred times faster to read
    except msgspec.DecodeError:
        value = yaml.load(data, Loader=Loader)  # noqa: S506 - a subclass of the safe loader
        return msgspec.json.decode(msgspec.json.encode(value))  # refuses what JSON cannot hold


def document(kind: Kind, value: Json) -> dict[str, Any]:
    """The value as a document of this kind, its metadata checked.

    Raises:
        ApiError: 400, it is of another kind or its metadata has the wrong shape.
    """
    if not isinstance(value, dict):
        raise bad_request(f"the body of the request must be an object of kind {kind.kind}")
    # as with kube-apiserver, the path says what a body is that does not say it itself
    value = {
        **value,
        "apiVersion": value.get("apiVersion") or kind.api_version,
        "kind": value.get("kind") or kind.kind,
    }
    if value["apiVersion"] != kind.api_version:
        raise bad_request(
            f"the API version in the data ({value['apiVersion']}) does not match "
            f"the expected API version ({kind.api_version})"
        )
    if value["kind"] != kind.kind:
        raise bad_request(
            f'{value["kind"]} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            f"the path of the request is that of {kind.plural}"
        )
    found: dict[str, Any] = {**value, "metadata": without_nulls(value.get("metadata") or {})}
    check_metadata(kind, found["metadata"])
    return found


def check_metadata(kind: Kind, metadata: Json) -> None:
    """Refuse metadata whose fields have the wrong types (meta/v1 ObjectMeta).

    Raises:
        ApiError: 400, names the field.
    """
    try:
        msgspec.convert(metadata, _Meta)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$.", "`metadata.").replace("`$`", "`metadata`")
        raise bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: metadata: {text}'
        ) from error


def check_namespace(document: dict[str, Any], namespace: str) -> None:
    """Refuse a document of another namespace than the path's.

    Raises:
        ApiError: 400.
    """
    named = document["metadata"].get("namespace", "")
    if named and named != namespace:
        raise ApiError(
            400,
            "BadRequest",
            f"the namespace of the provided object does not match the namespace sent on the request "
            f"({named} is not {namespace or 'none, the kind has no namespace'})",
        )


def check_name(document: dict[str, Any], name: str) -> None:
    """Refuse a document of another name than the path's; give it that name where it has none.

    Raises:
        ApiError: 400.
    """
    named = document["metadata"].get("name", "")
    if named and named != name:
        raise bad_request(f"the name of the object ({named}) does not match the name on the URL ({name})")
    document["metadata"]["name"] = name
