"""The search path walked by the server: who is helped, with what, and that a change is never missed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netloom.dns.answers import Answer, assemble, write_answer
from netloom.dns.config import OutsideSettings, Rewrite, checked
from netloom.dns.fixed import FixedNames, RewrittenNames
from netloom.dns.records import Record
from netloom.dns.search import SearchedNames
from netloom.dns.wire import CLASS_IN, encode_name, parse_query
from netloom.model.names.askers import Asker
from netloom.model.names.records import RecordSet, RecordType
from netloom.testing.dns_messages import read_reply, write_query

SHOP, OTHER, EXTRA, BARE, FEW = (f"10.244.1.{i}" for i in range(3, 8))
STRANGER = "10.244.9.9"
DOMAIN = "cluster.local"


def standard(namespace: str, *extra: str, ndots: int = 5) -> Asker:
    return Asker(f"{namespace}/pod", (f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN, *extra), ndots)


@pytest.fixture
def searched(served):
    know(served)
    return served


def know(served) -> None:
    askers = {
        SHOP: standard("shop"),
        OTHER: standard("other"),
        EXTRA: standard("shop", "corp.example"),
        BARE: Asker("shop/bare"),
        FEW: standard("shop", ndots=1),
    }
    served.clients.replace(askers, None)


def a_set(*addresses: str):
    return (RecordSet(RecordType.A, addresses, 5),)


@pytest.mark.parametrize("name", ["web.shop.other.svc", "WEB.shop.other.svc", "web.shop.svc.other.svc", "web.shop.svc.cluster.local.other.svc"])  # fmt: skip
def test_the_first_completion_that_is_there_is_given_under_the_name_asked(searched, name):
    asked = f"{name}.{DOMAIN}"
    reply = searched.ask(asked, address=OTHER)
    assert (reply.rcode, reply.answers) == ("NOERROR", (f"{asked}. 5 A 10.96.0.5",))
    assert {"aa", "ra"} <= reply.flags
    ready = searched.fast(asked, address=OTHER)
    assert ready.answers == reply.answers
    assert searched.upstream.asked == []


def test_a_type_that_is_not_there_is_nodata_so_that_a_and_aaaa_agree(searched):
    reply = searched.ask(f"web.shop.other.svc.{DOMAIN}", "AAAA", address=OTHER)
    assert (reply.rcode, reply.answers, len(reply.authority)) == ("NOERROR", (), 1)
    assert reply.authority[0].startswith(f"{DOMAIN}. ")


@pytest.mark.parametrize("address", [SHOP, STRANGER, BARE])
def test_who_has_another_search_path_or_none_is_told_the_truth(searched, address):
    asked = f"web.shop.other.svc.{DOMAIN}"
    searched.ask(asked, address=OTHER)
    assert searched.fast(asked, address=address) is None
    assert searched.ask(asked, address=address).rcode == "NXDOMAIN"
    assert searched.fast(asked, address=address).rcode == "NXDOMAIN"
    assert searched.fast(asked, address=OTHER).rcode == "NOERROR"


def test_a_name_that_is_there_is_itself(searched):
    searched.change(2, {f"web.shop.other.svc.{DOMAIN}": a_set("10.9.9.9"), f"other.svc.{DOMAIN}": ()})
    reply = searched.ask(f"web.shop.other.svc.{DOMAIN}", address=OTHER)
    assert reply.answers == (f"web.shop.other.svc.{DOMAIN}. 5 A 10.9.9.9",)


def test_names_that_only_others_end_in_are_passed_over(searched):
    # shop.svc.cluster.local exists, but without records; the resolver goes on, too
    assert searched.ask(f"shop.other.svc.{DOMAIN}", address=OTHER).rcode == "NXDOMAIN"
    assert searched.upstream.asked == []


@pytest.mark.parametrize(
    ("how", "kind"),
    [({"edns": 1232, "dnssec_ok": True}, "A"), ({"flags": 0x110}, "A"), ({}, "ANY")],
)
def test_who_checks_signatures_or_wants_everything_is_told_the_truth(searched, how, kind):
    assert searched.ask(f"web.shop.other.svc.{DOMAIN}", kind, address=OTHER, **how).rcode == "NXDOMAIN"


def test_srv_and_aliases_are_found_as_well(searched):
    asked = f"_http._tcp.web.shop.other.svc.{DOMAIN}"
    reply = searched.ask(asked, "SRV", address=OTHER)
    assert reply.answers == (f"{asked}. 5 SRV 0 100 80 web.shop.svc.{DOMAIN}.",)
    assert reply.additional == (f"web.shop.svc.{DOMAIN}. 5 A 10.96.0.5",)
    asked = f"near.shop.other.svc.{DOMAIN}"
    assert searched.ask(asked, address=OTHER).answers == (
        f"{asked}. 5 CNAME web.shop.svc.{DOMAIN}.",
        f"web.shop.svc.{DOMAIN}. 5 A 10.96.0.5",
    )
    searched.ask(f"api.shop.other.svc.{DOMAIN}", address=OTHER)
    (ask,) = searched.upstream.asked
    assert ask.name == encode_name("api.example.org")
    assert [r.name for r in ask.prefix] == [encode_name(f"api.shop.other.svc.{DOMAIN}")]


def test_names_outside_are_asked_upstream_as_they_are(searched):
    def says(query, ask):
        return write_answer(query.name, [Record(ask.owner, 1, CLASS_IN, 300, b"\xc0\0\2\1")], flags=0)

    searched.upstream.says = says
    asked = f"Www.example.org.shop.svc.{DOMAIN}"
    reply = searched.ask(asked, address=SHOP)
    assert reply.answers == (f"{asked}. 300 A 192.0.2.1",)
    assert [a.name for a in searched.upstream.asked] == [encode_name("www.example.org")]
    assert searched.fast(asked, address=SHOP) is None, "the cache of upstream answers knows when it ends"


@pytest.mark.parametrize(
    ("rcode", "word"), [(3, "NXDOMAIN"), (0, "NOERROR"), (2, "SERVFAIL"), (5, "REFUSED")]
)
def test_what_upstream_denies_is_denied_as_the_name_asked(searched, rcode, word):
    searched.upstream.says = lambda query, ask: Answer(rcode)
    reply = searched.ask(f"www.example.org.shop.svc.{DOMAIN}", address=SHOP)
    assert (reply.rcode, reply.answers) == (word, ())
    assert [a.startswith(f"{DOMAIN}. ") for a in reply.authority] == [True] * (rcode in (0, 3))


@pytest.mark.parametrize(
    ("address", "name", "why"),
    [
        (SHOP, "ghost", "a single label is asked for by the resolver itself"),
        (EXTRA, "www.example.org", "another domain comes before the name as it is"),
        (FEW, "www.example.org", "with so many dots it was asked for before the search"),
        (SHOP, "a.b.c.d.e.example.org", "the same with five dots"),
    ],
)
def test_nobody_upstream_is_asked_where_the_resolver_would_not_ask_next(searched, address, name, why):
    assert searched.ask(f"{name}.shop.svc.{DOMAIN}", address=address).rcode == "NXDOMAIN", why
    assert searched.upstream.asked == []
    assert searched.fast(f"{name}.shop.svc.{DOMAIN}", address=address).rcode == "NXDOMAIN"


def test_without_recursion_desired_nobody_upstream_is_asked(searched):
    assert searched.ask(f"www.example.org.shop.svc.{DOMAIN}", address=SHOP, flags=0).rcode == "NXDOMAIN"
    assert searched.upstream.asked == []


def test_a_completion_that_would_be_too_long_is_passed_over(searched):
    long = ".".join(["x" * 60] * 3)
    assert searched.ask(f"{long}.y.shop.svc.{DOMAIN}", address=SHOP).rcode in ("NXDOMAIN", "REFUSED")


def test_only_the_first_domain_is_completed(searched):
    for name in (f"web.shop.svc.{DOMAIN}.{DOMAIN}", f"x.svc.{DOMAIN}", f"shop.svc.{DOMAIN}"):
        assert not searched.ask(name, address=SHOP).answers


def test_a_change_of_any_name_on_the_way_is_heard(searched):
    asked = f"db.late.shop.svc.{DOMAIN}"
    assert searched.ask(asked, address=SHOP).rcode == "REFUSED"  # upstream's word; not kept
    asked = f"late.shop.svc.{DOMAIN}"
    assert searched.ask(asked, address=SHOP).rcode == "NXDOMAIN"
    steps = [
        ({f"late.{DOMAIN}": a_set("10.0.0.1")}, "10.0.0.1"),
        ({f"late.svc.{DOMAIN}": a_set("10.0.0.2")}, "10.0.0.2"),
        ({asked: a_set("10.0.0.3")}, "10.0.0.3"),
    ]
    for generation, (upserts, address) in enumerate(steps, 2):
        searched.change(generation, upserts)
        assert searched.fast(asked, address=SHOP) is None
        assert searched.ask(asked, address=SHOP).answers == (f"{asked}. 5 A {address}",)
        assert searched.fast(asked, address=SHOP).answers == (f"{asked}. 5 A {address}",)
    for generation, ((upserts, _), left) in enumerate(zip(steps[::-1], [1, 0, -1], strict=True), 5):
        searched.change(generation, {}, tuple(upserts))
        reply = searched.ask(asked, address=SHOP)
        assert [a.split(" ")[-1] for a in reply.answers] == ([steps[left][1]] if left >= 0 else [])


def test_a_pod_that_follows_at_an_address_has_its_own_search_path(searched):
    asked = f"web.shop.other.svc.{DOMAIN}"
    assert searched.ask(asked, address=OTHER).answers
    searched.clients.update({OTHER: standard("third")}, ())
    assert searched.fast(asked, address=OTHER) is None
    assert searched.ask(asked, address=OTHER).rcode == "NXDOMAIN"
    searched.clients.update({}, (OTHER,))
    assert searched.ask(asked, address=OTHER).rcode == "NXDOMAIN"
    assert searched.client(OTHER).path is None


def test_before_the_first_feed_nothing_is_completed(served_class):
    unfed = served_class()
    know(unfed)
    assert unfed.ask(f"web.shop.other.svc.{DOMAIN}", address=OTHER).rcode == "SERVFAIL"


NAMES = [
    f"{left}{right}.{DOMAIN}"
    for left in ("w.", "w.a.", "w.b.", "")
    for right in ("a.svc", "b.svc", "svc", "a")
] + [f"w.{DOMAIN}"]


@settings(max_examples=60)
@given(
    steps=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2)), max_size=12),
    asks=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["A", "AAAA"])), min_size=1, max_size=6),
)
def test_what_is_ready_is_always_what_would_be_said_anew(served_class, steps, asks):
    soa = "SOA ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 5"
    served = served_class()
    served.feed(f"{DOMAIN} {soa}")
    askers = {SHOP: standard("a"), OTHER: standard("b")}
    served.clients.replace(askers, None)
    for generation, (name, number) in enumerate(steps, 2):
        for asked, kind in asks:
            for address in (SHOP, OTHER, STRANGER):
                served.send(write_query(asked, kind), address=address)
        if number:
            served.change(generation, {name: a_set(f"10.0.0.{number}")})
        else:
            served.change(generation, {}, (name,))
        fresh = served_class()
        fresh.zone.replace(1, [DOMAIN], dict(served.zone._names))
        fresh.clients.replace(askers, None)
        for asked, kind in asks:
            for address in (SHOP, OTHER, STRANGER):
                ready = served.fast(asked, kind, address=address)
                assert ready in (None, fresh.send(write_query(asked, kind), address=address))


def test_what_the_configuration_answers_is_found_by_the_search_path_too(served_class, served):
    hosts = {encode_name("printer.example"): (ip_address("192.0.2.9"),)}
    fixed = FixedNames(hosts, ttl_s=60, reverse=True)
    rewritten = RewrittenNames(
        zone=served.zone,
        rewrites=checked(
            OutsideSettings(rewrites=(Rewrite(name="old.example", target="new.example"),))
        ).rewrites,
    )
    searched = SearchedNames(zone=served.zone, before=(rewritten, fixed))
    know(served)
    client = served.client(SHOP)

    def said(name: str, kind: str = "A"):
        query = parse_query(write_query(f"{name}.shop.svc.{DOMAIN}", kind))
        return query, searched.answer(query, client)

    query, answer = said("Printer.example")
    reply = read_reply(assemble(query, answer, 1232))
    assert reply.answers == (f"Printer.example.shop.svc.{DOMAIN}. 60 A 192.0.2.9",)
    assert read_reply(assemble(*said("printer.example", "AAAA"), 1232)).rcode == "NOERROR"
    query, ask = said("old.example")
    assert (ask.name, ask.owner) == (encode_name("new.example"), query.name)
    assert said("other.example")[1].name == encode_name("other.example")
