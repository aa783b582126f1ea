"""Rules for containers: ports, environment, mounts, probes, resources. Pure.

Comes in: containers of a pod spec with defaults. Goes out: FieldErrors. Not here: the pod around them (validate_pods.py).
Source: API reference of core/v1 Container, Probe, EnvVar, ResourceRequirements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api import quantity
from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    required,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_objects import quantities
from netloom.local.apiserver.validate_services import PROTOCOLS
from netloom.units import parse_addr

_HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
_HOOKS = ("exec", "httpGet", "sleep", "tcpSocket")
_VARIABLE = re.compile(r"[ -<>-~]+\Z")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")

Document = Mapping[str, Any]


class PodFacts(msgspec.Struct, frozen=True):
    """What containers have to fit: the pod's volumes, its network, its grace period in seconds."""

    volumes: frozenset[str]
    host_network: bool
    grace_s: Json = None


def container(path: str, value: Document, facts: PodFacts, *, init: bool) -> Errors:
    """One container; ``init`` for those that run to their end before the others."""
    yield from names.named(f"{path}.name", value.get("name"), names.label_problem)
    image = value.get("image")
    if not image:
        yield required(f"{path}.image")
    elif isinstance(image, str) and image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    yield from names.one_of(f"{path}.imagePullPolicy", value.get("imagePullPolicy"), _PULL_POLICIES)
    policies = ("FallbackToLogsOnError", "File")
    yield from names.one_of(
        f"{path}.terminationMessagePolicy", value.get("terminationMessagePolicy"), policies
    )
    yield from _ports(f"{path}.ports", items(value.get("ports")), facts)
    yield from _environment(path, value)
    yield from _mounts(f"{path}.volumeMounts", items(value.get("volumeMounts")), facts)
    yield from resources(f"{path}.resources", mapping(value.get("resources")))
    restarts = value.get("restartPolicy")
    if restarts is not None and not init:
        yield forbidden(f"{path}.restartPolicy", "may not be set for non-init containers")
    runs_once = init and restarts != "Always"
    for name in _PROBES:
        if name in value:
            if runs_once:
                yield forbidden(
                    f"{path}.{name}", "may not be set for init containers without restartPolicy=Always"
                )
            else:
                yield from _probe(f"{path}.{name}", mapping(value[name]), name)
    if "lifecycle" in value:
        if runs_once:
            yield forbidden(
                f"{path}.lifecycle", "may not be set for init containers without restartPolicy=Always"
            )
        for hook in ("postStart", "preStop"):
            if hook in mapping(value["lifecycle"]):
                here, handler = f"{path}.lifecycle.{hook}", mapping(value["lifecycle"][hook])
                yield from _handler(here, handler, _HOOKS)
                if "sleep" in handler:
                    yield from _sleep(f"{here}.sleep", mapping(handler["sleep"]), facts)


def _ports(path: str, ports: list[Any], facts: PodFacts) -> Errors:
    seen: set[Json] = set()
    for number, item in enumerate(ports):
        port, here = mapping(item), f"{path}[{number}]"
        if name := port.get("name"):
            yield from names.optional(f"{here}.name", name, names.port_name_problem)
            if name in seen:
                yield duplicate(f"{here}.name", name)
            seen.add(name)
        yield from names.port(f"{here}.containerPort", port.get("containerPort"))
        yield from names.one_of(f"{here}.protocol", port.get("protocol"), PROTOCOLS, needed=True)
        if host_port := port.get("hostPort"):
            yield from names.port(f"{here}.hostPort", host_port)
            if facts.host_network and host_port != port.get("containerPort"):
                yield invalid(
                    f"{here}.hostPort", host_port, "must match `containerPort` when `hostNetwork` is true"
                )
        if (address := port.get("hostIP")) and parse_addr(str(address)) is None:
            yield invalid(
                f"{here}.hostIP", address, "must be an IP address, such as 192.0.2.7 or 2001:db8::7"
            )


def host_ports(path: str, containers: list[Any], taken: set[tuple[Json, Json, Json]]) -> Errors:
    """A port of the node can lead to one container only; ``taken`` is shared by all lists of containers."""
    for number, item in enumerate(containers):
        for position, entry in enumerate(items(mapping(item).get("ports"))):
            port = mapping(entry)
            if not port.get("hostPort"):
                continue
            key = (port["hostPort"], port.get("protocol"), port.get("hostIP", ""))
            if key in taken:
                yield duplicate(f"{path}[{number}].ports[{position}].hostPort", f"{key[0]}/{key[1]}")
            taken.add(key)


def _environment(path: str, value: Document) -> Errors:
    for number, item in enumerate(items(value.get("env"))):
        variable, here = mapping(item), f"{path}.env[{number}]"
        yield from names.named(f"{here}.name", variable.get("name"), _variable_problem)
        if "valueFrom" in variable:
            yield from _value_from(f"{here}.valueFrom", variable)
    for number, item in enumerate(items(value.get("envFrom"))):
        source, here = mapping(item), f"{path}.envFrom[{number}]"
        given = [name for name in ("configMapRef", "secretRef") if name in source]
        if len(given) != 1:
            yield invalid(here, source, "must specify exactly one of: `configMapRef` or `secretRef`")
        for name in given:
            yield from names.named(
                f"{here}.{name}.name", mapping(source[name]).get("name"), names.subdomain_problem
            )


