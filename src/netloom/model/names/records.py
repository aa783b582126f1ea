"""Names and their records as values. Comes in: nothing. Goes out: the types below. Not here: how they are made, wire bytes.

All names are absolute, lower case, and written without the final dot.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence

import msgspec

from netloom.model.inputs import ClusterFacts
from netloom.model.provenance import Finding
from netloom.units import Addr, Cidr

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOMAIN_LABEL = re.compile(r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?")


class RecordType(enum.IntEnum):
    """Types that a cluster has (RFC 1035, 2782, 3596), by their numbers on the wire."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33


class RecordSet(msgspec.Struct, frozen=True, order=True, gc=False, array_like=True):
    """All records of one type at one name (RFC 2181, section 5)."""

    type: RecordType
    data: tuple[str, ...]
    """Presentation form (RFC 1035, section 5.1), sorted, without repetition; names in it have no final dot."""
    ttl: int
    """Seconds."""


RecordSets = tuple[RecordSet, ...]
"""What a name has, in order of type. Empty: the name exists only because others end in it, or holds a place (NODATA)."""


class NameSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the names of a cluster depend on besides its objects."""

    cluster_domain: str = "cluster.local"
    ttl: int = 5
    """Seconds that a client may keep an answer."""
    negative_ttl: int = 0
    """Seconds that a client may keep a negative answer (SOA minimum, RFC 2308). None: a name is there for everybody as soon as it is
    here, and asking again costs little where the server is on the same node."""
    reverse_cidrs: tuple[Cidr, ...] = ()
    """Addresses whose reverse names are ours alone: pods and Services. Others without a record are asked upstream."""
    dns_addresses: tuple[Addr, ...] = ()
    """The cluster DNS address, once for each family: address of the zone's name server."""

    @staticmethod
    def from_facts(facts: ClusterFacts) -> NameSettings:
        """The settings that the cluster's facts imply."""
        return NameSettings(
            cluster_domain=facts.cluster_domain.lower().rstrip("."),
            reverse_cidrs=facts.cluster_cidrs + facts.service_cidrs,
            dns_addresses=facts.dns_addresses,
        )


class NamesState(msgspec.Struct, frozen=True):
    """Every name that exists, and the zones that we are the authority of: what is in a zone and not here does not exist."""

    zones: tuple[str, ...] = ()
    names: Mapping[str, RecordSets] = {}
    findings: tuple[Finding, ...] = ()


class NamesDelta(msgspec.Struct, frozen=True):
    """What an update changed: names with their whole new record sets, and names that no longer exist."""

    upserts: Mapping[str, RecordSets] = {}
    removals: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True where no answer has changed."""
        return not (self.upserts or self.removals)


class Part(msgspec.Struct, frozen=True):
    """What one object adds to the names; several objects may add to the same name."""

    names: Mapping[str, RecordSets] = {}
    findings: tuple[Finding, ...] = ()


class RecordCollector:
    """Gathers single records into record sets; order and repetition of what is added make no difference."""

    def __init__(self, *, ttl: int) -> None:
        self._ttl = ttl
        self._names: dict[str, dict[RecordType, set[str]]] = {}

    def add(self, name: str, type_: RecordType, datum: str) -> None:
        """One record at ``name``."""
        self._names.setdefault(name, {}).setdefault(type_, set()).add(datum)

    def add_name(self, name: str) -> None:
        """A name that exists, whether it has records or not."""
        self._names.setdefault(name, {})

    def add_address(self, name: str, address: Addr) -> None:
        """One A or AAAA record at ``name``, as the address's family asks."""
        self.add(name, RecordType.A if address.version == 4 else RecordType.AAAA, str(address))

    def collected(self) -> dict[str, RecordSets]:
        """All names with their record sets."""
        return {
            name: tuple(RecordSet(t, tuple(sorted(sets[t])), self._ttl) for t in sorted(sets))
            for name, sets in self._names.items()
        }


def merge(claims: Sequence[RecordSets]) -> RecordSets:
    """What a name has where several objects add to it: the union of each type, with the smallest ttl."""
    if len(claims) == 1:
        return claims[0]
    merged: dict[RecordType, RecordSet] = {}
    for sets in claims:
        for one in sets:
            other = merged.get(one.type)
            if other is not None:
                data = tuple(sorted({*one.data, *other.data}))
                one = RecordSet(one.type, data, min(one.ttl, other.ttl))  # noqa: PLW2901  the sum takes its place
            merged[one.type] = one
    return tuple(merged[t] for t in sorted(merged))


def is_label(text: str) -> bool:
    """True for a DNS label as Kubernetes writes names of Services, ports and hosts (RFC 1123, at most 63 characters)."""
    return _LABEL.fullmatch(text) is not None


def is_domain_name(text: str) -> bool:
    """True for a host name of one or more labels, at most 253 characters, without the final dot; ``_`` may be in it."""
    return len(text) <= 253 and all(_DOMAIN_LABEL.fullmatch(label) for label in text.split("."))


def zone_file(names: Mapping[str, RecordSets]) -> str:
    """Names as the text of a zone file, sorted; a name without records is a comment. For people and tests."""
    lines = []
    for name in sorted(names, key=lambda n: n.split(".")[::-1]):
        if not names[name]:
            lines.append(f"; {name}.")
        lines.extend(f"{name}. {s.ttl} IN {s.type.name} {datum}" for s in names[name] for datum in s.data)
    return "\n".join(lines) + "\n"
