"""TrafficPolicies by what they are for: of several the oldest counts, field by field, and one for a section before one for the whole object.

Comes in: policies, Secrets, grants. Goes out: what holds for an object (``TrafficLookup``), every policy's status and Findings. A policy that cannot be used as
written refuses the requests that it is for. Not here: reading one policy (``traffic_spec.py``), attaching routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from netloom.api.core import Secret
from netloom.api.gateway import GROUP as GATEWAY_GROUP
from netloom.api.gateway import GatewaySpec, ObjectReference, read_spec
from netloom.api.gateway_routes import GRPCRouteSpec, HTTPRouteSpec
from netloom.api.traffic import TrafficPolicy, TrafficPolicySpec
from netloom.model.gateways.grants import Grants
from netloom.model.gateways.plan import Traffic
from netloom.model.gateways.pools import PoolRefs
from netloom.model.gateways.status import CONTROLLER, condition
from netloom.model.gateways.traffic_spec import SpecReader
from netloom.model.gateways.view import GatewayView
from netloom.model.provenance import Finding, source_of
from netloom.units import ObjectKey

_GROUPS = {
    "Gateway": GATEWAY_GROUP,
    "HTTPRoute": GATEWAY_GROUP,
    "GRPCRoute": GATEWAY_GROUP,
    "Ingress": "networking.k8s.io",
}
_FIELDS = {
    "basic": "basicAuth",
    "jwt": "jwt",
    "external": "externalAuth",
    "rate": "rateLimit",
    "allow": "allowedSources",
    "retries": "retries",
    "outliers": "outliers",
    "body_bytes": "maxBodyBytes",
    "session_cookie": "sessionCookie",
}
_WITH = {"retries": ("retries", "retry_on")}
"""Fields of ``Traffic`` that one field of a policy fills together."""
_NOTHING = Traffic()


class _Attached(msgspec.Struct, frozen=True):
    """A policy and the section of the object that it is for; empty: the whole."""

    policy: TrafficPolicy
    section: str


class TrafficPolicies:
    """The policies of a cluster.

    Args:
        policies: all of them.
        secrets: of the cluster; those that policies name are read.
        grants: of the cluster.
    """

    def __init__(
        self,
        policies: Mapping[ObjectKey, TrafficPolicy],
        secrets: Mapping[ObjectKey, Secret],
        grants: Grants,
    ) -> None:
        self._policies = policies
        self._reader = SpecReader(secrets, grants)
        self._by_target: dict[tuple[str, ObjectKey], list[_Attached]] = {}
        self.secrets: set[ObjectKey] = set()
        """Secrets that policies name, there or not."""
        self.services: set[ObjectKey] = set()
        """Services that policies name, there or not."""
        for policy in sorted(policies.values(), key=_age):
            spec = read_spec(policy, TrafficPolicySpec).value
            self._note(policy.metadata.namespace, spec)
            for ref in spec.target_refs:
                if _GROUPS.get(ref.kind) == ref.group:
                    at = (ref.kind, ObjectKey(policy.metadata.namespace, ref.name))
                    self._by_target.setdefault(at, []).append(_Attached(policy, ref.section_name or ""))

    def targets(self, kind: str) -> set[ObjectKey]:
        """Objects of a kind that some policy is for."""
        return {key for found, key in self._by_target if found == kind}

    def named(self, key: ObjectKey, pools: PoolRefs) -> Traffic | str:
        """The policy that a route's filter names, whatever its targets; a text: why it cannot be used."""
        policy = self._policies.get(key)
        return f"TrafficPolicy {key} is not there" if policy is None else self._read(policy, pools)

    def about(self, kind: str, key: ObjectKey, section: str, pools: PoolRefs) -> Traffic | str | None:
        """What holds for a section of an object (a listener, a rule; empty: no named one); a text: why requests must be refused."""
        found: Traffic | None = None
        for attached in self._attached(kind, key, section):
            read = self._read(attached.policy, pools)
            if isinstance(read, str):
                return read
            found = read if found is None else joined(found, read)
        return found

    def joined(self, first: Traffic, second: Traffic) -> Traffic:
        """Both; where both say something, ``first`` counts."""
        return joined(first, second)

    def statuses(self, view: GatewayView, pools: PoolRefs) -> Mapping[ObjectKey, dict[str, Any]]:
        """``status`` of every policy: one ancestor for each target that can be named."""
        return {
            key: {"ancestors": [self._ancestor(policy, ref, view, pools) for ref in refs]}
            for key, policy in self._policies.items()
            if (refs := [ref for ref in _targets(policy) if ref.kind and ref.name])
        }

    def findings(self) -> Mapping[ObjectKey, tuple[Finding, ...]]:
        """Targets that cannot be read: no status has a place for what names nothing."""
        return {key: found for key, policy in self._policies.items() if (found := _unread_targets(policy))}

    def _note(self, namespace: str, spec: TrafficPolicySpec) -> None:
        for part in (spec.basic_auth, spec.jwt):
            if part is not None:
                self.secrets.add(ObjectKey(namespace, part.secret_ref.name))
        if spec.external_auth is not None:
            ref = spec.external_auth.backend_ref
            self.services.add(ObjectKey(ref.namespace or namespace, ref.name))

    def _attached(self, kind: str, key: ObjectKey, section: str) -> Iterator[_Attached]:
        attached = self._by_target.get((kind, key), ())
        if section:
            yield from (one for one in attached if one.section == section)
        yield from (one for one in attached if not one.section)

    def _read(self, policy: TrafficPolicy, pools: PoolRefs) -> Traffic | str:
        read = self._reader.read(policy, pools)
        if isinstance(read, Traffic):
            return read
        return f"TrafficPolicy {policy.key}: " + "; ".join(map(str, read))

    def _ancestor(
        self, policy: TrafficPolicy, ref: ObjectReference, view: GatewayView, pools: PoolRefs
    ) -> dict[str, Any]:
        about = {
            "group": ref.group,
            "kind": ref.kind,
            "namespace": policy.metadata.namespace,
            "name": ref.name,
        }
        if ref.section_name:
            about["sectionName"] = ref.section_name
        reason, message = self._verdict(policy, ref, view, pools)
        said = condition("Accepted", reason == "Accepted", reason, message, policy.metadata.generation)
        return {"ancestorRef": about, "controllerName": CONTROLLER, "conditions": [said]}

    def _verdict(
        self, policy: TrafficPolicy, ref: ObjectReference, view: GatewayView, pools: PoolRefs
    ) -> tuple[str, str]:
        key = ObjectKey(policy.metadata.namespace, ref.name)
        if _GROUPS.get(ref.kind) != ref.group:
            return "Invalid", f"{ref.group}/{ref.kind} is no kind that a TrafficPolicy can be for"
        if problem := _missing(ref, key, view):
            return "TargetNotFound", problem
        read = self._reader.read(policy, pools)
        if not isinstance(read, Traffic):
            refused = "; requests are refused until it is put right"
            return "Invalid", "; ".join(map(str, read)) + refused
        lost = self._lost(policy, read, ref, key, pools)
        said = _said(read)
        if said and len(lost) == len(said):
            return "Conflicted", "; ".join(lost)
        return "Accepted", "; ".join(lost) or "in force"

    def _lost(
        self, policy: TrafficPolicy, read: Traffic, ref: ObjectReference, key: ObjectKey, pools: PoolRefs
    ) -> list[str]:
        """Fields that an older policy for the same says."""
        lost: dict[str, str] = {}
        for other in self._by_target.get((ref.kind, key), ()):
            if other.policy.key == policy.key:
                break
            older = self._reader.read(other.policy, pools)
            if other.section == (ref.section_name or "") and isinstance(older, Traffic):
                for field in _said(read):
                    if field in _said(older):
                        lost.setdefault(
                            field,
                            f"{_FIELDS[field]} is said by TrafficPolicy {other.policy.key}, which is older",
                        )
        return list(lost.values())


