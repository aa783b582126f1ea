"""BackendTLSPolicies: TLS to the backends of Services, which policy counts, and what it says.

Comes in: policies, Services, ConfigMaps. Goes out: for a port of a Service its TLS, or why connections to it must fail; conditions of each policy.
Not here: which Gateways are its ancestors (``policy_status.py``).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import ConfigMap, Service
from netloom.api.gateway import (
    BackendTLSPolicy,
    BackendTLSPolicySpec,
    ObjectReference,
    SubjectAltName,
    read_spec,
)
from netloom.model.gateways.certificates import Bad, read_authorities
from netloom.model.gateways.hostnames import is_precise
from netloom.model.gateways.plan import BackendTls
from netloom.model.gateways.status import Condition, condition
from netloom.model.gateways.troubles import Trouble, in_words
from netloom.model.provenance import source_of
from netloom.units import ObjectKey

KIND = "BackendTLSPolicy"
_Target = tuple[ObjectKey, str]
"""Service and name of its port; empty for all of them."""


class PolicyReading(msgspec.Struct, frozen=True):
    """One policy, apart from others that want the same."""

    key: ObjectKey
    created: str
    generation: int
    targets: tuple[ObjectReference, ...]
    tls: BackendTls
    config_maps: tuple[ObjectKey, ...]
    references: tuple[Trouble, ...] = ()
    """Condition ResolvedRefs."""
    invalid: tuple[Trouble, ...] = ()
    """Condition Accepted."""


class BackendPolicies:
    """All policies of a cluster, and who wins where several are about the same."""

    def __init__(
        self,
        policies: Mapping[ObjectKey, BackendTLSPolicy],
        services: Mapping[ObjectKey, Service],
        config_maps: Mapping[ObjectKey, ConfigMap],
    ) -> None:
        self.readings = {key: _read(policy, config_maps) for key, policy in policies.items()}
        self._services = services
        self._holders: dict[_Target, ObjectKey] = {}
        self._lost: dict[ObjectKey, list[Trouble]] = {}
        for reading in sorted(self.readings.values(), key=lambda r: (r.created, r.key.name, r.key.namespace)):
            for index, target in enumerate(reading.targets):
                self._claim(reading, index, target)

    @property
    def config_maps(self) -> frozenset[ObjectKey]:
        """Every ConfigMap that a policy names."""
        return frozenset(key for reading in self.readings.values() for key in reading.config_maps)

    @property
    def verdicts(self) -> dict[_Target, BackendTls | str]:
        """What holds for each target; to see what a change changes."""
        return {target: self._verdict(key) for target, key in self._holders.items()}

    def of(self, service: ObjectKey, port_name: str) -> BackendTls | str | None:
        """TLS of this port; None: none; a text: why connections to it must fail. A policy for the port comes before one for the Service."""
        holder = self._holders.get((service, port_name)) if port_name else None
        holder = holder or self._holders.get((service, ""))
        return None if holder is None else self._verdict(holder)

    def targets_of(self, policy: ObjectKey) -> frozenset[ObjectKey]:
        """Services that it is about."""
        reading = self.readings[policy]
        return frozenset(ObjectKey(policy.namespace, t.name) for t in reading.targets if _is_service(t))

    def conditions(self, policy: ObjectKey) -> list[Condition]:
        """Accepted and ResolvedRefs of this policy, the same towards every Gateway."""
        reading = self.readings[policy]
        generation = reading.generation
        refused = [*reading.invalid, *self._lost.get(policy, ())]
        accepted = condition("Accepted", True, "Accepted", "", generation)
        if refused:
            accepted = condition("Accepted", False, refused[0].reason, in_words(refused), generation)
        resolved = condition("ResolvedRefs", True, "ResolvedRefs", "", generation)
        if reading.references:
            reason = reading.references[0].reason
            resolved = condition("ResolvedRefs", False, reason, in_words(reading.references), generation)
        return [accepted, resolved]

    def _verdict(self, holder: ObjectKey) -> BackendTls | str:
        reading = self.readings[holder]
        broken = (*reading.references, *reading.invalid)
        return f"{KIND} {holder}: {in_words(broken)}" if broken else reading.tls

    def _claim(self, reading: PolicyReading, index: int, target: ObjectReference) -> None:
        field = f"spec.targetRefs[{index}]"
        lost = self._lost.setdefault(reading.key, [])
        if not _is_service(target):
            kind = f"{target.group}/{target.kind}" if target.group else target.kind
            lost.append(Trouble(field, "Invalid", f"{kind} is not supported; name a Service"))
            return
        service = ObjectKey(reading.key.namespace, target.name)
        found = self._services.get(service)
        section = target.section_name or ""
        if found is None:
            lost.append(Trouble(field, "TargetNotFound", f"Service {service} is not there"))
        elif section and all(port.name != section for port in found.spec.ports):
            lost.append(Trouble(field, "TargetNotFound", f"Service {service} has no port named {section}"))
        holder = self._holders.setdefault((service, section), reading.key)
        if holder != reading.key:
            problem = f"{KIND} {holder.name}, which is older, is about the same"
            lost.append(Trouble(field, "Conflicted", problem))


def _is_service(target: ObjectReference) -> bool:
    return (target.group, target.kind) == ("", "Service")


def _read(policy: BackendTLSPolicy, config_maps: Mapping[ObjectKey, ConfigMap]) -> PolicyReading:
    reading = read_spec(policy, BackendTLSPolicySpec)
    validation = reading.value.validation
    invalid = [Trouble(u.field, "Invalid", u.problem) for u in reading.unread]
    field = "spec.validation"
    if not is_precise(validation.hostname):
        invalid.append(Trouble(f"{field}.hostname", "Invalid", f'"{validation.hostname}" is no host name'))
    names = _names(validation.subject_alt_names, f"{field}.subjectAltNames", invalid)
    known = validation.well_known_ca_certificates
    refs = validation.ca_certificate_refs
    if bool(refs) == bool(known):
        problem = "exactly one of caCertificateRefs and wellKnownCACertificates is needed"
        invalid.append(Trouble(field, "Invalid", problem))
    elif known not in ("", "System"):
        problem = f'"{known}" is not known; use System'
        invalid.append(Trouble(f"{field}.wellKnownCACertificates", "Invalid", problem))
    authorities, references = _authorities(policy.key.namespace, refs, config_maps)
    if refs and not authorities:
        problem = "none of them holds an authority that can be used"
        invalid.append(Trouble(f"{field}.caCertificateRefs", "NoValidCACertificate", problem))
    meta = policy.metadata
    source = source_of(KIND, meta, field)
    return PolicyReading(
        key=policy.key,
        created=meta.creation_timestamp or "9",
        generation=meta.generation,
        targets=reading.value.target_refs,
        tls=BackendTls(validation.hostname, authorities, names, source),
        config_maps=tuple(ObjectKey(policy.key.namespace, ref.name) for ref in refs),
        references=tuple(references),
        invalid=tuple(invalid),
    )


def _names(given: tuple[SubjectAltName, ...], field: str, invalid: list[Trouble]) -> tuple[str, ...]:
    """The name that a certificate is checked for, in place of the host name.

    An engine of the field checks one host name. What it cannot check is refused here, with words, rather than checked in part.
    """
    for index, name in enumerate(given):
        if name.type != "Hostname" or not is_precise(name.hostname):
            problem = f'type "{name.type}" with "{name.hostname or name.uri}" cannot be checked; use a Hostname without wildcard'
            invalid.append(Trouble(f"{field}[{index}]", "Invalid", problem))
    if len(given) > 1:
        invalid.append(Trouble(field, "Invalid", f"has {len(given)} names, and one can be checked"))
    return tuple(name.hostname for name in given)


def _authorities(
    namespace: str, refs: tuple[ObjectReference, ...], config_maps: Mapping[ObjectKey, ConfigMap]
) -> tuple[str, list[Trouble]]:
    """PEM of all references that can be used, and what is wrong with the others."""
    found: list[str] = []
    troubles: list[Trouble] = []
    for index, ref in enumerate(refs):
        field = f"spec.validation.caCertificateRefs[{index}]"
        if (ref.group, ref.kind) != ("", "ConfigMap"):
            kind = f"{ref.group}/{ref.kind}" if ref.group else ref.kind
            troubles.append(Trouble(field, "InvalidKind", f"{kind} is not supported; use a ConfigMap"))
            continue
        key = ObjectKey(namespace, ref.name)
        config_map = config_maps.get(key)
        read = Bad("is not there") if config_map is None else read_authorities(config_map)
        if isinstance(read, Bad):
            troubles.append(Trouble(field, "InvalidCACertificateRef", f"ConfigMap {key} {read.problem}"))
        else:
            found.append(read)
    return "".join(found), troubles
