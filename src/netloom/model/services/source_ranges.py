"""Who may come in at the LoadBalancer addresses of a Service.

Comes in: a Service, the node's own addresses. Goes out: ranges for each family, and Findings. Not here: how others are kept out.

``spec.loadBalancerSourceRanges`` holds for whoever asks at such an address, pods and nodes too, as with kube-proxy. It never
fails open: an entry that cannot be read lets nobody in, and where all entries are of one family, nobody of the other comes in.
"""

from __future__ import annotations

from collections.abc import Sequence

from netloom.api.core import Service
from netloom.model.provenance import Finding, Source
from netloom.model.services.addresses import GivenAddress
from netloom.model.services.frontends import FrontendKind
from netloom.model.services.texts import read_range
from netloom.units import Addr, Cidr, Family, family_of

ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
"""The same as a list with commas; counts where the field is empty."""
FIELD = "spec.loadBalancerSourceRanges"
_ANNOTATION_FIELD = f"metadata.annotations[{ANNOTATION}]"


def ranges_field(service: Service) -> str:
    """The field that says who may come in; empty where none does."""
    if service.spec.load_balancer_source_ranges:
        return FIELD
    return _ANNOTATION_FIELD if service.metadata.annotations.get(ANNOTATION, "").strip() else ""


def read_source_ranges(
    service: Service, subject: Source, given: Sequence[GivenAddress], node: Sequence[Addr]
) -> tuple[dict[Family, tuple[Cidr, ...]] | None, tuple[Finding, ...]]:
    """The ranges of each family; None where everybody may come in.

    A node that is let in may have the address itself (its network sends what is for it back at once): then the packet's source is
    that address, which is let in, too.
    """
    field = ranges_field(service)
    if not field:
        return None, ()
    found: dict[Family, dict[Cidr, None]] = {family: {} for family in Family}
    findings: list[Finding] = []
    for at, text in _entries(service, field):
        cidr = read_range(text.strip())
        if cidr is None:
            hint = "write a CIDR such as 203.0.113.0/24; until then it lets nobody in"
            findings.append(Finding(subject.at(at), f'"{text.strip()}" is no CIDR', hint))
        else:
            found[family_of(cidr)][cidr] = None
    for family, ranges in found.items():
        if any(address in cidr for address in node for cidr in ranges):
            own = (
                one.address
                for one in given
                if one.kind is FrontendKind.LOAD_BALANCER and one.family is family
            )
            ranges.update((_only(address), None) for address in own)
    return {family: tuple(ranges) for family, ranges in found.items()}, tuple(findings)


def _entries(service: Service, field: str) -> list[tuple[str, str]]:
    if field == FIELD:
        return [(f"{FIELD}[{i}]", text) for i, text in enumerate(service.spec.load_balancer_source_ranges)]
    return [(field, text) for text in service.metadata.annotations[ANNOTATION].split(",")]


def _only(address: Addr) -> Cidr:
    cidr = read_range(f"{address}/{address.max_prefixlen}")
    assert cidr is not None  # noqa: S101 - an address and its own length always make a CIDR
    return cidr
