"""Who answers what, before and after the first feed, and what becomes of bytes that are no query."""

from __future__ import annotations

import struct

import pytest

from netloom.testing.dns_messages import write_query


@pytest.fixture
def unfed(served_class):
    return served_class()


@pytest.fixture
def fed(served):
    return served


@pytest.mark.parametrize(
    "name", ["web.shop.svc.cluster.local", "cluster.local", "1.0.96.10.in-addr.arpa", "8.ip6.arpa"]
)
def test_before_the_first_feed_nothing_is_denied(unfed, name):
    reply = unfed.send(write_query(name))
    assert (reply.rcode, reply.answers, reply.authority) == ("SERVFAIL", (), ())
    assert unfed.upstream.asked == []


def test_before_the_first_feed_other_names_are_asked_upstream(unfed):
    unfed.send(write_query("www.example.org"))
    assert [a.name for a in unfed.upstream.asked] == [b"\3www\7example\3org\0"]


def test_after_it_names_are_denied_and_reverse_names_of_others_forwarded(fed):
    assert fed.send(write_query("nope.cluster.local")).rcode == "NXDOMAIN"
    assert fed.send(write_query("5.0.96.10.in-addr.arpa", "PTR")).rcode == "NOERROR"
    assert fed.send(write_query("7.0.96.10.in-addr.arpa", "PTR")).rcode == "NXDOMAIN"
    assert fed.upstream.asked == []
    fed.send(write_query("8.2.0.192.in-addr.arpa", "PTR"))
    fed.send(write_query("Cluster.Local.example.org"))
    assert [a.name for a in fed.upstream.asked] == [
        b"\x018\x012\x010\x03192\7in-addr\4arpa\0",
        b"\7cluster\5local\7example\3org\0",
    ]


def test_without_recursion_desired_nobody_is_asked(fed):
    assert fed.send(write_query("www.example.org", flags=0)).rcode == "REFUSED"
    assert fed.upstream.asked == []
    assert fed.send(write_query("web.shop.svc.cluster.local", flags=0)).rcode == "NOERROR"


@pytest.mark.parametrize(
    ("data", "rcode"),
    [
        pytest.param(write_query("cluster.local", 252), "REFUSED", id="AXFR"),
        pytest.param(write_query("cluster.local", 251), "REFUSED", id="IXFR"),
        pytest.param(write_query("cluster.local", 249), "NOTIMP", id="TKEY"),
        pytest.param(write_query("cluster.local", 41), "FORMERR", id="OPT asked for"),
        pytest.param(write_query("cluster.local", flags=0x2900), "NOTIMP", id="update"),
        pytest.param(write_query("hostname.bind", 16)[:-2] + b"\0\3", "REFUSED", id="class CHAOS"),
        pytest.param(write_query("cluster.local", 255)[:-2] + b"\0\xff", "REFUSED", id="class ANY"),
        pytest.param(write_query("cluster.local", 6, flags=0x2000), "NOTIMP", id="notify"),
        pytest.param(struct.pack(">HHHHHH", 1, 0x2800, 1, 9, 9, 9) + b"\1", "NOTIMP", id="update in pieces"),
        pytest.param(struct.pack(">HHHHHH", 1, 0x3000, 0, 0, 0, 0), "NOTIMP", id="stateful operations"),
        pytest.param(write_query("cluster.local") + b"x", "FORMERR", id="bytes after the end"),
        pytest.param(struct.pack(">HHHHHH", 1, 0x100, 2, 0, 0, 0), "FORMERR", id="two questions"),
    ],
)
def test_what_is_not_served(fed, data, rcode):
    reply = fed.send(data)
    assert reply.rcode == rcode
    assert reply.ident == int.from_bytes(data[:2], "big")
    assert fed.upstream.asked == []


def test_an_unknown_edns_version_gets_badvers(fed):
    query = bytearray(write_query("cluster.local", edns=1232))
    query[-5] = 1
    reply = fed.send(bytes(query))
    assert reply.rcode == "NOERROR"  # the low bits; the upper ones, 1, are in the OPT record
    assert reply.additional == ("OPT size=1232 ttl=0x1000000",)


@pytest.mark.parametrize("data", [b"", b"\0" * 11, write_query("cluster.local", flags=0x8180)])
def test_silence_where_a_reply_would_be_wrong(fed, data):
    assert fed.send(data) is None
    assert fed.counters.malformed == 1


class Broken:
    def answer(self, query, client):
        raise ZeroDivisionError


def test_a_defect_costs_one_answer(served_class, caplog):
    broken = served_class(Broken())
    assert broken.send(write_query("web.shop.svc.cluster.local")).rcode == "SERVFAIL"
    assert broken.counters.faults == 1
    assert "web.shop.svc.cluster.local" in caplog.text


def test_counters_in_words(fed):
    fed.send(write_query("nope.cluster.local"))
    counts = fed.counters.as_dict()
    assert counts["rcode_3"] == 1
    assert "rcode_0" not in counts
    assert counts["malformed"] == 0
