"""What of an upstream answer is kept, for how long, and what it looks like later."""

from __future__ import annotations

import struct

import msgspec
import pytest

from netloom.dns.answers import Ask, assemble
from netloom.dns.cache import (
    NEGATIVE_LIMIT_S,
    POSITIVE_LIMIT_S,
    STALE_TTL_S,
    AnswerCache,
    CacheSettings,
    Question,
    Reply,
    read_reply,
)
from netloom.dns.records import Record
from netloom.dns.wire import CLASS_IN, TYPE_CNAME, Malformed, encode_name, opt_record, parse_query
from netloom.testing.dns_messages import read_reply as in_words
from netloom.testing.dns_messages import write_query, write_record

WWW = Question(encode_name("www.example.org"), 1)
SOA = "example.org. {ttl} SOA ns.example.org. hostmaster.example.org. 1 7200 1800 86400 {minimum}"


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now


def message(
    *answers: str, authority=(), additional: bytes = opt_record(), rcode=0, flags=0x8180, question=WWW
) -> bytes:
    head = struct.pack(">HHHHHH", 1, flags | rcode, 1, len(answers), len(authority), 1 if additional else 0)
    body = b"".join(write_record(line) for line in (*answers, *authority))
    return head + question.section + body + additional


@pytest.mark.parametrize(
    ("data", "lifetime"),
    [
        pytest.param(message("www.example.org. 300 A 192.0.2.1"), 300, id="ttl"),
        pytest.param(message("www.example.org. 300 A 192.0.2.1", "www.example.org. 20 A 192.0.2.2"), 20, id="smallest"),
        pytest.param(message("www.example.org. 999999 A 192.0.2.1"), POSITIVE_LIMIT_S, id="cap"),
        pytest.param(message("www.example.org. 2147483648 A 192.0.2.1"), 0, id="ttl with the top bit"),
        pytest.param(message("www.example.org. 0 A 192.0.2.1"), 0, id="ttl zero"),
        pytest.param(message(authority=[SOA.format(ttl=20, minimum=60)], rcode=3), 20, id="NXDOMAIN, SOA ttl"),
        pytest.param(message(authority=[SOA.format(ttl=60, minimum=10)], rcode=3), 10, id="NXDOMAIN, SOA minimum"),
        pytest.param(message(authority=[SOA.format(ttl=9000, minimum=9000)]), NEGATIVE_LIMIT_S, id="NODATA, cap"),
        pytest.param(message(rcode=3), 0, id="NXDOMAIN without SOA"),
        pytest.param(message(), 0, id="NODATA without SOA"),
        pytest.param(message("www.example.org. 300 CNAME a.example.net."), 0, id="alias to nowhere"),
        pytest.param(
            message("www.example.org. 9 CNAME a.example.net.", authority=[SOA.format(ttl=20, minimum=60)], rcode=3), 9,
            id="alias to NXDOMAIN",
        ),
        pytest.param(message("www.example.org. 300 A 192.0.2.1", rcode=2), 0, id="SERVFAIL"),
        pytest.param(message("www.example.org. 300 A 192.0.2.1", flags=0x8380), 0, id="cut"),
    ],
)  # fmt: skip
def test_how_long(data, lifetime):
    assert read_reply(WWW, data).lifetime_s == lifetime


@pytest.mark.parametrize(
    "data",
    [
        message("www.example.org. 300 A 192.0.2.1")[:-1],
        message("www.example.org. 300 CNAME a.example.net.", additional=b"")[:-1] + b"\xff",
        message("www.example.org. 300 A 192.0.2.1").replace(b"\0\1\0\1\0\0\1,\0\4", b"\0\1\0\1\0\0\1,\0\7"),
    ],
)
def test_records_that_are_none(data):
    with pytest.raises(Malformed):
        read_reply(WWW, data)


def written(reply: Reply, age_s: int = 0, query: bytes = write_query("WWW.example.org", edns=1232)):
    return in_words(assemble(parse_query(query), reply.answer(age_s), 1232))


