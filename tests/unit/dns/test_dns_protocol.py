"""The protocol's corners: options, sizes, waiting for the first feed, and bytes that are no query."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netloom.dns.wire import OPTION_COOKIE, OPTION_KEEPALIVE, Malformed, opt_record, option, parse_query
from netloom.testing.dns_messages import read_reply, write_query

WEB = "web.shop.svc.cluster.local"
COOKIE = b"12345678"


def with_options(options: bytes, *, flags: int = 0x100, version: int = 0) -> bytes:
    query = write_query(WEB, flags=flags, edns=1232)[:-11]
    opt = bytearray(opt_record(options=options))
    opt[6] = version
    return query + bytes(opt)


def options_of(reply: bytes) -> dict[int, bytes]:
    """Those of the OPT record, which is the last one."""
    at = reply.rindex(b"\0\0\x29\x04\xd0")
    (size,) = struct.unpack_from(">H", reply, at + 9)
    at += 11
    end, found = at + size, {}
    assert end == len(reply)
    while at < end:
        code, length = struct.unpack_from(">HH", reply, at)
        found[code] = reply[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def raw(served, data: bytes, *, stream: bool = False, address: str = "") -> bytes:
    sent: list[bytes] = []
    served.server.handle(data, served.client(address), sent.append, stream=stream)
    assert len(sent) == 1
    return sent[0]


def test_a_cookie_comes_back_with_ours(served):
    said = options_of(raw(served, with_options(option(OPTION_COOKIE, COOKIE))))[OPTION_COOKIE]
    assert (len(said), said[:8], said[8]) == (24, COOKIE, 1)
    again = options_of(raw(served, with_options(option(OPTION_COOKIE, said))))[OPTION_COOKIE]
    assert again[:8] == COOKIE
    other = raw(served, with_options(option(OPTION_COOKIE, COOKIE)), address="10.244.9.10")
    assert options_of(other)[OPTION_COOKIE][16:] != said[16:], "a cookie is for one address"
    assert OPTION_COOKIE not in options_of(raw(served, with_options(b"")))


@pytest.mark.parametrize("size", [0, 7, 9, 15, 41])
def test_a_cookie_of_a_length_that_none_has_is_formerr(served, size):
    assert read_reply(raw(served, with_options(option(OPTION_COOKIE, b"x" * size)))).rcode == "FORMERR"


def test_queries_with_options_are_never_ready(served):
    raw(served, with_options(option(OPTION_COOKIE, COOKIE)))
    assert len(served.prepared) == 0


def test_keepalive_is_told_by_stream_only(served):
    asked = with_options(option(OPTION_KEEPALIVE, b""))
    assert options_of(raw(served, asked, stream=True)) == {OPTION_KEEPALIVE: (100).to_bytes(2, "big")}
    assert options_of(raw(served, asked)) == {}


def test_unknown_options_and_versions(served):
    assert read_reply(raw(served, with_options(option(65001, b"abc")))).rcode == "NOERROR"
    reply = read_reply(raw(served, with_options(option(OPTION_COOKIE, COOKIE), version=3)))
    assert reply.additional == ("OPT size=1232 ttl=0x1000000",)
    assert reply.answers == ()


def test_the_do_bit_comes_back(served):
    reply = served.ask(WEB, edns=1232, dnssec_ok=True)
    assert reply.additional == ("OPT size=1232 ttl=0x8000",)
    assert served.ask(WEB, edns=1232).additional == ("OPT size=1232 ttl=0x0",)
    assert served.ask(WEB).additional == ()


def test_version_bind(served):
    asked = write_query("Version.Bind", "TXT")[:-2] + b"\0\3"
    reply = read_reply(raw(served, asked))
    assert (reply.rcode, reply.answers) == ("NOERROR", ("Version.Bind. 0 TXT netloom",))


def test_what_is_ready_answers_streams_too_but_not_what_was_cut(served):
    served.ask(WEB)
    assert served.server.ready(write_query(WEB), served.client()) is not None
    assert served.server.ready(write_query("nope.shop.svc.cluster.local"), served.client()) is None


@pytest.fixture
def patient(served_class):
    def made(patience_s: float):
        return served_class(patience_s=patience_s)

    return made


async def test_a_query_before_the_first_feed_waits_for_it(patient):
    served = patient(30.0)
    got: list[bytes] = []
    for name in (WEB, "nope.shop.svc.cluster.local", "5.0.96.10.in-addr.arpa"):
        served.server.handle(write_query(name), served.client(), got.append, stream=False)
    assert got == []
    served.feed()
    assert [read_reply(r).rcode for r in got] == ["NOERROR", "NXDOMAIN", "NOERROR"]
    assert len(read_reply(got[0]).answers) == 1
    served.server.close()


async def test_not_for_longer_than_a_resolver_has_patience(patient):
    served = patient(0.01)
    got: asyncio.Queue[bytes] = asyncio.Queue()
    served.server.handle(write_query(WEB), served.client(), got.put_nowait, stream=False)
    assert got.empty()
    async with asyncio.timeout(20):
        assert read_reply(await got.get()).rcode == "SERVFAIL"
    served.server.close()


async def test_those_who_wait_are_bounded(patient, monkeypatch):
    monkeypatch.setattr("netloom.dns.server.PARKED_LIMIT", 3)
    served = patient(30.0)
    got: list[bytes] = []
    for _ in range(5):
        served.server.handle(write_query(WEB), served.client(), got.append, stream=False)
    assert [read_reply(r).rcode for r in got] == ["SERVFAIL", "SERVFAIL"]
    served.server.close()


HEAD = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0)
CLASSICS = {
    "nothing": b"",
    "a header alone": HEAD,
    "half a header": HEAD[:6],
    "a pointer to itself": HEAD + b"\xc0\x0c\0\1\0\1",
    "two pointers to each other": HEAD + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    "a pointer behind a label": HEAD + b"\3www\xc0\x0c\0\1\0\1",
    "a pointer beyond the end": HEAD + b"\xff\xff\0\1\0\1",
    "a pointer cut in half": HEAD + b"\xc0",
    "a label of 64 bytes": HEAD + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "an extended label": HEAD + b"\x41\x00\0\1\0\1",
    "a name of 256 bytes": HEAD + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
    "a name without an end": HEAD + b"\3www",
    "65535 questions": struct.pack(">HHHHHH", 7, 0x100, 65535, 0, 0, 0) + b"\1a\0\0\1\0\1",
    "65535 answers": struct.pack(">HHHHHH", 7, 0x100, 1, 65535, 0, 0) + b"\1a\0\0\1\0\1",
    "65535 of everything": struct.pack(">HHHHHH", 7, 0x100, *[65535] * 4) + bytes(500),
    "no type": HEAD + b"\1a\0",
    "an OPT record longer than the message": struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 1)
    + b"\1a\0\0\1\0\1\0\0\x29\x04\xd0\0\0\0\0\xff\xff",
    "an option longer than its record": struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 1)
    + b"\1a\0\0\1\0\1\0\0\x29\x04\xd0\0\0\0\0\0\4\0\x0a\xff\xff",
    "only zeros": bytes(512),
    "only ones": b"\xff" * 512,
    "an answer": struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\1a\0\0\1\0\1",
    "an answer that says FORMERR": struct.pack(">HHHHHH", 7, 0x8181, 0, 0, 0, 0),
    "HTTP": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(60),
}


@pytest.mark.parametrize("data", CLASSICS.values(), ids=CLASSICS)
@pytest.mark.parametrize("stream", [False, True])
def test_classic_malformed_messages(served, data, stream, caplog):
    sent: list[bytes] = []
    promised = served.server.handle(data, served.client(), sent.append, stream=stream)
    assert promised == bool(sent)
    for reply in sent:
        said = read_reply(reply)
        assert said.rcode in ("FORMERR", "NOTIMP")
        assert "qr" in said.flags
        assert said.size <= max(12, len(data)), "nobody is sent more than he sent"
    if len(data) >= 12 and data[2] & 0x80:
        assert sent == [], "an answer is never answered"
    assert served.counters.faults == 0
    assert caplog.text == ""


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=300), st.sampled_from(list(CLASSICS.values()))), st.booleans())
@example(HEAD + b"\0\0\1\0\1", False)
def test_no_bytes_at_all_make_a_fault(zone_for_all, data, stream):
    served = zone_for_all
    sent: list[bytes] = []
    served.server.handle(data, served.client(), sent.append, stream=stream)
    assert len(sent) <= 1
    assert served.counters.faults == 0
    for reply in sent:
        assert reply[:2] == data[:2]
        read_reply(reply)


GOOD = write_query(WEB, edns=1232)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4), st.integers(0, 12)
)
def test_a_damaged_query_is_answered_as_if_nothing_was_ready(zone_for_all, damage, cut):
    served = zone_for_all
    data = bytearray(GOOD)
    for at, value in damage:
        data[at] = value
    query = bytes(data[: len(data) - cut])
    served.send(GOOD)
    ready = served.prepared.reply(query, served.client().answers)
    sent: list[bytes] = []
    served.server.handle(query, served.client(), sent.append, stream=False)
    assert served.counters.faults == 0
    if ready is not None:
        assert [read_reply(ready)] == [read_reply(r) for r in sent]
        parse_query(query)


def test_what_cannot_be_read_is_never_ready(served):
    served.send(GOOD)
    for bad in (GOOD + b"x", GOOD[:-1], b"", GOOD[:12]):
        with pytest.raises(Malformed):
            parse_query(bad)
        assert served.prepared.reply(bad, served.client().answers) is None


@pytest.fixture(scope="module")
def zone_for_all(served_class):
    made = served_class()
    made.feed()
    return made
