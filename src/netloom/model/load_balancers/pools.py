"""LoadBalancerPools, read: which addresses, what is left out, and for whom.

Comes in: LoadBalancerPools, and what others have of their ranges. Goes out: what of them can be given, and Findings. Not here: which
pool a Service gets (``wishes.py``), and who has what (``allocation.py``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from netloom.api.load_balancers import LoadBalancerPool
from netloom.api.selectors import Selector
from netloom.model.claims import Seniority, seniority
from netloom.model.load_balancers.spans import Span, holds, read_span, without
from netloom.model.provenance import Finding, Source, source_of
from netloom.model.selecting import read_selector
from netloom.units import Addr, Cidr

_UNUSABLE: Mapping[int, tuple[tuple[Cidr, str], ...]] = {
    4: (
        (ipaddress.ip_network("0.0.0.0/8"), "addresses that mean this network (RFC 1122)"),
        (ipaddress.ip_network("127.0.0.0/8"), "loopback addresses"),
        (ipaddress.ip_network("169.254.0.0/16"), "link-local addresses"),
        (ipaddress.ip_network("224.0.0.0/4"), "multicast addresses"),
        (ipaddress.ip_network("255.255.255.255/32"), "the address that means everybody"),
    ),
    6: (
        (ipaddress.ip_network("::/127"), "the unspecified and the loopback address"),
        (ipaddress.ip_network("::ffff:0:0/96"), "IPv4 addresses as IPv6 ones"),
        (ipaddress.ip_network("fe80::/10"), "link-local addresses"),
        (ipaddress.ip_network("ff00::/8"), "multicast addresses"),
    ),
}


class Pool(msgspec.Struct, frozen=True):
    """A pool as it is used.

    Selectors that are None exclude nobody. One with a fault excludes everybody: who is meant is not known.
    """

    name: str
    subject: Source
    spans: tuple[Span, ...]
    """All that is of the pool."""
    free: tuple[Span, ...]
    """The same without what nobody is given."""
    is_automatic: bool = True
    is_disabled: bool = False
    namespaces: Selector | None = None
    services: Selector | None = None

    @property
    def versions(self) -> frozenset[int]:
        """4, 6 or both."""
        return frozenset(span.version for span in self.spans)

    @property
    def rank(self) -> tuple[int, ...]:
        """How specific it is: the least comes first. Services before namespaces; a selector of everything counts as none."""
        return tuple(
            0 if one is not None and one.requirements else 1 for one in (self.services, self.namespaces)
        )

    def has(self, address: Addr) -> bool:
        """Whether an address is of this pool."""
        return holds(self.spans, address)

    def gives(self, address: Addr) -> bool:
        """Whether somebody may be given this address."""
        return holds(self.free, address)

    def size(self, version: int) -> int:
        """How many addresses of a family it gives."""
        return sum(span.size for span in self.free if span.version == version)


class _Read(msgspec.Struct, frozen=True):
    pool: Pool
    seniority: Seniority
    fields: Mapping[Span, str]
    reserved: tuple[Span, ...]
    findings: tuple[Finding, ...]


def unusable(span: Span) -> str:
    """Why nobody can be reached at addresses of a range; empty where all is well."""
    for cidr, words in _UNUSABLE[span.version]:
        if span.meets(Span(span.version, int(cidr.network_address), int(cidr.broadcast_address))):
            return f"has {words}: {cidr}"
    return ""


def read_pools(
    pools: Iterable[LoadBalancerPool], occupied: Mapping[Span, str]
) -> tuple[dict[str, Pool], tuple[Finding, ...]]:
    """All pools by name, without what an older pool has; what is named in ``occupied`` is given to nobody.

    Args:
        pools: as the API server has them.
        occupied: ranges and addresses of others, and who they are: nodes and their pods.
    """
    found: dict[str, Pool] = {}
    findings: list[Finding] = []
    taken: dict[Span, str] = {}
    for read in sorted(map(_read, pools), key=lambda one: one.seniority):
        findings.extend(read.findings)
        kept: list[Span] = []
        for span, field in read.fields.items():
            holder = next((who for other, who in taken.items() if span.meets(other)), "")
            if holder:
                problem = f"{span} overlaps with {holder}: what both have is of the older pool"
                findings.append(Finding(read.pool.subject.at(field), problem, "keep the ranges apart"))
            for other, who in occupied.items():
                if span.meets(other) and other.size > 1:
                    problem = f"{span} overlaps with {who}: nobody is given what both have"
                    findings.append(Finding(read.pool.subject.at(field), problem, "keep the ranges apart"))
            kept += without((span,), taken)
        taken.update(dict.fromkeys(kept, read.pool.subject.subject))
        free = without(without(kept, read.reserved), occupied)
        found[read.pool.name] = msgspec.structs.replace(read.pool, spans=tuple(kept), free=free)
    return found, tuple(findings)


def _read(pool: LoadBalancerPool) -> _Read:
    """One LoadBalancerPool, alone."""
    subject = source_of("LoadBalancerPool", pool.metadata)
    spec = pool.spec
    findings: list[Finding] = []
    fields: dict[Span, str] = {}
    for name, texts in (("cidrs", spec.cidrs), ("ranges", spec.ranges)):
        for number, text in enumerate(texts):
            field = f"spec.{name}[{number}]"
            span = read_span(text)
            problem = f'"{text}" is no range' if span is None else unusable(span)
            if span is None or problem:
                hint = "write 203.0.113.0/28, or 203.0.113.16-203.0.113.31 in spec.ranges"
                findings.append(Finding(subject.at(field), problem, hint))
            elif any(span.meets(other) for other in fields):
                problem = f"{text} overlaps with another range of this pool"
                findings.append(Finding(subject.at(field), problem, "write each range once"))
            else:
                fields[span] = field
    reserved: list[Span] = []
    for number, text in enumerate(spec.reserved):
        span = read_span(text)
        if span is None:
            problem, hint = f'"{text}" is no range', "write an address, a CIDR or first-last"
            findings.append(Finding(subject.at(f"spec.reserved[{number}]"), problem, hint))
        else:
            reserved.append(span)
    read = Pool(
        name=pool.metadata.name,
        subject=subject,
        spans=tuple(fields),
        free=(),
        is_automatic=spec.auto_assign,
        is_disabled=spec.disabled or pool.metadata.deletion_timestamp is not None,
        namespaces=read_selector(spec.namespace_selector, subject.at("spec.namespaceSelector"), findings),
        services=read_selector(spec.service_selector, subject.at("spec.serviceSelector"), findings),
    )
    return _Read(read, seniority(pool.metadata), fields, tuple(reserved), tuple(findings))