def test_age_is_taken_off_and_the_case_is_the_clients():
    reply = read_reply(WWW, message("www.example.org. 300 A 192.0.2.1", flags=0x81A0))
    aged = written(reply, 100)
    assert aged.question.startswith("WWW.example.org.")
    assert aged.answers == ("www.example.org. 200 A 192.0.2.1",)
    assert aged.additional == ("OPT size=1232 ttl=0x0",)
    assert aged.flags == {"qr", "rd", "ra", "ad"}
    assert written(reply, 400).answers == ("www.example.org. 0 A 192.0.2.1",)


def test_what_follows_an_opt_record_goes_with_it():
    extra = opt_record() + write_record("ns.example.org. 5 A 192.0.2.9")
    data = message("www.example.org. 300 A 192.0.2.1", additional=extra)
    data = data[:10] + b"\0\2" + data[12:]
    assert written(read_reply(WWW, data)).additional == ("OPT size=1232 ttl=0x0",)


def test_an_answer_behind_aliases_of_ours():
    alias = Record(encode_name("api.svc"), TYPE_CNAME, CLASS_IN, 5, WWW.name)
    reply = read_reply(
        WWW,
        message(
            "www.example.org. 300 CNAME a.example.net.",
            "a.example.net. 60 A 192.0.2.1",
            authority=["example.net. 60 NS ns.example.net."],
        ),
    )
    query = parse_query(write_query("API.svc", edns=1232))
    words = in_words(assemble(query, reply.answer_after(query, Ask(WWW.name, (alias,)), 10), 1232))
    assert words.answers == (
        "API.svc. 5 CNAME www.example.org.",
        "www.example.org. 290 CNAME a.example.net.",
        "a.example.net. 50 A 192.0.2.1",
    )
    assert words.authority == ("example.net. 50 NS ns.example.net.",)


def reply_for(name: str, ttl: int = 300) -> Reply:
    question = Question(encode_name(name), 1)
    return read_reply(question, message(f"{name}. {ttl} A 192.0.2.1", question=question))


def test_kept_until_its_time_is_over():
    clock = HandClock()
    cache = AnswerCache(clock=clock, settings=CacheSettings(stale_s=0))
    cache.put(reply_for("www.example.org", 10))
    clock.now += 9.9
    kept = cache.get(WWW)
    assert kept is not None
    assert (kept.age_s, kept.is_stale) == (9, False)
    clock.now += 0.1
    assert cache.get(WWW) is None
    assert (len(cache), cache.size) == (0, 0)


def test_what_has_ended_is_there_for_a_while_for_the_case_that_nobody_answers():
    clock = HandClock()
    cache = AnswerCache(clock=clock, settings=CacheSettings(stale_s=60))
    cache.put(reply_for("www.example.org", 10))
    clock.now += 69
    kept = cache.get(WWW)
    assert kept is not None
    assert kept.is_stale
    assert not kept.is_wanted
    shown = in_words(
        assemble(parse_query(write_query("www.example.org")), kept.reply.answer(kept.age_s, stale=True), 512)
    )
    assert shown.answers[0].split(" ")[1] == str(STALE_TTL_S)
    clock.now += 1
    assert cache.get(WWW) is None


def test_what_is_used_often_is_wanted_anew_shortly_before_its_end_and_once():
    clock = HandClock()
    cache = AnswerCache(clock=clock)
    cache.put(reply_for("www.example.org", 100))
    assert not any(cache.get(WWW).is_wanted for _ in range(5))
    clock.now += 91
    assert [cache.get(WWW).is_wanted for _ in range(3)] == [True, False, False]
    cache.put(reply_for("www.example.org", 100))
    clock.now += 91
    assert not cache.get(WWW).is_wanted
    never = AnswerCache(clock=clock, settings=CacheSettings(prefetch=False))
    never.put(reply_for("www.example.org", 100))
    clock.now += 91
    assert not any(never.get(WWW).is_wanted for _ in range(5))


