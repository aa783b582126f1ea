"""What the zone says: records, the two kinds of no, aliases, and that no change leaves an old answer behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.dns.answers import Answer, Ask, assemble
from netloom.dns.wire import encode_name, parse_query
from netloom.model.names.records import RecordSet, RecordType
from netloom.testing.dns_messages import TYPES, read_reply, write_query

SOA = "cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"


@pytest.mark.parametrize(
    ("name", "kind", "answers"),
    [
        ("web.shop.svc.cluster.local", "A", ["10.96.0.5"]),
        ("WEB.shop.SVC.cluster.local", "A", ["10.96.0.5"]),
        ("db.shop.svc.cluster.local", "A", ["10.244.1.3", "10.244.1.4", "10.244.1.5"]),
        ("six.shop.svc.cluster.local", "AAAA", ["2001:db8::6"]),
        ("dns-version.cluster.local", "TXT", ["1.1.0"]),
        ("5.0.96.10.in-addr.arpa", "PTR", ["web.shop.svc.cluster.local."]),
        ("9.2.0.192.in-addr.arpa", "PTR", ["far.db.shop.svc.cluster.local."]),
        ("cluster.local", "NS", ["ns.dns.cluster.local."]),
        ("api.shop.svc.cluster.local", "CNAME", ["api.example.org."]),
    ],
)
def test_records(served, name, kind, answers):
    reply = served.ask(name, kind)
    assert reply.rcode == "NOERROR"
    assert reply.flags == {"qr", "aa", "rd", "ra"}
    assert reply.question.startswith(name + ". ")
    # Owner names point at the question, so they come back in the case that was asked (0x20).
    assert sorted(reply.answers) == sorted(f"{name}. 5 {kind} {data}" for data in answers)


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("web.shop.svc.cluster.local", "AAAA", "NOERROR"),
        ("web.shop.svc.cluster.local", 65, "NOERROR"),
        ("shop.svc.cluster.local", "A", "NOERROR"),
        ("svc.cluster.local", "A", "NOERROR"),
        ("cluster.local", "A", "NOERROR"),
        ("_tcp.web.shop.svc.cluster.local", "SRV", "NOERROR"),
        ("nope.shop.svc.cluster.local", "A", "NXDOMAIN"),
        ("web.nope.svc.cluster.local", "A", "NXDOMAIN"),
        ("deeper.web.shop.svc.cluster.local", "A", "NXDOMAIN"),
        ("_x._tcp.web.shop.svc.cluster.local", "SRV", "NXDOMAIN"),
    ],
)
def test_the_two_kinds_of_no(served, name, kind, rcode):
    reply = served.ask(name, kind)
    assert (reply.rcode, reply.answers, reply.authority) == (rcode, (), (SOA,))
    assert "aa" in reply.flags


def test_no_in_a_reverse_zone_names_that_zone(served):
    assert served.ask("6.0.96.10.in-addr.arpa", "PTR").authority[0].startswith("10.in-addr.arpa. 5 SOA ")
    assert served.ask("0.96.10.in-addr.arpa", "PTR").rcode == "NOERROR"


def test_names_of_others_are_not_ours(served):
    assert served.says("www.example.org") is None
    assert served.says("8.2.0.192.in-addr.arpa", "PTR") is None
    assert served.says("9.2.0.192.in-addr.arpa", "A") is None


def test_bytes_of_the_zone_within_a_label_are_not_the_zone(served):
    query = parse_query(write_query("x"))
    inside = b"\x0babc\x07cluster\x05local\0"
    assert served.zone.answer(type(query)(1, 0x100, inside, inside, 1, 1)) is None


def test_srv_brings_addresses_along(served):
    reply = served.ask("_http._tcp.web.shop.svc.cluster.local", "SRV")
    assert reply.answers == (
        "_http._tcp.web.shop.svc.cluster.local. 5 SRV 0 100 80 web.shop.svc.cluster.local.",
    )
    assert reply.additional == ("web.shop.svc.cluster.local. 5 A 10.96.0.5",)


def test_any_gets_one_set(served):
    assert len(served.ask("cluster.local", "ANY").answers) == 1


def test_an_alias_within_the_cluster_is_followed(served):
    assert served.ask("near.shop.svc.cluster.local").answers == (
        "near.shop.svc.cluster.local. 5 CNAME web.shop.svc.cluster.local.",
        "web.shop.svc.cluster.local. 5 A 10.96.0.5",
    )
    nodata = served.ask("near.shop.svc.cluster.local", "AAAA")
    assert (nodata.rcode, len(nodata.answers), nodata.authority) == ("NOERROR", 1, (SOA,))
    dead = served.ask("dead.shop.svc.cluster.local")
    assert (dead.rcode, len(dead.answers), dead.authority) == ("NXDOMAIN", 1, (SOA,))
    assert served.ask("loop.shop.svc.cluster.local").rcode == "SERVFAIL"


def test_an_alias_to_elsewhere_is_for_others_to_follow(served):
    said = served.says("api.shop.svc.cluster.local")
    assert isinstance(said, Ask)
    assert said.name == encode_name("api.example.org")
    assert [r.name for r in said.prefix] == [encode_name("api.shop.svc.cluster.local")]


def a_set(*addresses: str) -> tuple[RecordSet, ...]:
    return (RecordSet(RecordType.A, addresses, 5),)


def fast(served, name: str, kind: str = "A", **how):
    data = served.prepared.reply(write_query(name, kind, **how))
    return None if data is None else read_reply(data)


def test_what_was_answered_is_ready_and_a_change_ends_that(served):
    name = "web.shop.svc.cluster.local"
    assert fast(served, name) is None
    served.ask(name)
    assert fast(served, name) == served.ask(name)
    served.zone.update(2, {name: a_set("10.96.0.6")}, ())
    assert fast(served, name) is None
    assert served.ask(name).answers == (f"{name}. 5 A 10.96.0.6",)
    assert served.zone.generation == 2


def test_a_negative_answer_ends_with_the_change_that_creates_the_name(served):
    name = "new.shop.svc.cluster.local"
    assert served.ask(name).rcode == "NXDOMAIN"
    assert fast(served, name) is not None
    served.zone.update(2, {name: a_set("10.96.0.7")}, ())
    assert fast(served, name) is None
    assert served.ask(name).rcode == "NOERROR"
    served.zone.update(3, {}, (name,))
    assert fast(served, name) is None
    assert served.ask(name).rcode == "NXDOMAIN"


@pytest.mark.parametrize(
    ("name", "kind", "where"),
    [
        ("_http._tcp.web.shop.svc.cluster.local", "SRV", "additional"),
        ("near.shop.svc.cluster.local", "A", "answers"),
    ],
)
def test_an_answer_that_hangs_on_another_name_changes_with_it(served, name, kind, where):
    served.ask(name, kind)
    assert fast(served, name, kind) is not None
    served.zone.update(2, {"web.shop.svc.cluster.local": a_set("10.96.0.6")}, ())
    assert fast(served, name, kind) is None
    assert getattr(served.ask(name, kind), where)[-1] == "web.shop.svc.cluster.local. 5 A 10.96.0.6"


def test_a_whole_set_replaces_everything(served):
    served.ask("web.shop.svc.cluster.local")
    served.ask("nope.shop.svc.cluster.local")
    served.feed(f"cluster.local {'SOA a b 1 2 3 4 5'}\nnope.shop.svc.cluster.local A 10.96.0.9", generation=9)
    assert fast(served, "web.shop.svc.cluster.local") is None
    assert fast(served, "nope.shop.svc.cluster.local") is None
    assert served.ask("web.shop.svc.cluster.local").rcode == "NXDOMAIN"
    assert served.ask("nope.shop.svc.cluster.local").rcode == "NOERROR"
    assert served.zone.generation == 9


NAMES = (
    "web.shop.svc.cluster.local",
    "db.shop.svc.cluster.local",
    "near.shop.svc.cluster.local",
    "_http._tcp.web.shop.svc.cluster.local",
    "shop.svc.cluster.local",
    "nope.shop.svc.cluster.local",
)


@given(
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(["A", "AAAA", "SRV", "TXT"]),
    upper=st.booleans(),
    edns=st.sampled_from([0, 512, 1232, 4096]),
    flags=st.sampled_from([0x100, 0x120, 0, 0x110]),
    dnssec_ok=st.booleans(),
)
def test_the_fast_path_says_what_the_slow_one_says(zone_once, name, kind, upper, edns, flags, dnssec_ok):
    data = write_query(name.upper() if upper else name, kind, edns=edns, flags=flags, dnssec_ok=dnssec_ok)
    query = parse_query(data)
    said = zone_once.zone.answer(query)
    assert isinstance(said, Answer)
    slow = read_reply(assemble(query, said, query.udp_size))
    ready = zone_once.prepared.reply(data)
    if ready is None:
        assert flags not in (0x100, 0x120) or dnssec_ok
        return
    quick = read_reply(ready)
    assert (quick.ident, quick.rcode, quick.flags, quick.question, quick.size) == (
        slow.ident, slow.rcode, slow.flags, slow.question, slow.size
    )  # fmt: skip
    assert sorted(quick.answers) == sorted(slow.answers)
    assert (quick.authority, quick.additional) == (slow.authority, slow.additional)


@pytest.fixture(scope="module")
def zone_once(served_class):
    return served_class()


def test_the_first_of_several_addresses_turns(served):
    name = "db.shop.svc.cluster.local"
    served.ask(name)
    replies = [fast(served, name) for _ in range(60)]
    firsts = {reply.answers[0] for reply in replies}
    assert len(firsts) == 3
    assert {tuple(sorted(reply.answers)) for reply in replies} == {tuple(sorted(served.ask(name).answers))}


def test_types_that_lower_case_would_change_are_not_prepared(served):
    # 65 (HTTPS) is the byte of "A", whose lower case is 97: they must not be taken for each other.
    served.ask("web.shop.svc.cluster.local", 65)
    assert fast(served, "web.shop.svc.cluster.local", 97) is None
    assert fast(served, "web.shop.svc.cluster.local", 65) is None


def test_large_sets_are_left_to_the_slow_path_and_cut_there(served):
    name = "db.shop.svc.cluster.local"
    many = tuple(f"10.244.{i}.1" for i in range(60))
    served.zone.update(2, {name: a_set(*many)}, ())
    cut = served.ask(name)
    assert "tc" in cut.flags
    assert 0 < len(cut.answers) < 60
    assert cut.size <= 512
    assert fast(served, name) is None
    assert len(fast(served, name, edns=1232).answers) == 60


def test_negative_answers_kept_are_bounded(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared.PASSING_LIMIT", 10)
    for i in range(25):
        served.ask(f"no-{i}.shop.svc.cluster.local")
    assert len(served.prepared) <= 10


def test_all_types_of_the_model_can_be_asked_for():
    assert {t.name for t in RecordType} <= set(TYPES)
