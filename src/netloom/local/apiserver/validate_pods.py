"""Rules for Pods and pod templates. Pure.

Comes in: a pod spec with defaults; for updates the stored one. Goes out: FieldErrors. Not here: containers
(validate_containers.py). Source: API reference of core/v1 PodSpec and Volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from netloom.local.apiserver import validate_names as names
from netloom.local.apiserver.fielderrors import (
    duplicate,
    forbidden,
    invalid,
    items,
    mapping,
    required,
    too_many,
)
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.validate_affinity import affinity
from netloom.local.apiserver.validate_containers import PodFacts, container, host_ports
from netloom.local.apiserver.validate_ephemeral import ephemeral_containers
from netloom.local.apiserver.validate_names import Errors
from netloom.local.apiserver.validate_objects import EFFECTS
from netloom.local.apiserver.validate_volumes import volumes
from netloom.units import parse_addr

_DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_MAX_NAMESERVERS = 3
_MAX_SEARCHES = 32
_CONTAINER_LISTS = ("initContainers", "containers")
_MUTABLE = (
    "activeDeadlineSeconds",
    "tolerations",
    "terminationGracePeriodSeconds",
    "schedulingGates",
    "ephemeralContainers",
)

Document = Mapping[str, Any]


def pod(document: Document, old: Document | None) -> Errors:
    """A core/v1 Pod."""
    spec = mapping(document.get("spec"))
    yield from pod_spec("spec", spec)
    yield from ephemeral_containers(spec, mapping(old.get("spec")) if old is not None else None, _facts(spec))
    if old is not None:
        yield from _unchanged(spec, mapping(old.get("spec")))


def _facts(spec: Document) -> PodFacts:
    return PodFacts(
        volumes=frozenset(str(mapping(v).get("name")) for v in items(spec.get("volumes"))),
        host_network=spec.get("hostNetwork") is True,
        grace_s=spec.get("terminationGracePeriodSeconds"),
    )


def pod_spec(path: str, spec: Document) -> Errors:
    """The spec of a pod or of a pod template."""
    facts = _facts(spec)
    yield from volumes(f"{path}.volumes", items(spec.get("volumes")))
    yield from _containers(path, spec, facts)
    yield from names.one_of(
        f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "Never", "OnFailure"), needed=True
    )
    yield from _dns(path, spec)
    yield from names.optional(f"{path}.hostname", spec.get("hostname"), names.label_problem)
    yield from names.optional(f"{path}.subdomain", spec.get("subdomain"), names.label_problem)
    yield from names.optional(f"{path}.nodeName", spec.get("nodeName"), names.subdomain_problem)
    yield from names.optional(
        f"{path}.serviceAccountName", spec.get("serviceAccountName"), names.subdomain_problem
    )
    yield from names.labels(f"{path}.nodeSelector", spec.get("nodeSelector"))
    yield from names.at_least(
        f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"), 0
    )
    yield from names.at_least(f"{path}.activeDeadlineSeconds", spec.get("activeDeadlineSeconds"), 1)
    yield from _placement(path, spec)
    for number, item in enumerate(items(spec.get("hostAliases"))):
        alias, here = mapping(item), f"{path}.hostAliases[{number}]"
        if parse_addr(str(alias.get("ip", ""))) is None:
            yield invalid(
                f"{here}.ip", alias.get("ip", ""), "must be an IP address, such as 192.0.2.7 or 2001:db8::7"
            )
        for position, host in enumerate(items(alias.get("hostnames"))):
            yield from names.named(f"{here}.hostnames[{position}]", host, names.subdomain_problem)
    for number, item in enumerate(items(spec.get("readinessGates"))):
        gate = mapping(item).get("conditionType")
        yield from names.named(
            f"{path}.readinessGates[{number}].conditionType", gate, names.qualified_name_problem
        )


def _containers(path: str, spec: Document, facts: PodFacts) -> Errors:
    if not items(spec.get("containers")):
        yield required(f"{path}.containers")
    seen: set[Json] = set()
    for field in _CONTAINER_LISTS:
        for number, item in enumerate(items(spec.get(field))):
            value, here = mapping(item), f"{path}.{field}[{number}]"
            yield from container(here, value, facts, init=field == "initContainers")
            if value.get("name") in seen and value.get("name"):
                yield duplicate(f"{here}.name", value["name"])
            seen.add(value.get("name"))
    taken: set[tuple[Json, Json, Json]] = set()
    # the ordinary init containers are over before the others open their ports
    sidecars = [
        c if mapping(c).get("restartPolicy") == "Always" else {} for c in items(spec.get("initContainers"))
    ]
    yield from host_ports(f"{path}.initContainers", sidecars, taken)
    yield from host_ports(f"{path}.containers", items(spec.get("containers")), taken)


def _dns(path: str, spec: Document) -> Errors:
    policy = spec.get("dnsPolicy")
    yield from names.one_of(f"{path}.dnsPolicy", policy, _DNS_POLICIES, needed=True)
    config, here = mapping(spec.get("dnsConfig")), f"{path}.dnsConfig"
    servers = items(config.get("nameservers"))
    if policy == "None" and not servers:
        yield required(
            f"{here}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"
        )
    if len(servers) > _MAX_NAMESERVERS:
        yield too_many(f"{here}.nameservers", len(servers), _MAX_NAMESERVERS)
    for number, server in enumerate(servers):
        if parse_addr(str(server)) is None:
            yield invalid(
                f"{here}.nameservers[{number}]",
                server,
                "must be an IP address, such as 192.0.2.7 or 2001:db8::7",
            )
    searches = items(config.get("searches"))
    if len(searches) > _MAX_SEARCHES:
        yield too_many(f"{here}.searches", len(searches), _MAX_SEARCHES)
    for number, domain in enumerate(searches):
        yield from names.named(f"{here}.searches[{number}]", domain, _search_problem)
    for number, option in enumerate(items(config.get("options"))):
        if not mapping(option).get("name"):
            yield required(f"{here}.options[{number}]", "must not be empty")


def _search_problem(text: str) -> str:
    # a trailing dot, the root alone, and underscores are in use as search domains
    return (
        ""
        if text == "."
        else names.subdomain_problem(text.removesuffix(".").replace("_", "-").strip("-") or "x")
    )


def _placement(path: str, spec: Document) -> Errors:
    yield from affinity(f"{path}.affinity", mapping(spec.get("affinity")))
    for number, item in enumerate(items(spec.get("tolerations"))):
        toleration, here = mapping(item), f"{path}.tolerations[{number}]"
        yield from names.optional(f"{here}.key", toleration.get("key"), names.qualified_name_problem)
        operator = toleration.get("operator") or "Equal"
        yield from names.one_of(f"{here}.operator", operator, ("Equal", "Exists"))
        if not toleration.get("key") and operator != "Exists":
            yield invalid(f"{here}.operator", operator, "operator must be Exists when `key` is empty")
        if operator == "Exists" and toleration.get("value"):
            yield invalid(f"{here}.operator", operator, "value must be empty when `operator` is 'Exists'")
        yield from names.one_of(f"{here}.effect", toleration.get("effect"), EFFECTS)
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
            yield invalid(
                f"{here}.effect",
                toleration.get("effect"),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            )
    for number, item in enumerate(items(spec.get("topologySpreadConstraints"))):
        constraint, here = mapping(item), f"{path}.topologySpreadConstraints[{number}]"
        skew = constraint.get("maxSkew")
        if not isinstance(skew, int) or skew <= 0:
            yield invalid(f"{here}.maxSkew", skew, "must be greater than zero")
        yield from names.named(
            f"{here}.topologyKey", constraint.get("topologyKey"), names.qualified_name_problem
        )
        actions = ("DoNotSchedule", "ScheduleAnyway")
        yield from names.one_of(
            f"{here}.whenUnsatisfiable", constraint.get("whenUnsatisfiable"), actions, needed=True
        )
        yield from names.label_selector(f"{here}.labelSelector", constraint.get("labelSelector"))


def _unchanged(spec: Document, before: Document) -> Errors:
    """What of a pod may change once it is there."""
    for field in _CONTAINER_LISTS:
        if len(items(spec.get(field))) != len(items(before.get(field))):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    deadline, earlier = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if earlier is not None and (deadline is None or deadline > earlier):
        yield invalid(
            "spec.activeDeadlineSeconds", deadline, f"must be less than or equal to previous value {earlier}"
        )
    had = items(before.get("tolerations"))
    if any(toleration not in items(spec.get("tolerations")) for toleration in had):
        yield forbidden(
            "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
        )
    if any(gate not in items(before.get("schedulingGates")) for gate in items(spec.get("schedulingGates"))):
        yield forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
    if spec.get("terminationGracePeriodSeconds") != before.get("terminationGracePeriodSeconds"):
        yield forbidden("spec.terminationGracePeriodSeconds", "may not be changed")
    if changed := sorted(_changes(_fixed(before), _fixed(spec))):
        why = ("pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
               "`spec.activeDeadlineSeconds` and `spec.tolerations` (additions)")  # fmt: skip
        yield forbidden("spec", f"{why}; changed: {', '.join(changed)}")


def _fixed(spec: Document) -> dict[str, Any]:
    """The part of a pod's spec that may not change."""
    fixed = {
        name: value
        for name, value in spec.items()
        if name not in _MUTABLE and value not in ({}, [], "", False)
    }
    for field in _CONTAINER_LISTS:
        if field in fixed:
            fixed[field] = [
                {n: v for n, v in mapping(c).items() if n != "image"} for c in items(fixed[field])
            ]
    if mapping(spec.get("nodeSelector")) and spec.get("schedulingGates"):
        fixed.pop("nodeSelector", None)
    return fixed


def _changes(before: Json, after: Json, path: str = "spec") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _changes(before.get(name), after.get(name), f"{path}.{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changes(one, other, f"{path}[{number}]")
    elif before != after:
        yield path
