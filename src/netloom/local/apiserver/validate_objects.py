"""Rules for the plain kinds: Namespace, Node, ConfigMap, Secret, Lease, Event. Pure.

Comes in: a document with defaults, and the one it replaces. Goes out: FieldErrors. Source: API reference of core/v1 and
coordination.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netloom.api import quantity
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    required,
    too_long,
)
from netloom.local.apiserver.validate_names import Errors
from netloom.units import parse_cidr

MAX_DATA = 1024 * 1024
"""Bytes of all values of a ConfigMap or Secret."""

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_SECRET_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - the name of a type
_ACCOUNT = "kubernetes.io/service-account.name"

Document = Mapping[str, Any]


def config_map(document: Document, old: Document | None) -> Errors:
    """A core/v1 ConfigMap."""
    data, binary = mapping(document.get("data")), mapping(document.get("binaryData"))
    yield from _keys("data", data)
    yield from _keys("binaryData", binary)
    for key in sorted(data.keys() & binary.keys()):
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    size = sum(len(str(value).encode()) for value in (*data.values(), *binary.values()))
    if size > MAX_DATA:
        yield too_long("", MAX_DATA)
    yield from _immutable(document, old, ("data", "binaryData"))


def secret(document: Document, old: Document | None) -> Errors:
    """A core/v1 Secret."""
    data, kind = mapping(document.get("data")), document.get("type")
    written = mapping(document.get("stringData"))
    yield from _keys("data", data)
    yield from _keys("stringData", written)
    if sum(len(str(value)) * 3 // 4 for value in data.values()) > MAX_DATA:
        yield too_long("data", MAX_DATA)
    for key in _SECRET_KEYS.get(str(kind), ()):
        if key not in data and key not in written:
            yield required(f"data[{key}]")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & {*data, *written}:
        yield required("data[username]")
    if kind == _TOKEN and not mapping(mapping(document.get("metadata")).get("annotations")).get(_ACCOUNT):
        yield required(f"metadata.annotations[{_ACCOUNT}]")
    if old is not None and kind != old.get("type"):
        yield invalid("type", kind, "field is immutable")
    yield from _immutable(document, old, ("data",))


def _keys(path: str, values: Document) -> Errors:
    for key in values:
        if problem := names.key_problem(key):
            yield invalid(f"{path}[{key}]", key, problem)


def _immutable(document: Document, old: Document | None, fields: tuple[str, ...]) -> Errors:
    if old is None or old.get("immutable") is not True:
        return
    for field in ("immutable", *fields):
        if (document.get(field) or None) != (old.get(field) or None):
            yield forbidden(field, "field is immutable when `immutable` is set")


def lease(document: Document) -> Errors:
    """A coordination.k8s.io/v1 Lease."""
    spec = mapping(document.get("spec"))
    yield from names.at_least("spec.leaseDurationSeconds", spec.get("leaseDurationSeconds"), 1)
    yield from names.at_least("spec.leaseTransitions", spec.get("leaseTransitions"), 0)
    if spec.get("holderIdentity") == "" and spec.get("leaseDurationSeconds"):
        yield invalid("spec.holderIdentity", "", "must not be empty")


def node(document: Document, old: Document | None) -> Errors:
    """A core/v1 Node."""
    spec = mapping(document.get("spec"))
    yield from _pod_ranges(spec)
    if old is not None:
        before = mapping(old.get("spec"))
        if before.get("podCIDRs") and spec.get("podCIDRs") != before["podCIDRs"]:
            yield forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
        if before.get("providerID") and spec.get("providerID") != before["providerID"]:
            yield forbidden(
                "spec.providerID", 'node updates may not change providerID except from "" to valid'
            )
    yield from _taints(items(spec.get("taints")))
    status = mapping(document.get("status"))
    for field in ("capacity", "allocatable"):
        yield from quantities(f"status.{field}", status.get(field))


def _pod_ranges(spec: Document) -> Errors:
    texts = items(spec.get("podCIDRs"))
    if spec.get("podCIDR") and texts and spec["podCIDR"] != texts[0]:
        yield invalid("spec.podCIDRs[0]", texts[0], "must be the same as `podCIDR`")
    versions: set[int] = set()
    for number, text in enumerate(texts):
        range_ = parse_cidr(str(text))
        if range_ is None:
            yield invalid(f"spec.podCIDRs[{number}]", text, "must be a range such as 10.244.1.0/24")
        elif range_.version in versions:
            yield invalid("spec.podCIDRs", texts, "may hold no more than one range of each IP family")
        else:
            versions.add(range_.version)


def _taints(taints: list[Any]) -> Errors:
    seen: set[tuple[object, object]] = set()
    for number, item in enumerate(taints):
        taint, path = mapping(item), f"spec.taints[{number}]"
        yield from names.named(f"{path}.key", taint.get("key"), names.qualified_name_problem)
        yield from names.optional(f"{path}.value", taint.get("value"), names.label_value_problem)
        yield from names.one_of(f"{path}.effect", taint.get("effect"), EFFECTS, needed=True)
        key = (taint.get("key"), taint.get("effect"))
        if key in seen:
            yield duplicate(path, taint)
        seen.add(key)


def quantities(path: str, values: object) -> Errors:
    """Amounts by resource name; none below zero."""
    for name, value in mapping(values).items():
        here = f"{path}[{name}]"
        if problem := names.qualified_name_problem(name):
            yield invalid(here, name, problem)
        amount = quantity.parse(value)
        if amount is None:
            yield invalid(here, value, "must be a quantity such as 500m, 1.5 or 64Mi")
        elif amount < 0:
            yield invalid(here, value, "must be greater than or equal to 0")


def event(document: Document) -> Errors:
    """A core/v1 Event."""
    involved = mapping(document.get("involvedObject"))
    namespace = mapping(document.get("metadata")).get("namespace")
    about = involved.get("namespace") or ""
    if (about and about != namespace) or (not about and namespace not in ("", None, "default")):
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")
    for field in ("type", "reason"):
        if document.get("eventTime") and not document.get(field):
            yield required(field)


_NOTE = 1024
_INSTANCE = 128


def new_event(document: Document, old: Document | None) -> Errors:
    """An events.k8s.io/v1 Event, which says more than a core/v1 Event has to."""
    about = mapping(document.get("regarding")).get("namespace") or ""
    namespace = mapping(document.get("metadata")).get("namespace")
    if (about and about != namespace) or (not about and namespace not in ("", None, "default")):
        yield invalid("involvedObject.namespace", about, "does not match event.namespace")
    if old is not None:
        return
    if not document.get("eventTime"):
        yield required("eventTime")
    if document.get("type") not in ("Normal", "Warning"):
        yield invalid("type", document.get("type") or "", "must be Normal or Warning")
    for field in ("action", "reason"):
        if not document.get(field):
            yield required(field)
    yield from names.named(
        "reportingController", document.get("reportingController"), names.qualified_name_problem
    )
    if not document.get("reportingInstance"):
        yield required("reportingInstance")
    for field, limit in (("note", _NOTE), ("reportingInstance", _INSTANCE)):
        if len(str(document.get(field) or "").encode()) > limit:
            yield too_long(field, limit)
    for field in (
        "deprecatedSource",
        "deprecatedFirstTimestamp",
        "deprecatedLastTimestamp",
        "deprecatedCount",
    ):
        if document.get(field):
            yield invalid(field, document[field], "needs to be unset")