def _variable_problem(text: str) -> str:
    return "" if _VARIABLE.match(text) else "must be printable ASCII without '='"


def _value_from(path: str, variable: Document) -> Errors:
    source = mapping(variable["valueFrom"])
    given = [name for name in _SOURCES if name in source]
    if not given:
        yield invalid(path, source, f"must specify one of: {', '.join(f'`{name}`' for name in _SOURCES)}")
    elif len(given) > 1:
        yield invalid(path, source, "may not have more than one field specified at a time")
    elif variable.get("value"):
        yield invalid(path, source, "may not be specified when `value` is not empty")
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            reference = mapping(source[name])
            yield from names.named(f"{path}.{name}.name", reference.get("name"), names.subdomain_problem)
            yield from names.named(f"{path}.{name}.key", reference.get("key"), names.key_problem)
    if "fieldRef" in source and not mapping(source["fieldRef"]).get("fieldPath"):
        yield required(f"{path}.fieldRef.fieldPath")
    if "resourceFieldRef" in source and not mapping(source["resourceFieldRef"]).get("resource"):
        yield required(f"{path}.resourceFieldRef.resource")


def _mounts(path: str, mounts: list[Any], facts: PodFacts) -> Errors:
    seen: set[Json] = set()
    for number, item in enumerate(mounts):
        mount, here = mapping(item), f"{path}[{number}]"
        name, where = mount.get("name"), mount.get("mountPath")
        if not name:
            yield required(f"{here}.name")
        elif name not in facts.volumes:
            yield FieldError(f"{here}.name", "FieldValueNotFound", name, "")
        if not where:
            yield required(f"{here}.mountPath")
        elif where in seen:
            yield invalid(f"{here}.mountPath", where, "must be unique")
        seen.add(where)
        for field in ("subPath", "subPathExpr"):
            text = str(mount.get(field) or "")
            if text.startswith("/") or ".." in text.split("/"):
                yield invalid(f"{here}.{field}", text, "must be a relative path without '..'")


def resources(path: str, value: Document) -> Errors:
    """Requests and limits of a container."""
    limits, requests = mapping(value.get("limits")), mapping(value.get("requests"))
    yield from quantities(f"{path}.limits", limits)
    yield from quantities(f"{path}.requests", requests)
    for name, text in requests.items():
        wanted, most = quantity.parse(text), quantity.parse(limits.get(name))
        if wanted is not None and most is not None and wanted > most:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid(f"{path}.requests[{name}]", text, why)


def _probe(path: str, probe: Document, name: str) -> Errors:
    yield from _handler(path, probe, _HANDLERS)
    for field in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        yield from names.at_least(f"{path}.{field}", probe.get(field), 0)
    if name != "readinessProbe" and probe.get("successThreshold") not in (None, 1):
        yield invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None:
        if name == "readinessProbe":
            yield invalid(
                f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"
            )
        elif grace <= 0:
            yield invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0")


def _handler(path: str, handler: Document, words: tuple[str, ...]) -> Errors:
    given = [word for word in words if word in handler]
    if not given:
        yield required(path, "must specify a handler type")
    for extra in given[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for word in given[:1]:
        here, action = f"{path}.{word}", mapping(handler[word])
        match word:
            case "exec":
                if not action.get("command"):
                    yield required(f"{here}.command")
            case "httpGet":
                yield from _http_get(here, action)
            case "tcpSocket":
                yield from _handler_port(f"{here}.port", action.get("port"))
            case "grpc":
                yield from names.port(f"{here}.port", action.get("port"))


def _sleep(path: str, action: Document, facts: PodFacts) -> Errors:
    seconds = action.get("seconds", 0)
    if isinstance(seconds, int) and isinstance(facts.grace_s, int) and not 0 <= seconds <= facts.grace_s:
        why = f"must be non-negative and less than terminationGracePeriodSeconds ({facts.grace_s})"
        yield invalid(path, seconds, why)


def _http_get(path: str, action: Document) -> Errors:
    if not action.get("path"):
        yield required(f"{path}.path")
    yield from _handler_port(f"{path}.port", action.get("port"))
    yield from names.one_of(f"{path}.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
    for number, item in enumerate(items(action.get("httpHeaders"))):
        header = mapping(item).get("name")
        if not isinstance(header, str) or not re.match(r"[-A-Za-z0-9]+\Z", header):
            yield invalid(f"{path}.httpHeaders[{number}].name", header, "must be letters, digits and '-'")


def _handler_port(path: str, value: Json) -> Errors:
    if value in (None, ""):
        yield required(path)
    else:
        yield from names.port_or_name(path, value)
