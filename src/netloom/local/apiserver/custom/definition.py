"""CustomResourceDefinitions themselves: defaults, and what is wrong with one. Pure.

Comes in: a document whose types fit, and the one that it replaces. Goes out: the document with defaults; FieldErrors. Not here: schemas (structure.py), names that
others have (names.py). Source: apiextensions.k8s.io/v1, validation of CustomResourceDefinitionSpec.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver.custom import paths, structure
from netloom.local.apiserver.custom.names import APPROVAL, is_protected
from netloom.local.apiserver.fielderrors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    not_supported,
    required,
    too_many,
)
from netloom.local.apiserver.validate_names import label_1035_problem, named, subdomain_problem

Errors = Iterator[FieldError]
Document = Mapping[str, Any]
_SCOPES = ("Cluster", "Namespaced")
_STRATEGIES = ("None", "Webhook")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MOST_SELECTABLE = 8
_LONGEST_WARNING = 256


def fill(document: dict[str, Any]) -> None:
    """Defaults of a definition, in place; of the status what a new one needs."""
    spec = document.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.get("names")
    if isinstance(names, dict) and isinstance(kind := names.get("kind"), str) and kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", f"{kind}List")
    spec.setdefault("conversion", {"strategy": "None"})


def new_status() -> dict[str, Any]:
    """The status of a definition that nobody has looked at yet."""
    return {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}


def errors(document: Document, old: Document | None) -> Errors:
    """What is wrong with a definition."""
    spec = mapping(document.get("spec"))
    yield from _of_names(document, spec)
    yield from _of_versions(spec)
    yield from _of_conversion(mapping(spec.get("conversion")))
    if spec.get("preserveUnknownFields"):
        why = "must be false: say x-kubernetes-preserve-unknown-fields in the schema instead"
        yield invalid("spec.preserveUnknownFields", True, why)
    stored = items(mapping(document.get("status")).get("storedVersions"))
    known = [version.get("name") for version in items(spec.get("versions"))]
    for number, name in enumerate(stored):
        if name not in known:
            yield invalid(f"status.storedVersions[{number}]", name, "must appear in spec.versions")
    if old is not None:
        yield from _of_change(document, old)


def _of_names(document: Document, spec: Mapping[str, Any]) -> Errors:
    group, names = str(spec.get("group") or ""), mapping(spec.get("names"))
    yield from _of_group(group)
    name = document["metadata"].get("name")
    if name != f"{names.get('plural')}.{group}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if "scope" not in spec:
        yield required("spec.scope")
    elif spec["scope"] not in _SCOPES:
        yield not_supported("spec.scope", spec["scope"], _SCOPES)
    if is_protected(group):
        yield from _of_approval(mapping(document["metadata"].get("annotations")))
    yield from named("spec.names.plural", names.get("plural"), label_1035_problem)
    yield from named("spec.names.singular", names.get("singular"), label_1035_problem)
    for field in ("kind", "listKind"):
        yield from _of_type(f"spec.names.{field}", str(names.get(field) or ""))
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same")
    for field in ("shortNames", "categories"):
        for number, word in enumerate(items(names.get(field))):
            if problem := label_1035_problem(str(word)):
                yield invalid(f"spec.names.{field}[{number}]", word, problem)


def _of_group(group: str) -> Errors:
    if not group:
        yield required("spec.group")
    elif problem := subdomain_problem(group):
        yield invalid("spec.group", group, problem)
    elif "." not in group:
        yield invalid("spec.group", group, "should be a domain with at least one dot")


def _of_type(path: str, value: str) -> Errors:
    if not value:
        yield required(path)
    elif problem := label_1035_problem(value.lower()):
        yield invalid(path, value, f"may have mixed case, but should otherwise match: {problem}")


def _of_approval(annotations: Mapping[str, Any]) -> Errors:
    said, path = str(annotations.get(APPROVAL) or ""), f"metadata.annotations[{APPROVAL}]"
    if not said:
        why = "protected groups must have approval annotation, see https://github.com/kubernetes/enhancements/pull/1111"
        yield required(path, why)
    elif not said.startswith(("unapproved", "https://", "http://")):
        why = 'protected groups must have approval annotation with either a URL or a reason starting with "unapproved"'
        yield invalid(path, said, why)


def _of_versions(spec: Mapping[str, Any]) -> Errors:
    versions = [mapping(version) for version in items(spec.get("versions"))]
    if not versions:
        yield required("spec.versions", "must have exactly one version marked as storage version")
        return
    names = [version.get("name") for version in versions]
    if len(set(names)) < len(names):
        yield invalid("spec.versions", names, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield invalid("spec.versions", names, "must have exactly one version marked as storage version")
    for number, version in enumerate(versions):
        path = f"spec.versions[{number}]"
        yield from named(f"{path}.name", version.get("name"), label_1035_problem)
        for field in ("served", "storage"):
            if field not in version:
                yield required(f"{path}.{field}")
        yield from _of_version(version, path)


def _of_version(version: Mapping[str, Any], path: str) -> Errors:
    if warning := version.get("deprecationWarning"):
        if not version.get("deprecated"):
            yield invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions")
        if len(warning) > _LONGEST_WARNING or not warning.isprintable():
            why = f"must be printable and at most {_LONGEST_WARNING} characters"
            yield invalid(f"{path}.deprecationWarning", warning, why)
    schema = mapping(mapping(version.get("schema")).get("openAPIV3Schema"))
    if not schema:
        yield required(f"{path}.schema.openAPIV3Schema", "schemas are required")
    else:
        yield from structure.errors(schema, f"{path}.schema.openAPIV3Schema")
    for number, column in enumerate(items(version.get("additionalPrinterColumns"))):
        yield from _of_column(mapping(column), f"{path}.additionalPrinterColumns[{number}]")
    parts = mapping(version.get("subresources"))
    if "scale" in parts:
        yield from _of_scale(mapping(parts["scale"]), f"{path}.subresources.scale")
    yield from _of_selectable(items(version.get("selectableFields")), schema, f"{path}.selectableFields")


def _of_column(column: Mapping[str, Any], path: str) -> Errors:
    if not column.get("name"):
        yield required(f"{path}.name")
    if not column.get("type"):
        yield required(f"{path}.type", f"must be one of {','.join(_COLUMN_TYPES)}")
    elif column["type"] not in _COLUMN_TYPES:
        yield invalid(f"{path}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}")
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        yield invalid(f"{path}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}")
    where = column.get("jsonPath")
    if not where:
        yield required(f"{path}.jsonPath")
    elif not where.startswith((".", "{", "[")):
        yield invalid(f"{path}.jsonPath", where, "path must begin with a dot")
    else:
        try:
            paths.path(where)
        except paths.BadPath as bad:
            yield invalid(f"{path}.jsonPath", where, f"path is malformed: {bad}")


def _of_scale(scale: Mapping[str, Any], path: str) -> Errors:
    for field, below, needed in (
        ("specReplicasPath", (".spec.",), True),
        ("statusReplicasPath", (".status.",), True),
        ("labelSelectorPath", (".spec.", ".status."), False),
    ):
        value = scale.get(field)
        if not value:
            if needed:
                yield required(f"{path}.{field}")
        elif not paths.is_simple(value) or not value.startswith(below):
            roots = " or ".join(one.rstrip(".") for one in below)
            yield invalid(f"{path}.{field}", value, f"should be a json path under {roots}")


def _of_selectable(fields: list[Any], schema: Mapping[str, Any], path: str) -> Errors:
    if len(fields) > _MOST_SELECTABLE:
        yield too_many(path, len(fields), _MOST_SELECTABLE)
    seen = set()
    for number, field in enumerate(fields):
        where, here = str(mapping(field).get("jsonPath") or ""), f"{path}[{number}].jsonPath"
        if not where:
            yield required(here)
            continue
        if where in seen:
            yield duplicate(here, where)
        seen.add(where)
        if not paths.is_simple(where):
            yield invalid(here, where, "is an invalid path: fields only, such as .spec.color")
        elif where.startswith(".metadata"):
            yield invalid(here, where, "must not point to fields in metadata")
        elif structure.type_at(schema, where) not in {"string", "integer", "boolean"}:
            yield invalid(here, where, "must point to a field of type string, boolean or integer")


def _of_conversion(conversion: Mapping[str, Any]) -> Errors:
    strategy = conversion.get("strategy")
    if not strategy:
        yield required("spec.conversion.strategy")
    elif strategy not in _STRATEGIES:
        yield not_supported("spec.conversion.strategy", strategy, _STRATEGIES)
    elif strategy == "None" and conversion.get("webhook"):
        yield forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook")
    elif strategy == "Webhook":
        hook = mapping(conversion.get("webhook"))
        client = mapping(hook.get("clientConfig"))
        if not client:
            yield required("spec.conversion.webhook.clientConfig", "required when strategy is set to Webhook")
        elif bool(client.get("url")) == bool(client.get("service")):
            why = "exactly one of url or service is required"
            yield required("spec.conversion.webhook.clientConfig", why)
        if not hook.get("conversionReviewVersions"):
            yield required("spec.conversion.webhook.conversionReviewVersions")


def _of_change(document: Document, old: Document) -> Errors:
    new_spec, old_spec = mapping(document.get("spec")), mapping(old.get("spec"))
    always = ["group", "names.plural"]
    conditions = items(mapping(old.get("status")).get("conditions"))
    if any(one.get("type") == "Established" and one.get("status") == "True" for one in conditions):
        always += ["scope", "names.kind"]
    for field in always:
        before, after = (paths.get(spec, field) for spec in (old_spec, new_spec))
        if before != after:
            yield invalid(f"spec.{field}", after, "field is immutable")
