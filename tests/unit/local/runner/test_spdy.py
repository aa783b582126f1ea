from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.runner.streams import spdy
from netloom.local.runner.streams.spdy import Data, Decoder, Encoder, Frame, SpdyError

stream_ids = st.integers(1, 2**31 - 1)
words = st.integers(0, 2**32 - 1)
names = st.text("abcdefghijklmnopqrstuvwxyz-:", min_size=1, max_size=12)
headers = st.dictionaries(names, st.text(max_size=40), max_size=5)
frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(spdy.SynStream, stream_ids, headers, st.booleans(), st.integers(0, 7), st.booleans()),
    st.builds(spdy.SynReply, stream_ids, headers, st.booleans()),
    st.builds(spdy.Headers, stream_ids, headers, st.booleans()),
    st.builds(spdy.RstStream, stream_ids, words),
    st.builds(
        spdy.Settings,
        st.lists(
            st.builds(spdy.Setting, st.integers(0, 2**24 - 1), words, st.integers(0, 255)), max_size=3
        ).map(tuple),
    ),
    st.builds(spdy.Ping, words),
    st.builds(spdy.GoAway, stream_ids, words),
    st.builds(spdy.WindowUpdate, stream_ids, st.integers(0, 2**31 - 1)),
    st.builds(Data, stream_ids, st.binary(max_size=300), st.booleans()),
)


def test_the_dictionary_is_the_one_that_the_protocol_names():
    # A zlib stream with this dictionary begins with its Adler-32: peers have been sending this one since SPDY/3.
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_frames_survive_any_cutting(sent: list[Frame], size: int):
    encoder, decoder = Encoder(), Decoder()
    wire = b"".join(encoder.encode(f) for f in sent)
    got = [f for i in range(0, len(wire), size) for f in decoder.feed(wire[i : i + size])]
    assert got == sent


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_foreign_bytes_give_frames_or_our_error(pieces: list[bytes]):
    decoder = Decoder()
    try:
        for piece in pieces:
            list(decoder.feed(piece))
            list(decoder.feed(b"\x80\x03\x00\x01" + piece[:1] + struct.pack(">I", len(piece))[1:] + piece))
    except SpdyError:
        pass


def test_a_port_forward_stream_as_clients_send_it():
    # SYN_STREAM 1, headers as in a port-forward request, deflated the way of zlib level 9 clients.
    block = struct.pack(">I", 3)
    for text in ("streamtype", "error", "port", "8080", "requestid", "0"):
        block += struct.pack(">I", len(text)) + text.encode()
    deflate = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    payload = struct.pack(">IIBB", 1, 0, 0, 0) + deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)
    wire = struct.pack(">HHI", 0x8003, 1, len(payload)) + payload
    (frame,) = Decoder().feed(wire)
    assert frame == spdy.SynStream(1, {"streamtype": "error", "port": "8080", "requestid": "0"})


def test_bytes_of_fixed_frames():
    encoder = Encoder()
    assert encoder.encode(Data(5, b"hi", fin=True)).hex() == "0000000501000002" + b"hi".hex()
    assert encoder.encode(spdy.Ping(7)).hex() == "800300060000000400000007"
    assert encoder.encode(spdy.RstStream(3, 5)).hex() == "80030003000000080000000300000005"
    assert encoder.encode(spdy.GoAway(9)).hex() == "80030007000000080000000900000000"


def test_unknown_control_frames_are_left_out():
    wire = struct.pack(">HHI", 0x8003, 99, 3) + b"abc" + Encoder().encode(spdy.Ping(1))
    assert list(Decoder().feed(wire)) == [spdy.Ping(1)]


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">HHI", 0x8002, 6, 4) + b"\0\0\0\1",  # version 2
        struct.pack(">HHI", 0x8003, 6, 2) + b"\0\1",  # a ping without its id
        struct.pack(">II", 1, spdy.MAX_FRAME + 1),
        struct.pack(">HHI", 0x8003, 2, 8) + b"\0\0\0\1none",  # no zlib
    ],
)
def test_broken_frames_end_the_connection(wire: bytes):
    with pytest.raises(SpdyError):
        list(Decoder().feed(wire))


def test_a_header_block_cannot_fill_the_memory():
    deflate = zlib.compressobj(9, zdict=spdy.DICTIONARY)
    bomb = deflate.compress(bytes(1 << 24)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    wire = struct.pack(">HHI", 0x8003, 2, len(bomb) + 4) + b"\0\0\0\1" + bomb
    with pytest.raises(SpdyError, match="more than"):
        list(Decoder().feed(wire))