def joined(first: Traffic, second: Traffic) -> Traffic:
    """Both policies as one; where both say something, ``first`` counts."""
    more = {
        name: getattr(second, name)
        for field in _said(second)
        if field not in _said(first)
        for name in _WITH.get(field, (field,))
    }
    return replace(first, source=first.source or second.source, **more)


def _said(traffic: Traffic) -> tuple[str, ...]:
    return tuple(name for name in _FIELDS if getattr(traffic, name) != getattr(_NOTHING, name))


def _age(policy: TrafficPolicy) -> tuple[str, ObjectKey]:
    """The oldest first (GEP-713); one that never was created is the newest."""
    return policy.metadata.creation_timestamp or "~", policy.key


def _targets(policy: TrafficPolicy) -> tuple[ObjectReference, ...]:
    return read_spec(policy, TrafficPolicySpec).value.target_refs


def _unread_targets(policy: TrafficPolicy) -> tuple[Finding, ...]:
    reading = read_spec(policy, TrafficPolicySpec)
    whole = (one for one in reading.unread if one.field == "spec")
    hint = "write group, kind and name of what the policy is for; until then it may be for nothing"
    return tuple(
        Finding(source_of("TrafficPolicy", policy.metadata, one.field), one.problem, hint)
        for one in (*whole, *reading.under("spec.targetRefs"))
    )


def _missing(ref: ObjectReference, key: ObjectKey, view: GatewayView) -> str:
    """Why there is nothing that a target means; empty: there is."""
    kinds: Mapping[str, Iterable[ObjectKey]] = {
        "Gateway": view.gateways,
        "HTTPRoute": view.http_routes,
        "GRPCRoute": view.grpc_routes,
        "Ingress": view.ingresses,
    }
    if key not in kinds.get(ref.kind, ()):
        return f"{ref.kind} {key} is not there"
    if not ref.section_name or ref.section_name in _sections(ref.kind, key, view):
        return ""
    part = {"Gateway": "listener of HTTP or HTTPS", "Ingress": "section"}.get(ref.kind, "rule")
    return f'{ref.kind} {key} has no {part} "{ref.section_name}", so the policy is for nothing'


def _sections(kind: str, key: ObjectKey, view: GatewayView) -> set[str]:
    """Names of the parts of an object that requests come through."""
    if kind == "Gateway":
        listeners = read_spec(view.gateways[key], GatewaySpec).value.listeners
        return {one.name for one in listeners if one.protocol in ("HTTP", "HTTPS")}
    if kind == "HTTPRoute":
        return {rule.name for rule in read_spec(view.http_routes[key], HTTPRouteSpec).value.rules or ()}
    if kind == "GRPCRoute":
        return {rule.name for rule in read_spec(view.grpc_routes[key], GRPCRouteSpec).value.rules}
    return set()
