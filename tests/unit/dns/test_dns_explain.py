"""What a pod is told of a name, explained: expansions, origins, ages; and what has been counted."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from netloom.clock import SystemClock
from netloom.dns.answers import Answer, write_answer
from netloom.dns.cache import Found, Question, read_reply
from netloom.dns.counters import Counters
from netloom.dns.counts import NAMES_LIMIT, DnsCounts, NameCount, NameCounts, samples_of
from netloom.dns.explain import Explainer
from netloom.dns.explanation import Question as Asked
from netloom.dns.records import Record
from netloom.dns.wire import CLASS_IN, encode_name
from netloom.errors import UsageError
from netloom.metrics import Histogram, render
from netloom.model.names.askers import Asker

POD = "10.244.9.2"
SEARCH = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


@pytest.fixture
def explainer(served):
    served.feed(generation=7)
    served.clients.replace({POD: Asker("shop/web-0", SEARCH, 5)}, ["10.244.9.0/24"])
    served.upstream.kept = lambda query, ask: None
    return Explainer(server=served.server, clients=served.clients, zone=served.zone, clock=SystemClock())


async def told(explainer, name, kind="A", client=POD):
    return await explainer.answer(msgspec.json.encode(Asked(client, name, kind)).decode())


async def test_each_name_that_the_resolver_asks_for(explainer):
    found = await told(explainer, "web")
    assert (found.pod, found.search, found.ndots, found.generation) == ("shop/web-0", SEARCH, 5, 7)
    (one,) = found.expansions
    assert (one.name, one.type, one.rcode) == ("web.shop.svc.cluster.local", "A", "NOERROR")
    assert one.records == ("web.shop.svc.cluster.local 5 A 10.96.0.5",)
    assert one.origin == "the cluster's names"


async def test_the_search_path_that_is_walked_here(explainer):
    (one,) = (await told(explainer, "web.shop")).expansions
    assert one.name == "web.shop.shop.svc.cluster.local"
    assert one.records == ("web.shop.shop.svc.cluster.local 5 A 10.96.0.5",)
    assert one.origin == "the search path of the pod, walked here"


async def test_a_name_that_is_nowhere(explainer):
    found = await told(explainer, "nope")
    assert [one.name for one in found.expansions] == [*(f"nope.{domain}" for domain in SEARCH), "nope"]
    assert [one.rcode for one in found.expansions] == ["NXDOMAIN"] * 3 + ["REFUSED"]
    assert found.expansions[-1].origin == "upstream"


@pytest.mark.parametrize(
    ("name", "first"),
    [("web.shop.svc.cluster.local.", True), ("a.b.c.d.e.example", True), ("a.example", False)],
)
async def test_the_name_itself_comes_first_where_it_has_dots_enough(explainer, name, first):
    expansions = (await told(explainer, name)).expansions
    assert (expansions[0].name == name.rstrip(".")) is first


async def test_who_said_it_upstream_and_how_long_ago(explainer, served):
    www = encode_name("www.example.org")
    record = Record(www, 1, CLASS_IN, 60, bytes((192, 0, 2, 1)))
    served.upstream.says = lambda query, ask: write_answer(query.name, [record], flags=0)
    question = Question(www, 1)
    head = bytes(2) + b"\x81\x80\0\1\0\0\0\0\0\0"
    reply = read_reply(question, head + question.section, "192.0.2.53:53")
    kept = iter([None, Found(reply, 0), Found(reply, 12), Found(reply, 12)])
    served.upstream.kept = lambda query, ask: next(kept)
    (one,) = (await told(explainer, "www.example.org.")).expansions
    assert (one.server, one.age_s, one.records) == (
        "192.0.2.53:53",
        None,
        ("www.example.org 60 A 192.0.2.1",),
    )
    (one,) = (await told(explainer, "www.example.org.")).expansions
    assert (one.server, one.age_s) == ("192.0.2.53:53", 12)


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("SRV", "_http._tcp.web.shop.svc.cluster.local 5 SRV 0 100 80 web.shop.svc.cluster.local"),
        ("TXT", 'dns-version.cluster.local 5 TXT "1.1.0"'),
        ("PTR", "5.0.96.10.in-addr.arpa 5 PTR web.shop.svc.cluster.local"),
        ("SOA", "cluster.local 5 SOA ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 5"),
        ("AAAA", "six.shop.svc.cluster.local 5 AAAA 2001:db8::6"),
    ],
)
async def test_records_of_all_types(explainer, kind, record):
    (one,) = (await told(explainer, f"{record.split(' ')[0]}.", kind)).expansions
    assert one.records == (record,)


async def test_a_stranger_gets_no_answer(explainer):
    found = await told(explainer, "web", client="192.0.2.66")
    assert found.expansions == ()
    assert "gets no answer" in found.problem


async def test_before_the_agent_has_told_the_names(served):
    served.zone.synced = False
    explainer = Explainer(server=served.server, clients=served.clients, zone=served.zone, clock=SystemClock())
    (one,) = (await told(explainer, "web.shop.svc.cluster.local")).expansions
    assert (one.rcode, one.records) == ("SERVFAIL", ())
    assert "has not told" in one.origin


@pytest.mark.parametrize(
    "words", ["", "{}", '{"client": "x", "name": "a"}', '{"client": "10.244.9.2", "name": "a..b"}',
              '{"client": "10.244.9.2", "name": "a", "type": "FROB"}']
)  # fmt: skip
async def test_what_is_no_question(explainer, words):
    with pytest.raises(UsageError, match="dns question"):
        await explainer.answer(words)


def test_queries_are_counted_by_name_within_bounds():
    names = NameCounts()
    names.note(encode_name("web.example"), 0, 3)
    names.note(encode_name("web.example"), 3)
    names.note_prepared(b"\1\0\0\1\0\0\0\0\0\0" + encode_name("web.example") + b"\0\1\0\1", 0, 6)
    names.note_prepared(b"\1\0\0\1\0\0\0\0\0\0" + b"\xff", 0, 6)
    for i in range(2 * NAMES_LIMIT):
        names.note(encode_name(f"n{i}.example"), 3)
    most = names.most(2)
    assert most[0] == NameCount("web.example", 10, 1)
    assert len(names.most(10**6)) <= NAMES_LIMIT


def test_counts_as_prometheus_has_them():
    counters = Counters()
    counters.udp_queries = 12
    counters.rcodes[3] = 4
    counters.reply_seconds.observe(0.0002, 11)
    counts = DnsCounts(
        counters.as_dict(),
        Histogram().distribution,
        counters.reply_seconds.distribution,
        (NameCount('we"b.example', 9, 1),),
        down=("192.0.2.53:53",),
    )
    page = render(samples_of(msgspec.json.decode(msgspec.json.encode(counts), type=DnsCounts)))
    assert "netloom_dns_udp_queries_total 12" in page
    assert 'netloom_dns_replies_total{rcode="NXDOMAIN"} 4' in page
    assert 'netloom_dns_name_queries_total{name="we\\"b.example"} 9' in page
    assert 'netloom_dns_reply_seconds_bucket{le="0.00025"} 11' in page
    assert "netloom_dns_upstreams_down 1" in page


def test_an_answer_is_awaited(served):
    """What the forwarder says later comes out as an answer."""

    async def later():
        held = []
        served.upstream.ask = lambda query, ask, done: held.append(done)
        asking = asyncio.create_task(served.server.ask_upstream(None, None))
        await asyncio.sleep(0)
        held[0](Answer(0))
        return await asking

    assert asyncio.run(later()) == Answer(0)
