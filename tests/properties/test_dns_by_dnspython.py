"""Our messages, read by another implementation (dnspython), and its messages, read by ours; both agree on every reply."""

from __future__ import annotations

from ipaddress import ip_network

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.clock import SystemClock
from netloom.dns.answers import Answer
from netloom.dns.clients import Clients
from netloom.dns.cookies import Cookies
from netloom.dns.counters import Counters
from netloom.dns.counts import NameCounts
from netloom.dns.handlers import ClusterNames, OtherNames, ReverseNames, UnservedQueries
from netloom.dns.prepared import PreparedAnswers
from netloom.dns.records import pack
from netloom.dns.search import SearchedNames
from netloom.dns.server import QueryServer
from netloom.dns.wire import encode_name
from netloom.dns.zone import Zone
from netloom.model.names.askers import Asker
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings, RecordSets
from netloom.testing import builders as b

DOMAIN = "cluster.local"
HERE = "10.244.1.3"
OBJECTS = (
    b.service("shop/web", "10.96.0.5", "2001:db8::5", ports=(b.port(80, "http"), b.port(53, "dns", protocol="UDP"))),
    b.service("shop/db", "None"),
    b.endpoint_slice("shop/db-1", "db", *(b.endpoint(f"10.244.2.{i}") for i in range(1, 41)), ports=(("pg", 5432),)),
    b.service("shop/near", type="ExternalName", external_name="web.shop.svc.cluster.local"),
    b.service("other/loop", type="ExternalName", external_name="loop.other.svc.cluster.local"),
)  # fmt: skip


SETTINGS = NameSettings(reverse_cidrs=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
STATE = Names.compute(b.view(*OBJECTS), SETTINGS)


class Refusing:
    """In the place of upstream servers."""

    def ask(self, query, ask, done) -> None:
        done(Answer(5))


class Pair:
    """Our server, and the names that it was given."""

    def __init__(self) -> None:
        self.names: dict[str, RecordSets] = dict(STATE.names)
        self.counters = Counters()
        self.prepared = PreparedAnswers(counters=self.counters)
        self.zone = Zone(prepared=self.prepared)
        self.clients = Clients(prepared=self.prepared)
        self.zone.replace(1, STATE.zones, {encode_name(n): pack(s) for n, s in self.names.items()})
        domains = (f"shop.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN)
        self.clients.replace({HERE: Asker("shop/pod", domains)}, None)
        self.server = QueryServer(
            handlers=(
                UnservedQueries(),
                SearchedNames(zone=self.zone),
                ClusterNames(zone=self.zone, cluster_domain=DOMAIN),
                ReverseNames(zone=self.zone),
                OtherNames(),
            ),
            forwarder=Refusing(),
            zone=self.zone,
            prepared=self.prepared,
            cookies=Cookies(clock=SystemClock()),
            counters=self.counters,
            names=NameCounts(),
            patience_s=0,
        )

    def ask(self, query: dns.message.Message, *, stream: bool = False) -> dns.message.Message:
        sent: list[bytes] = []
        client = self.clients.at(bytes((10, 244, 1, 3)))
        self.server.handle(query.to_wire(), client, sent.append, stream=stream)
        (wire,) = sent
        assert stream or len(wire) <= (query.payload or 512)
        reply = dns.message.from_wire(wire)
        assert query.is_response(reply)
        return reply


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


known = st.sampled_from([*sorted(STATE.names), f"nope.shop.svc.{DOMAIN}"])
kinds = st.sampled_from(["A", "AAAA", "SRV", "TXT", "NS", "SOA", "CNAME", "PTR", "HTTPS", "MX"])


@given(name=known, kind=kinds, edns=st.sampled_from([-1, 0]), do=st.booleans(), stream=st.booleans())
def test_what_another_implementation_reads_is_what_the_zone_has(pair, name, kind, edns, do, stream):
    query = dns.message.make_query(
        f"{name}.", kind, use_edns=edns, want_dnssec=do and edns == 0, payload=1232
    )
    reply = pair.ask(query, stream=stream)
    assert reply.flags & dns.flags.AA or reply.rcode() == dns.rcode.SERVFAIL
    wanted = next((one for one in pair.names.get(name, ()) if one.type.name == kind), None)
    if reply.rcode() == dns.rcode.SERVFAIL:
        assert "loop" in name
    elif wanted is not None:
        found = {
            r.to_text().rstrip(".").strip('"') for s in reply.answer if s.rdtype == wanted.type for r in s
        }
        every = {text.rstrip(".") for text in wanted.data}
        assert found <= every
        assert found == every or (reply.flags & dns.flags.TC and not stream)
        assert all(s.ttl == wanted.ttl for s in reply.answer)
    elif not reply.answer:
        assert (reply.rcode() == dns.rcode.NXDOMAIN) == (name not in pair.names)
        assert [s.rdtype for s in reply.authority] == [dns.rdatatype.SOA]
    ready = pair.prepared.reply(query.to_wire(), pair.clients.at(bytes((10, 244, 1, 3))).answers)
    if ready is not None:
        again = dns.message.from_wire(ready)
        assert query.is_response(again)
        assert (again.rcode(), again.flags) == (reply.rcode(), reply.flags)
        assert [sorted(s.to_text().split("\n")) for s in again.answer] == [
            sorted(s.to_text().split("\n")) for s in reply.answer
        ]


def test_the_search_path_and_an_alias_as_another_implementation_reads_them(pair):
    reply = pair.ask(dns.message.make_query(f"near.shop.shop.svc.{DOMAIN}.", "A"))
    assert [(s.name.to_text(), s.rdtype.name) for s in reply.answer] == [
        (f"near.shop.shop.svc.{DOMAIN}.", "CNAME"),
        (f"web.shop.svc.{DOMAIN}.", "A"),
    ]
    assert reply.resolve_chaining().answer[0].address == "10.96.0.5"


def test_cookies_as_another_implementation_reads_them(pair):
    option = dns.edns.CookieOption(b"12345678", b"")
    reply = pair.ask(dns.message.make_query(f"web.shop.svc.{DOMAIN}.", "A", options=[option], payload=1232))
    (said,) = reply.options
    assert (said.client, len(said.server)) == (b"12345678", 16)


def test_other_kinds_of_messages(pair):
    for opcode, kind in ((4, "SOA"), (5, "SOA")):
        query = dns.message.make_query(f"{DOMAIN}.", kind)
        query.set_opcode(opcode)
        sent: list[bytes] = []
        pair.server.handle(query.to_wire(), pair.clients.at(bytes(4)), sent.append, stream=False)
        assert dns.message.from_wire(sent[0]).rcode() == dns.rcode.NOTIMP
    future = dns.message.make_query(f"web.shop.svc.{DOMAIN}.", "A", use_edns=1)
    assert pair.ask(future).rcode() == dns.rcode.BADVERS
