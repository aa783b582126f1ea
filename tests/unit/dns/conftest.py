"""A server without sockets, fed with a zone from text."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from netloom.clock import SystemClock
from netloom.dns.answers import Answer, Ask
from netloom.dns.clients import Client, Clients
from netloom.dns.cookies import Cookies
from netloom.dns.counters import Counters
from netloom.dns.counts import NameCounts
from netloom.dns.handlers import ClusterNames, Handler, OtherNames, ReverseNames, UnservedQueries
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.records import pack
from netloom.dns.search import SearchedNames
from netloom.dns.server import QueryServer
from netloom.dns.wire import Query, encode_name, parse_query
from netloom.dns.zone import Zone
from netloom.model.names.records import RecordSets, RecordType
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
_zone.db.shop.svc.cluster.local
pin._zone.db.shop.svc.cluster.local
prefer._zone.db.shop.svc.cluster.local
a.pin._zone.db.shop.svc.cluster.local A 10.244.1.3
a.prefer._zone.db.shop.svc.cluster.local A 10.244.1.3
two.prefer._zone.db.shop.svc.cluster.local
of.two.prefer._zone.db.shop.svc.cluster.local A 10.244.1.3
*.pin._zone.db.shop.svc.cluster.local
*.prefer._zone.db.shop.svc.cluster.local A 10.244.1.3
*.prefer._zone.db.shop.svc.cluster.local A 10.244.1.4
*.prefer._zone.db.shop.svc.cluster.local A 10.244.1.5
9.2.0.192.in-addr.arpa PTR far.db.shop.svc.cluster.local
"""


class NoteAsks:
    """In the place of the forwarder: notes what should be asked upstream, and says what the test wants said."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.says: Callable[[Query, Ask], Answer] = lambda query, ask: Answer(5)

    def ask(self, query: Query, ask: Ask, done: Callable[[Answer], None]) -> None:
        self.asked.append(ask)
        done(self.says(query, ask))


class Served:
    """A server without sockets: a zone, clients, and what is kept ready."""

    def __init__(self, *extra: Handler, patience_s: float = 0.0) -> None:
        self.counters = Counters()
        self.prepared = PreparedAnswers(counters=self.counters)
        self.zone = Zone(prepared=self.prepared)
        self.clients = Clients(prepared=self.prepared)
        self.upstream = NoteAsks()
        handlers = (
            *extra,
            UnservedQueries(),
            SearchedNames(zone=self.zone),
            ClusterNames(zone=self.zone, cluster_domain="cluster.local"),
            ReverseNames(zone=self.zone),
            OtherNames(),
        )
        self.server = QueryServer(
            handlers=handlers,
            forwarder=self.upstream,
            zone=self.zone,
            prepared=self.prepared,
            cookies=Cookies(clock=SystemClock(), secret=b"s"),
            counters=self.counters,
            names=NameCounts(),
            patience_s=patience_s,
        )

    def feed(self, text: str = ZONE, generation: int = 1) -> None:
        names = parse_zone(text.strip().splitlines())
        zones = [n for n, sets in names.items() if any(s.type == RecordType.SOA for s in sets)]
        self.zone.replace(generation, zones, packed(names))

    def change(
        self, generation: int, upserts: Mapping[str, RecordSets], removals: Sequence[str] = ()
    ) -> None:
        self.zone.update(generation, packed(upserts), tuple(map(encode_name, removals)))

    def client(self, address: str = "") -> Client:
        found = self.clients.at(ipaddress.ip_address(address or "10.244.9.9").packed)
        assert found is not None
        return found

    def send(self, data: bytes, *, address: str = "", stream: bool = False) -> Reply | None:
        """What comes back at once."""
        sent: list[bytes] = []
        promised = self.server.handle(data, self.client(address), sent.append, stream=stream)
        assert promised >= (len(sent) == 1)
        return read_reply(sent[0]) if sent else None

    def ask(self, name: str, kind: str | int = "A", *, address: str = "", **how: Any) -> Reply:
        reply = self.send(write_query(name, kind, **how), address=address)
        assert reply is not None
        return reply

    def fast(self, name: str, kind: str | int = "A", *, address: str = "", **how: Any) -> Reply | None:
        """What is ready."""
        data = self.prepared.reply(write_query(name, kind, **how), self.client(address).answers)
        return None if data is None else read_reply(data)

    def made(self, name: str, kind: str | int = "A", **how: Any) -> Reply | None:
        """What is made ready at the first question, as the receive loop does it."""
        data = write_query(name, kind, **how)
        if self.prepared.make(data[2:].lower()) is None:
            return None
        reply = self.prepared.reply(data, {})
        return None if reply is None else read_reply(reply)

    def says(self, name: str, kind: str | int = "A") -> Answer | Ask | None:
        """The zone's own word."""
        return self.zone.answer(parse_query(write_query(name, kind)))


def packed(names: Mapping[str, RecordSets]) -> dict[bytes, bytes]:
    return {encode_name(name): pack(sets) for name, sets in names.items()}


@pytest.fixture
def served() -> Served:
    made = Served()
    made.feed()
    return made


@pytest.fixture(scope="session")
def served_class() -> type[Served]:
    return Served
