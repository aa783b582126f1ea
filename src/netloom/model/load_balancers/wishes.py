"""What one Service has and asks for: families, addresses, pools, whom it shares with.

Comes in: a Service. Goes out: a :class:`Wish`; what cannot be read of it is a Finding in it. Not here: what it gets (``allocation.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from netloom.api.core import Service, ServicePort
from netloom.api.load_balancers import (
    ADDRESSES_ANNOTATION,
    LOAD_BALANCER_CLASS,
    POOL_ANNOTATION,
    SHARE_ANNOTATION,
)
from netloom.model.claims import Seniority, seniority
from netloom.model.load_balancers.pools import Pool
from netloom.model.provenance import Finding, Source, source_of
from netloom.units import Addr, Family, ObjectKey, parse_addr

VERSIONS: Mapping[str, int] = {"IPv4": 4, "IPv6": 6}
WORDS: Mapping[int, str] = {4: Family.V4.address_type, 6: Family.V6.address_type}
POOL_FIELD = f"metadata.annotations[{POOL_ANNOTATION}]"
ADDRESSES_FIELD = f"metadata.annotations[{ADDRESSES_ANNOTATION}]"


class Sharing(msgspec.Struct, frozen=True):
    """With whom a Service may have one address."""

    key: str
    """Empty: with nobody."""
    ports: frozenset[tuple[str, int]]
    is_local: bool
    pods: tuple[str, tuple[tuple[str, str], ...]]
    """Namespace and selector."""

    def clash(self, other: Sharing) -> str:
        """Why the two cannot have one address; empty where they can."""
        if not self.key or self.key != other.key:
            return "it is not shared with this key"
        if both := sorted(self.ports & other.ports):
            protocol, port = both[0]
            return f"both have port {port}/{protocol}"
        if (self.is_local or other.is_local) and (self.pods != other.pods or not self.pods[1]):
            return "externalTrafficPolicy Local, and they are not of the same pods"
        return ""


class Wish(msgspec.Struct, frozen=True):
    """What one Service has, and what it wants."""

    subject: Source
    seniority: Seniority
    labels: Mapping[str, str]
    sharing: Sharing
    has: tuple[Addr, ...] = ()
    """``status.loadBalancer.ingress``."""
    beside: tuple[Addr, ...] = ()
    """``spec.externalIPs``: nobody else is given them."""
    is_ours: bool = False
    """It is given addresses by us; else nothing of it is touched."""
    is_leaving: bool = False
    """It keeps what it has and gets nothing more."""
    versions: tuple[int, ...] = ()
    """Families that it wants, 4 and 6, in its order."""
    needs_all: bool = True
    """Whether one family without an address is a lack: not with PreferDualStack."""
    requested: tuple[tuple[Addr, str], ...] = ()
    """Addresses, and the field that asks for each."""
    pools: tuple[str, ...] | None = None
    """Names, in this order; None: any."""
    findings: tuple[Finding, ...] = ()
    """What cannot be read. Then it keeps what it has and gets nothing more."""

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.subject.namespace, self.subject.name)

    def request(self, version: int) -> tuple[Addr, str] | None:
        """The address of a family that it asks for, and the field."""
        return next((one for one in self.requested if one[0].version == version), None)

    def excluded_by(self, pool: Pool, namespace_labels: Mapping[str, str]) -> str:
        """The field of a pool because of which it gives nothing to this Service, with words; empty where it does."""
        if pool.is_disabled:
            return "spec.disabled: it gives no addresses any more"
        if pool.namespaces is not None and not pool.namespaces.matches(namespace_labels):
            return f"spec.namespaceSelector: it is not for namespace {self.subject.namespace}"
        if pool.services is not None and not pool.services.matches(self.labels):
            return f"spec.serviceSelector: it is not for {self.subject.subject}"
        return ""


def read_wish(service: Service) -> Wish | None:
    """What a Service has and wants; None where that is nothing."""
    spec, meta = service.spec, service.metadata
    is_balanced = spec.type == "LoadBalancer"
    has = tuple(_addresses(ingress.ip for ingress in service.status.load_balancer.ingress))
    beside = tuple(_addresses(spec.external_ips))
    if not is_balanced and not has and not beside:
        return None
    subject = source_of("Service", meta)
    annotations = meta.annotations
    wish = Wish(
        subject=subject,
        seniority=seniority(meta),
        labels=meta.labels,
        sharing=Sharing(
            annotations.get(SHARE_ANNOTATION, "").strip(),
            frozenset(map(_port, spec.ports)),
            spec.external_traffic_policy == "Local",
            (meta.namespace, tuple(sorted((spec.selector or {}).items()))),
        ),
        has=has,
        beside=beside,
        is_ours=is_balanced and spec.load_balancer_class in ("", LOAD_BALANCER_CLASS),
        is_leaving=meta.deletion_timestamp is not None,
    )
    if not wish.is_ours:
        return wish
    findings: list[Finding] = []
    versions = _versions(service)
    return msgspec.structs.replace(
        wish,
        versions=versions,
        needs_all=spec.ip_family_policy != "PreferDualStack",
        requested=_requested(service, subject, versions, findings),
        pools=_pools(annotations.get(POOL_ANNOTATION), subject, findings),
        findings=tuple(findings),
    )


def _port(port: ServicePort) -> tuple[str, int]:
    return port.protocol, port.port


def _versions(service: Service) -> tuple[int, ...]:
    """Of ``spec.ipFamilies``, which the API server fills in; else those of its ClusterIPs."""
    spec = service.spec
    found = [VERSIONS[word] for word in spec.ip_families if word in VERSIONS]
    found = found or [address.version for address in _addresses(spec.cluster_ips or (spec.cluster_ip,))]
    return tuple(dict.fromkeys(found)) or (4,)


def _requested(
    service: Service, subject: Source, versions: tuple[int, ...], findings: list[Finding]
) -> tuple[tuple[Addr, str], ...]:
    text, field = service.metadata.annotations.get(ADDRESSES_ANNOTATION), ADDRESSES_FIELD
    if text is None:
        text, field = service.spec.load_balancer_ip, "spec.loadBalancerIP"
    found: dict[int, tuple[Addr, str]] = {}
    for item in _items(text):
        address = parse_addr(item)
        if address is None:
            problem, hint = f"{item!r} is no IP address", "write it as 203.0.113.7 or 2001:db8::7"
        elif address.version in found:
            problem, hint = f"{address} is a second one of its family", "ask for one of each family"
        elif address.version not in versions:
            word = WORDS[address.version]
            problem = f"{address} is {word}, which is not among spec.ipFamilies"
            hint = f"add {word} to spec.ipFamilies, or ask for another"
        else:
            found[address.version] = (address, field)
            continue
        findings.append(Finding(subject.at(field), problem, hint))
    return tuple(found.values())


def _pools(text: str | None, subject: Source, findings: list[Finding]) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(dict.fromkeys(_items(text)))
    if not names:
        hint = "name one, or remove the annotation"
        findings.append(Finding(subject.at(POOL_FIELD), "names no LoadBalancerPool", hint))
    return names


def _items(text: str) -> list[str]:
    return [item for part in text.split(",") if (item := part.strip())]


def _addresses(texts: Iterator[str] | tuple[str, ...]) -> Iterator[Addr]:
    for text in texts:
        address = parse_addr(text)
        if address is not None:
            yield address
