"""Headers of packets: as they are meant, cut short anywhere, and behind extensions."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.linux.ip_headers import Headers, read_headers
from netloom.units import Family

A4, B4 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("192.0.2.9")
A6, B6 = ipaddress.ip_address("2001:db8::1"), ipaddress.ip_address("2001:db8::9")
PORTS = struct.pack(">HH", 40000, 80)


def v4(protocol, rest, *, options=b"", fragment=0):
    words = 5 + len(options) // 4
    head = struct.pack(
        ">BBHHHBBH", 0x40 | words, 0, 20 + len(options) + len(rest), 1, fragment, 64, protocol, 0
    )
    return head + A4.packed + B4.packed + options + rest


def v6(following, rest):
    return struct.pack(">IHBB", 6 << 28, len(rest), following, 64) + A6.packed + B6.packed + rest


@pytest.mark.parametrize("protocol", [6, 17, 132])
def test_ports_of_protocols_that_have_them(protocol):
    assert read_headers(Family.V4, v4(protocol, PORTS)) == Headers(A4, B4, protocol, 40000, 80)
    assert read_headers(Family.V6, v6(protocol, PORTS)) == Headers(A6, B6, protocol, 40000, 80)


def test_options_move_the_ports():
    assert read_headers(Family.V4, v4(6, PORTS, options=bytes(8))) == Headers(A4, B4, 6, 40000, 80)


def test_no_ports_where_there_are_none():
    assert read_headers(Family.V4, v4(1, b"\x08\x00\x12\x34")) == Headers(A4, B4, 1)
    assert read_headers(Family.V4, v4(17, PORTS, fragment=185)) == Headers(A4, B4, 17)
    assert read_headers(Family.V4, v4(17, PORTS, fragment=0x2000)) == Headers(A4, B4, 17, 40000, 80)


def test_ports_behind_extension_headers():
    hop = bytes((44, 0)) + bytes(6)
    first = bytes((6, 0)) + struct.pack(">HI", 1, 7)
    later = bytes((6, 0)) + struct.pack(">HI", 185 << 3, 7)
    assert read_headers(Family.V6, v6(0, hop + first + PORTS)) == Headers(A6, B6, 6, 40000, 80)
    assert read_headers(Family.V6, v6(0, hop + later + PORTS)) == Headers(A6, B6, 6)
    authentication = bytes((17, 4)) + bytes(22)
    assert read_headers(Family.V6, v6(51, authentication + PORTS)) == Headers(A6, B6, 17, 40000, 80)


def test_a_packet_of_the_other_family_is_none():
    assert read_headers(Family.V6, v4(6, PORTS)) is None
    assert read_headers(Family.V4, v6(6, PORTS)) is None


@pytest.mark.parametrize("family", list(Family))
@given(data=st.binary(max_size=128), start=st.sampled_from([b"", b"\x45", b"\x60"]))
def test_any_bytes_are_read_without_an_error(family, data, start):
    read_headers(family, start + data)


def test_cut_short_anywhere():
    whole = v6(0, bytes((6, 0)) + bytes(6) + PORTS)
    for length in range(len(whole)):
        found = read_headers(Family.V6, whole[:length])
        assert found is None if length < 40 else found is not None and found.source_port == 0
