"""What the zone says: records, the two kinds of no, aliases, and that no change leaves an old answer behind."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.dns.answers import Ask
from netloom.dns.wire import encode_name, parse_query
from netloom.model.names.records import RecordSet, RecordType
from netloom.testing.dns_messages import TYPES, write_query

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


def test_what_was_answered_is_ready_and_a_change_ends_that(served):
    name = "web.shop.svc.cluster.local"
    assert served.fast(name) is None
    served.ask(name)
    assert served.fast(name) == served.ask(name)
    served.change(2, {name: a_set("10.96.0.6")}, ())
    assert served.fast(name) is None
    assert served.ask(name).answers == (f"{name}. 5 A 10.96.0.6",)
    assert served.zone.generation == 2


def test_a_negative_answer_ends_with_the_change_that_creates_the_name(served):
    name = "new.shop.svc.cluster.local"
    assert served.ask(name).rcode == "NXDOMAIN"
    assert served.fast(name) is not None
    served.change(2, {name: a_set("10.96.0.7")}, ())
    assert served.fast(name) is None
    assert served.ask(name).rcode == "NOERROR"
    served.change(3, {}, (name,))
    assert served.fast(name) is None
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
    assert served.fast(name, kind) is not None
    served.change(2, {"web.shop.svc.cluster.local": a_set("10.96.0.6")}, ())
    assert served.fast(name, kind) is None
    assert getattr(served.ask(name, kind), where)[-1] == "web.shop.svc.cluster.local. 5 A 10.96.0.6"


def test_a_whole_set_replaces_everything(served):
    served.ask("web.shop.svc.cluster.local")
    served.ask("nope.shop.svc.cluster.local")
    served.feed(f"cluster.local {'SOA a b 1 2 3 4 5'}\nnope.shop.svc.cluster.local A 10.96.0.9", generation=9)
    assert served.fast("web.shop.svc.cluster.local") is None
    assert served.fast("nope.shop.svc.cluster.local") is None
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
def test_what_is_ready_is_what_the_server_says(zone_once, name, kind, upper, edns, flags, dnssec_ok):
    how = {"edns": edns, "flags": flags, "dnssec_ok": dnssec_ok}
    said = zone_once.ask(name.upper() if upper else name, kind, **how)
    quick = zone_once.fast(name.upper() if upper else name, kind, **how)
    assert quick is not None
    assert (quick.ident, quick.rcode, quick.flags, quick.question, quick.size) == (
        said.ident, said.rcode, said.flags, said.question, said.size
    )  # fmt: skip
    assert sorted(quick.answers) == sorted(said.answers)
    assert (quick.authority, quick.additional) == (said.authority, said.additional)
    other = zone_once.fast(name if upper else name.upper(), kind, **how)
    assert other.question.lower() == quick.question.lower()
    assert other.question != quick.question


@pytest.fixture(scope="module")
def zone_once(served_class):
    made = served_class()
    made.feed()
    return made


def test_the_first_of_several_addresses_turns(served):
    name = "db.shop.svc.cluster.local"
    served.ask(name)
    replies = [served.fast(name) for _ in range(60)]
    firsts = {reply.answers[0] for reply in replies}
    assert len(firsts) == 3
    assert {tuple(sorted(reply.answers)) for reply in replies} == {tuple(sorted(served.ask(name).answers))}


def test_types_that_lower_case_would_change_are_not_prepared(served):
    # 65 (HTTPS) is the byte of "A", whose lower case is 97: they must not be taken for each other.
    served.ask("web.shop.svc.cluster.local", 65)
    assert served.fast("web.shop.svc.cluster.local", 97) is None
    assert served.fast("web.shop.svc.cluster.local", 65) is None


def test_sets_too_large_for_a_datagram_are_cut_and_never_ready_for_a_stream(served):
    name = "db.shop.svc.cluster.local"
    many = tuple(f"10.244.{i}.1" for i in range(60))
    served.change(2, {name: a_set(*many)})
    cut = served.ask(name)
    assert "tc" in cut.flags
    assert 0 < len(cut.answers) < 60
    assert cut.size <= 512
    assert served.fast(name) is None
    assert len(served.ask(name, edns=1232).answers) == 60
    assert len(served.fast(name, edns=1232).answers) == 60


def test_negative_answers_kept_are_bounded(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared.PATHS_LIMIT", 10)
    for i in range(25):
        served.ask(f"no-{i}.shop.svc.cluster.local")
    assert len(served.prepared) <= 10


def test_positive_answers_kept_are_bounded(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared.SHARED_LIMIT", 3)
    for name in NAMES:
        for kind in ("A", "AAAA", "SRV"):
            served.ask(name, kind)
    assert len(served.prepared.shared) <= 3


def test_kinds_of_queries_kept_are_bounded(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared.SHAPES_LIMIT", 4)
    for size in range(512, 530):
        served.ask(NAMES[0], edns=size)
    assert len(served.prepared) == 4
    assert served.ask(NAMES[0], edns=1300).rcode == "NOERROR"


def test_what_hangs_on_others_is_bounded(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared.DEPENDENTS_LIMIT", 1)
    served.ask("near.shop.svc.cluster.local")
    served.ask("_http._tcp.web.shop.svc.cluster.local", "SRV")
    served.change(2, {"web.shop.svc.cluster.local": a_set("10.96.0.6")})
    assert served.fast("near.shop.svc.cluster.local") is None
    assert served.ask("near.shop.svc.cluster.local").answers[-1].endswith("10.96.0.6")


def test_a_change_leaves_what_hangs_on_others_ready(served):
    served.ask("web.shop.svc.cluster.local")
    served.ask("nope.shop.svc.cluster.local")
    served.change(2, {"six.shop.svc.cluster.local": a_set("10.96.0.8")})
    assert served.fast("web.shop.svc.cluster.local") is not None
    assert served.fast("nope.shop.svc.cluster.local") is not None


def test_the_same_set_again_leaves_everything_ready(served):
    served.ask("web.shop.svc.cluster.local")
    names = dict(served.zone._names)
    changed = encode_name("six.shop.svc.cluster.local")
    gone = encode_name("near.shop.svc.cluster.local")
    served.ask("near.shop.svc.cluster.local")
    names[changed] = b""
    del names[gone]
    served.zone.replace(5, ["cluster.local", "10.in-addr.arpa"], names, [changed])
    assert served.fast("web.shop.svc.cluster.local") is not None
    assert served.fast("near.shop.svc.cluster.local") is None
    assert served.ask("near.shop.svc.cluster.local").rcode == "NXDOMAIN"
    while served.zone.retire():
        pass
    assert len(served.zone) == len(names)


def test_uses_of_what_is_ready_are_counted_by_query_and_rcode(served):
    name = "nope.shop.svc.cluster.local"
    served.ask("web.shop.svc.cluster.local")
    served.ask(name)
    for _ in range(3):
        served.fast("web.shop.svc.cluster.local")
        served.fast(name)
    noted = []
    served.prepared.settle(lambda query, rcode, number: noted.append((query[10:15], rcode, number)))
    assert sorted(noted) == [(b"\3web\4", 0, 3), (b"\4nope", 3, 3)]
    assert served.counters.prepared_hits == 6
    assert (served.counters.rcodes[0], served.counters.rcodes[3]) == (4, 4)
    served.prepared.clear()
    assert served.counters.prepared_hits == 6


ZONAL = "_zone.db.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "rcode", "count"),
    [
        (f"a.pin.{ZONAL}", "NOERROR", 1),
        (f"a.prefer.{ZONAL}", "NOERROR", 1),
        (f"drained.pin.{ZONAL}", "NOERROR", 0),
        (f"with.dots.pin.{ZONAL}", "NOERROR", 0),
        (f"drained.prefer.{ZONAL}", "NOERROR", 3),
        (f"with.dots.prefer.{ZONAL}", "NOERROR", 3),
        (f"a.other.{ZONAL}", "NXDOMAIN", 0),
        (ZONAL, "NOERROR", 0),
        (f"prefer.{ZONAL}", "NOERROR", 0),
        (f"of.two.prefer.{ZONAL}", "NOERROR", 1),
        (f"two.prefer.{ZONAL}", "NOERROR", 3),
        (f"x.two.prefer.{ZONAL}", "NOERROR", 3),
        (f"two.pin.{ZONAL}", "NOERROR", 0),
        ("a.pin._zone.web.shop.svc.cluster.local", "NXDOMAIN", 0),
    ],
)
def test_zonal_names(served, name, rcode, count):
    reply = served.ask(name)
    assert (reply.rcode, len(reply.answers), len(reply.authority)) == (rcode, count, int(not count))
    assert (served.fast(name) is not None) == (
        name in (f"a.pin.{ZONAL}", f"a.prefer.{ZONAL}", f"of.two.prefer.{ZONAL}")
    )


def test_what_a_wildcard_gave_goes_with_it(served):
    assert len(served.ask(f"x.prefer.{ZONAL}").answers) == 3
    served.change(2, {f"*.prefer.{ZONAL}": a_set("10.244.1.3")})
    assert len(served.ask(f"x.prefer.{ZONAL}").answers) == 1
    served.change(3, {}, [f"*.prefer.{ZONAL}"])
    assert served.ask(f"x.prefer.{ZONAL}").rcode == "NXDOMAIN"


def test_all_types_of_the_model_can_be_asked_for():
    assert {t.name for t in RecordType} <= set(TYPES)


@pytest.fixture(scope="module")
def sourced(served_class):
    """All kinds of queries known, and nothing ready."""
    made = served_class()
    made.feed()
    made.prepared.source = made.zone.plain
    return made


EVERY = (*NAMES, "db.shop.svc.cluster.local", "six.shop.svc.cluster.local", "api.shop.svc.cluster.local", f"a.pin.{ZONAL}", f"x.prefer.{ZONAL}", "5.0.96.10.in-addr.arpa", "9.2.0.192.in-addr.arpa", "dns-version.cluster.local", "cluster.local", "www.example.org")  # fmt: skip


@given(
    name=st.sampled_from(EVERY),
    kind=st.sampled_from(["A", "AAAA", "SRV", "TXT", "PTR", "ANY", "CNAME"]),
    edns=st.sampled_from([0, 512, 1232]),
    flags=st.sampled_from([0x100, 0x120, 0, 0x110]),
    dnssec_ok=st.booleans(),
)
def test_what_is_made_at_the_first_question_is_what_the_server_says(
    sourced, name, kind, edns, flags, dnssec_ok
):
    how = {"edns": edns, "flags": flags, "dnssec_ok": dnssec_ok}
    sourced.ask("web.shop.svc.cluster.local", kind, **how)  # now this kind of query is known
    sourced.prepared.clear()
    made = sourced.made(name, kind, **how)
    if made is None:
        return
    said = sourced.ask(name, kind, **how)
    assert sorted(made.answers) == sorted(said.answers)
    assert msgspec.structs.replace(made, answers=()) == msgspec.structs.replace(said, answers=())


def test_usual_questions_are_made_ready_and_others_are_not(sourced):
    for kind in ("A", "AAAA", "SRV", "PTR"):
        sourced.ask("web.shop.svc.cluster.local", kind)
    sourced.prepared.clear()
    assert sourced.made("db.shop.svc.cluster.local") is not None
    assert sourced.made("db.shop.svc.cluster.local", "AAAA").authority
    assert sourced.made("5.0.96.10.in-addr.arpa", "PTR") is not None
    assert sourced.made("nope.shop.svc.cluster.local") is None, "it may be completed for some"
    assert sourced.made("near.shop.svc.cluster.local") is None
    assert sourced.made("_http._tcp.web.shop.svc.cluster.local", "SRV") is None
    assert sourced.made("db.shop.svc.cluster.local", edns=999) is None, "a kind of query that is new"
    sourced.change(9, {"db.shop.svc.cluster.local": a_set("10.0.0.1")})
    assert sourced.fast("db.shop.svc.cluster.local") is None


def test_counting_in_pieces_stands_changes_in_between(served, monkeypatch):
    monkeypatch.setattr("netloom.dns.prepared._SETTLED_AT_ONCE", 1)
    for name in NAMES:
        served.ask(name)
        served.fast(name)
    noted = []
    for number, _ in enumerate(served.prepared.settling(lambda *one: noted.append(one))):
        if not number:
            served.change(2, {}, NAMES[1:3])
            served.ask("six.shop.svc.cluster.local", "AAAA")
    assert 4 <= len(noted) <= len(NAMES)
    assert served.counters.prepared_hits == len(NAMES), "those that went were counted as they went"