def test_limits_of_its_own_for_what_is_there_and_what_is_not():
    clock = HandClock()
    cache = AnswerCache(clock=clock, settings=CacheSettings(positive_s=20, negative_s=5, stale_s=0))
    cache.put(reply_for("www.example.org", 100))
    missing = read_reply(WWW, message(authority=[SOA.format(ttl=20, minimum=60)], rcode=3))
    cache.put(msgspec.structs.replace(missing, question=Question(WWW.name, 28)))
    clock.now += 6
    assert cache.get(WWW) is not None
    assert cache.get(Question(WWW.name, 28)) is None
    clock.now += 15
    assert cache.get(WWW) is None


@pytest.mark.parametrize(
    ("answers", "is_ours"),
    [
        (("www.example.org. 9 CNAME a.example.net.", "a.example.net. 9 A 192.0.2.1"), True),
        (("a.example.net. 9 A 192.0.2.1", "www.example.org. 9 CNAME a.example.net."), True),
        (("www.example.org. 9 A 192.0.2.1", "bank.example. 9 A 198.51.100.66"), False),
        (("bank.example. 9 A 198.51.100.66",), False),
        (("www.example.org. 9 CNAME a.example.net.", "b.example.net. 9 A 192.0.2.1"), False),
    ],
)
def test_answers_about_other_names_than_asked_are_nobodys(answers, is_ours):
    data = message(*answers)
    if is_ours:
        assert read_reply(WWW, data).counts[0] == len(answers)
    else:
        with pytest.raises(Malformed, match="not what was asked"):
            read_reply(WWW, data)


def test_records_are_given_under_the_name_that_was_asked_where_a_search_path_led_here():
    reply = read_reply(
        WWW, message("www.example.org. 9 CNAME a.example.net.", "a.example.net. 9 A 192.0.2.1")
    )
    query = parse_query(write_query("WWW.example.org.shop.svc.cluster.local"))
    answer = reply.answer_after(query, Ask(WWW.name, owner=query.name), 1)
    assert in_words(assemble(query, answer, 512)).answers == (
        "WWW.example.org.shop.svc.cluster.local. 8 CNAME a.example.net.",
        "a.example.net. 8 A 192.0.2.1",
    )


def test_questions_with_and_without_dnssec_are_kept_apart():
    cache = AnswerCache(clock=HandClock())
    cache.put(reply_for("www.example.org"))
    assert cache.get(Question(WWW.name, 1, dnssec_ok=True)) is None
    assert cache.get(Question(WWW.name, 28)) is None
    assert cache.get(WWW) is not None


def test_the_least_recently_used_leaves_first():
    cache = AnswerCache(clock=HandClock(), settings=CacheSettings(entries=2))
    first, second, third = (reply_for(f"{n}.example.org") for n in ("a", "b", "c"))
    cache.put(first)
    cache.put(second)
    cache.get(first.question)
    cache.put(third)
    assert cache.get(second.question) is None
    assert cache.get(first.question) is not None
    assert cache.get(third.question) is not None


def test_bytes_are_bounded_too_and_come_back_when_entries_leave():
    cache = AnswerCache(clock=HandClock(), settings=CacheSettings(max_bytes=3000))
    for i in range(100):
        cache.put(reply_for(f"n{i}.example.org"))
        cache.put(reply_for(f"n{i}.example.org"))
    assert 0 < len(cache) < 6
    clock = HandClock()
    small = AnswerCache(clock=clock, settings=CacheSettings(max_bytes=700, stale_s=0))
    for i in range(5):
        small.put(reply_for(f"n{i}.example.org", 10))
        clock.now += 11
        assert small.get(Question(encode_name(f"n{i}.example.org"), 1)) is None
    small.put(reply_for("www.example.org"))
    assert small.get(WWW) is not None


def test_what_may_not_be_kept_is_not():
    cache = AnswerCache(clock=HandClock())
    cache.put(reply_for("www.example.org", 0))
    assert len(cache) == 0
