"""udp: whatever a peer sends, the process goes on, and the device gets whole packets of that peer's pods only."""

from __future__ import annotations

import io
import os
import struct
from typing import Self

from hypothesis import given
from hypothesis import strategies as st

from netloom.fabric.udp.forward import Forwarder
from netloom.fabric.udp.packets import PIECE, WHOLE
from netloom.fabric.udp.table import Lookup, PeerEntry, PeerTable

TABLE = PeerTable(
    "1", "", 8285, own=("10.244.1.0/24",), peers=(PeerEntry("192.0.2.2", ("10.244.2.0/24",), 100),)
)


def packet(size: int, source: bytes = bytes([10, 244, 2, 2])) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, size, 0, 0, 64, 17, 0) + source + bytes([10, 244, 1, 2])
    return head + bytes(i & 255 for i in range(size - 20))


def pieces(whole: bytes, room: int, number: int = 0) -> list[bytes]:
    count = -(-len(whole) // room)
    return [bytes((PIECE, number, i, count)) + whole[i * room : (i + 1) * room] for i in range(count)]


class Rig:
    """A forwarder whose device is a pipe. A context manager."""

    def __enter__(self) -> Self:
        self.reading, writing = os.pipe2(os.O_NONBLOCK)
        self.device = io.FileIO(writing, "w")
        self.forwarder = Forwarder(self.device)
        self.forwarder._lookup = Lookup(TABLE)
        return self

    def __exit__(self, *_: object) -> None:
        self.device.close()
        os.close(self.reading)

    def takes(self, data: bytes, step: int) -> bytes:
        """What the device has got after this."""
        self.forwarder._in[: len(data)] = data
        peer = self.forwarder._lookup.by_address["192.0.2.2"]
        self.forwarder._take_datagrams(peer, len(data), step)
        try:
            return os.read(self.reading, 1 << 16)
        except BlockingIOError:
            return b""


@given(
    st.lists(
        st.one_of(st.binary(max_size=120), st.binary(max_size=60).map(lambda b: bytes([PIECE]) + b)),
        max_size=6,
    )
)
def test_any_datagrams_are_survived(datagrams):
    with Rig() as rig:
        for data in datagrams:
            for step in {len(data), max(1, len(data) // 3)} - {0}:
                assert rig.takes(data, step) == b""


@given(st.integers(20, 900), st.integers(40, 100), st.integers(0, 255))
def test_a_train_arrives_as_it_was_together_and_piece_by_piece(size: int, room: int, number: int):
    with Rig() as rig:
        whole = WHOLE + packet(size)
        train = pieces(whole, room, number)
        assert rig.takes(b"".join(train), room + 4) == whole
        got = b"".join(rig.takes(piece, len(piece)) for piece in train)
        assert got == whole


@given(st.integers(100, 900), st.data())
def test_of_a_train_with_a_gap_nothing_arrives_and_the_next_one_does(size: int, data):
    with Rig() as rig:
        train = pieces(WHOLE + packet(size), 40, 1)
        lost = data.draw(st.integers(0, len(train) - 1))
        assert rig.takes(b"".join(p for i, p in enumerate(train) if i != lost), 44) == b""
        following = WHOLE + packet(300)
        assert rig.takes(b"".join(pieces(following, 40, 2)), 44) == following


def test_two_trains_and_a_packet_in_one_reading():
    with Rig() as rig:
        one, two = WHOLE + packet(86), WHOLE + packet(186)
        data = b"".join(pieces(one, 96, 1) + pieces(two, 98, 2))
        assert rig.takes(data[:100], 100) == one
        assert rig.takes(b"".join(pieces(two, 98, 2)), 102) == two
        assert rig.takes(packet(90), 90) == WHOLE + packet(90)


def test_the_first_piece_of_a_train_must_be_of_that_peers_pods():
    with Rig() as rig:
        false = WHOLE + packet(300, source=bytes([10, 244, 3, 2]))
        assert rig.takes(b"".join(pieces(false, 50)), 54) == b""
        assert rig.forwarder.dropped == {"false source": 1}
