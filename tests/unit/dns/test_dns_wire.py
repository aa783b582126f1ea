"""The codec: what is well formed, what is not, and that no bytes at all make it do anything but say so."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netloom.dns.answers import Answer, assemble, write_answer
from netloom.dns.cache import Question, read_reply
from netloom.dns.records import Record, data_of, expand, sections
from netloom.dns.wire import (
    Malformed,
    encode_name,
    error_reply,
    name_text,
    opt_record,
    parse_query,
    read_name,
    skip_name,
)
from netloom.model.names.records import RecordType
from netloom.testing.dns_messages import read_reply as in_words
from netloom.testing.dns_messages import write_query

HEAD = struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 0)
WITH_OPT = struct.pack(">HHHHHH", 1, 0x100, 1, 0, 0, 1)
ASK = b"\1a\0" + struct.pack(">HH", 1, 1)
OPT = opt_record(size=4096)


def test_a_query_is_read_with_its_case():
    query = parse_query(write_query("WeB.Example.ORG.", "AAAA", edns=4096, dnssec_ok=True))
    assert (query.id, query.type, query.klass, query.opcode) == (0x1234, 28, 1, 0)
    assert query.name == b"\3WeB\7Example\3ORG\0"
    assert query.folded == encode_name("web.example.org")
    assert query.recursion_desired
    assert query.edns is not None
    assert (query.edns.size, query.edns.version, query.edns.dnssec_ok) == (4096, 0, True)
    assert name_text(query.name) == "WeB.Example.ORG"


@pytest.mark.parametrize(("edns", "size"), [(0, 512), (100, 512), (800, 800), (1232, 1232), (65535, 1232)])
def test_the_size_of_a_datagram_is_what_both_sides_take(edns: int, size: int):
    assert parse_query(write_query("a", edns=edns)).udp_size == size


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(HEAD[:11], id="short header"),
        pytest.param(HEAD, id="no question where one is announced"),
        pytest.param(HEAD + b"\1a", id="name cut short"),
        pytest.param(HEAD + b"\1a\0\0\1", id="question cut short"),
        pytest.param(HEAD + ASK + b"x", id="bytes after the end"),
        pytest.param(struct.pack(">HHHHHH", 1, 0, 0, 0, 0, 0), id="no question"),
        pytest.param(struct.pack(">HHHHHH", 1, 0, 2, 0, 0, 0) + ASK + ASK, id="two questions"),
        pytest.param(HEAD + b"\xc0\x0c\0\1\0\1", id="question is a pointer to itself"),
        pytest.param(HEAD + b"\1a\xc0\x0c\0\1\0\1", id="question with a pointer"),
        pytest.param(HEAD + b"\x40a\0\0\1\0\1", id="label of an unknown kind"),
        pytest.param(HEAD + b"\x3fa\0\0\1\0\1", id="label longer than the message"),
        pytest.param(HEAD + (b"\1a" * 128) + b"\0\0\1\0\1", id="name over 255 bytes"),
        pytest.param(WITH_OPT + ASK, id="additional record announced, none there"),
        pytest.param(WITH_OPT + ASK + OPT[:-1], id="OPT cut short"),
        pytest.param(WITH_OPT + ASK + b"\1b" + OPT, id="OPT not at the root"),
        pytest.param(WITH_OPT[:-2] + b"\0\2" + ASK + OPT + OPT, id="two OPT"),
        pytest.param(struct.pack(">HHHHHH", 1, 0, 1, 1, 0, 0) + ASK + OPT, id="OPT among the answers"),
        pytest.param(WITH_OPT + ASK + OPT[:-2] + b"\0\3abc", id="option without a length"),
        pytest.param(WITH_OPT + ASK + OPT[:-2] + b"\0\4\0\1\0\1", id="option longer than its record"),
    ],
)
def test_malformed_queries(data: bytes):
    with pytest.raises(Malformed):
        parse_query(data)


def test_options_and_other_records_of_a_query_are_stepped_over():
    cookie = OPT[:-2] + b"\0\x0c" + struct.pack(">HH", 10, 8) + b"12345678"
    assert parse_query(WITH_OPT + ASK + cookie).edns is not None
    other = b"\0" + struct.pack(">HHIH", 250, 255, 0, 2) + b"xx"
    assert parse_query(WITH_OPT + ASK + other).edns is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc0\x00", id="itself"),
        pytest.param(b"\1a\xc0\x00", id="own beginning"),
        pytest.param(b"\xc0\x05", id="forward"),
        pytest.param(b"\xc0", id="cut short"),
        pytest.param(b"\x80\x00", id="reserved kind"),
    ],
)
def test_pointers_that_do_not_lead_back(data: bytes):
    with pytest.raises(Malformed):
        read_name(data, 0)


def test_a_name_is_read_through_its_pointers_and_skipped_without():
    data = b"\3org\0\7example\xc0\x00\3www\xc0\x05"
    assert read_name(data, 15) == encode_name("www.example.org")
    assert skip_name(data, 15) == len(data)
    long = b"".join(bytes((63,)) + b"x" * 63 for _ in range(3)) + b"\0"
    with pytest.raises(Malformed, match="255"):
        read_name(long + b"\x3f" + b"y" * 63 + b"\xc0\x00", len(long))


@pytest.mark.parametrize("text", ["a..b", ".a", "x" * 64, ".".join(["x" * 63] * 4), "bü.example"])
def test_text_that_is_no_name(text: str):
    with pytest.raises(Malformed):
        encode_name(text)


def test_names_as_text():
    assert encode_name(".") == encode_name("") == b"\0"
    assert name_text(b"\0") == "."
    assert name_text(b"\3a.\x07\0") == r"a\046\007"


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (RecordType.A, "10.0.0"),
        (RecordType.A, "2001:db8::1"),
        (RecordType.AAAA, "10.0.0.1"),
        (RecordType.SRV, "0 100 80"),
        (RecordType.SRV, "0 100 99999 a"),
        (RecordType.SOA, "a b 1 2 3"),
        (RecordType.TXT, "x" * 256),
        (RecordType.CNAME, "a..b"),
    ],
)
def test_text_that_is_no_data_of_its_type(type_: RecordType, text: str):
    with pytest.raises(Malformed):
        data_of(type_, text)


def test_an_answer_is_never_answered_not_even_with_an_error():
    assert error_reply(b"\0\1", 1) is None
    assert error_reply(b"\0\1\x81\0" + bytes(8), 1) is None
    assert error_reply(b"\0\1\x01\0" + bytes(8), 1) == b"\0\1\x81\1" + bytes(8)
    assert error_reply(b"\0\1\x79\xff" + bytes(8), 4) == b"\0\1\xf9\4" + bytes(8)


@given(st.binary(max_size=600))
@example(HEAD + b"\xc0\x0c\0\1\0\1")
def test_any_bytes_are_a_query_or_malformed(data: bytes):
    try:
        query = parse_query(data)
    except Malformed:
        return
    assert len(query.name) <= 255
    assert in_words(assemble(query, Answer(0), 512)).question.endswith(f" {query.klass} {query.type}")


@given(st.binary(max_size=120), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes_after_a_question_are_a_reply_or_malformed(tail: bytes, an: int, ns: int, ar: int):
    question = Question(b"\1a\0", 1)
    message = struct.pack(">HHHHHH", 1, 0x8180, 1, an, ns, ar) + question.section + tail
    try:
        reply = read_reply(question, message)
    except Malformed:
        return
    assert len(reply.body) <= len(tail)
    reply.answer(5)


labels = st.text("abcdef-", min_size=1, max_size=12)
hosts = st.lists(labels, min_size=1, max_size=4).map(lambda x: encode_name(".".join(x)))
written = st.one_of(
    st.builds(Record, hosts, st.just(1), st.just(1), st.integers(0, 9999), st.binary(min_size=4, max_size=4)),
    st.builds(Record, hosts, st.sampled_from([2, 5, 12]), st.just(1), st.integers(0, 9999), hosts),
    st.builds(
        lambda n, p, t: Record(n, 33, 1, 5, struct.pack(">HHH", 0, 100, p) + t),
        hosts,
        st.integers(0, 65535),
        hosts,
    ),
)


@given(hosts, st.lists(written, max_size=12), st.lists(written, max_size=4))
def test_what_is_written_is_read_back(name: bytes, answers: list[Record], additional: list[Record]):
    answer = write_answer(name, answers, additional=additional)
    message = (
        struct.pack(">HHHHHH", 1, 0x8180, 1, len(answers), 0, len(additional))
        + name
        + b"\0\1\0\1"
        + answer.body
    )
    found = [expand(message, where) for where in sections(message, 12 + len(name) + 4)]
    assert found == [*answers, *additional]
    assert len(answer.body) <= sum(len(r.name) + 10 + len(r.data) for r in (*answers, *additional))


@given(st.lists(written, max_size=40), st.integers(40, 900))
def test_a_cut_reply_is_whole_records_and_says_so(records: list[Record], limit: int):
    query = parse_query(write_query("a.b", edns=1232))
    answer = write_answer(query.name, records[:20], additional=records[20:])
    reply = in_words(assemble(query, answer, limit))
    assert reply.size <= limit
    assert ("tc" in reply.flags) == (len(reply.answers) < len(records[:20]))
    assert reply.additional[-1].startswith("OPT ")
