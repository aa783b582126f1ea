"""TrafficPolicies by what they are for: of several the oldest counts, field by field, and one for a section before one for the whole object.

Comes in: policies, Secrets, grants. Goes out: what holds for an object (``TrafficLookup``), and every policy's status. A policy that cannot be used as
written refuses the requests that it is for. Not here: reading one policy (``traffic_spec.py``), attaching routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from netloom.api.core import Secret
from netloom.api.gateway import GROUP as GATEWAY_GROUP
from netloom.api.gateway import ObjectReference, read_spec
from netloom.api.traffic import TrafficPolicy, TrafficPolicySpec
from netloom.model.gateways.grants import Grants
from netloom.model.gateways.plan import Traffic
from netloom.model.gateways.pools import PoolRefs
from netloom.model.gateways.status import CONTROLLER, condition
from netloom.model.gateways.traffic_spec import SpecReader
from netloom.model.gateways.view import GatewayView
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
        """``status`` of every policy: one ancestor for each target."""
        return {
            key: {"ancestors": [self._ancestor(policy, ref, view, pools) for ref in refs]}
            for key, policy in self._policies.items()
            if (refs := read_spec(policy, TrafficPolicySpec).value.target_refs)
        }

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
        if not _is_there(ref, key, view):
            return "TargetNotFound", f"{ref.kind} {key} is not there"
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


def _is_there(ref: ObjectReference, key: ObjectKey, view: GatewayView) -> bool:
    kinds: Mapping[str, Iterable[ObjectKey]] = {
        "Gateway": view.gateways,
        "HTTPRoute": view.http_routes,
        "GRPCRoute": view.grpc_routes,
        "Ingress": view.ingresses,
    }
    return key in kinds.get(ref.kind, ())
