"""A zone from text, fed, with its fast path."""

from __future__ import annotations

import pytest

from netloom.dns.answers import Answer, Ask, assemble
from netloom.dns.counters import Counters
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.wire import encode_name, parse_query
from netloom.dns.zone import Zone
from netloom.model.names.records import RecordType
from netloom.testing.dns_messages import Reply, parse_zone, read_reply, write_query

SOA = "SOA ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 5"
ZONE = f"""
cluster.local NS ns.dns.cluster.local
cluster.local {SOA}
dns.cluster.local
ns.dns.cluster.local A 10.96.0.10
dns-version.cluster.local TXT 1.1.0
svc.cluster.local
shop.svc.cluster.local
web.shop.svc.cluster.local A 10.96.0.5
_tcp.web.shop.svc.cluster.local
_http._tcp.web.shop.svc.cluster.local SRV 0 100 80 web.shop.svc.cluster.local
db.shop.svc.cluster.local A 10.244.1.3
db.shop.svc.cluster.local A 10.244.1.4
db.shop.svc.cluster.local A 10.244.1.5
six.shop.svc.cluster.local AAAA 2001:db8::6
api.shop.svc.cluster.local CNAME api.example.org
near.shop.svc.cluster.local CNAME web.shop.svc.cluster.local
dead.shop.svc.cluster.local CNAME gone.shop.svc.cluster.local
loop.shop.svc.cluster.local CNAME loop2.shop.svc.cluster.local
loop2.shop.svc.cluster.local CNAME loop.shop.svc.cluster.local
10.in-addr.arpa {SOA}
96.10.in-addr.arpa
0.96.10.in-addr.arpa
5.0.96.10.in-addr.arpa PTR web.shop.svc.cluster.local
9.2.0.192.in-addr.arpa PTR far.db.shop.svc.cluster.local
"""


class ServedZone:
    def __init__(self) -> None:
        self.counters = Counters()
        self.prepared = PreparedAnswers(counters=self.counters)
        self.zone = Zone(prepared=self.prepared)
        self.feed()

    def feed(self, text: str = ZONE, generation: int = 1) -> None:
        names = parse_zone(text.strip().splitlines())
        zones = [n for n, sets in names.items() if any(s.type == RecordType.SOA for s in sets)]
        self.zone.replace(generation, zones, {encode_name(n): sets for n, sets in names.items()})

    def says(self, name: str, kind: str | int = "A") -> Answer | Ask | None:
        return self.zone.answer(parse_query(write_query(name, kind)))

    def ask(self, name: str, kind: str | int = "A") -> Reply:
        query = parse_query(write_query(name, kind))
        said = self.zone.answer(query)
        assert isinstance(said, Answer)
        return read_reply(assemble(query, said, query.udp_size))


@pytest.fixture
def served() -> ServedZone:
    return ServedZone()


@pytest.fixture(scope="session")
def served_class() -> type[ServedZone]:
    return ServedZone
