"""What is there without any object: the zones' own records, the schema version, the two branches. Values only."""

from __future__ import annotations

from netloom.model.names.records import NameSettings, Part, RecordSet, RecordSets, RecordType
from netloom.model.names.reverse import reverse_zones

SCHEMA_VERSION = "1.1.0"
"""Version of the Kubernetes DNS specification that the records follow (its section 2.2)."""

# Nobody transfers the zone (AXFR is refused), so the serial never has to move; the last number is what RFC 2308 reads.
_SOA_TIMES = "1 7200 1800 86400"


def zones_of(settings: NameSettings) -> tuple[str, ...]:
    """Names of the zones that we are the authority of: the cluster domain and the reverse zones."""
    reverse = {zone for cidr in settings.reverse_cidrs for zone in reverse_zones(cidr)}
    return (settings.cluster_domain, *sorted(reverse))


def zone_part(settings: NameSettings) -> Part:
    """Apex records of each zone, the name server's address, ``dns-version``, and ``svc`` and ``pod``, which always exist."""
    domain, ttl = settings.cluster_domain, settings.ttl
    server = f"ns.dns.{domain}"
    soa = RecordSet(
        RecordType.SOA, (f"{server} hostmaster.{domain} {_SOA_TIMES} {settings.negative_ttl}",), ttl
    )
    apex: RecordSets = (RecordSet(RecordType.NS, (server,), ttl), soa)
    names: dict[str, RecordSets] = dict.fromkeys(zones_of(settings), apex)
    names[server] = _addresses(settings)
    names[f"dns-version.{domain}"] = (RecordSet(RecordType.TXT, (SCHEMA_VERSION,), ttl),)
    names[f"svc.{domain}"] = ()
    names[f"pod.{domain}"] = ()
    return Part(names)


def _addresses(settings: NameSettings) -> RecordSets:
    sets = []
    for type_, version in ((RecordType.A, 4), (RecordType.AAAA, 6)):
        data = tuple(sorted(str(a) for a in settings.dns_addresses if a.version == version))
        if data:
            sets.append(RecordSet(type_, data, settings.ttl))
    return tuple(sets)
