"""udp: who a packet is from and for, what is said of one that is too long, and the table that says whose it is."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.fabric.udp import packets
from netloom.fabric.udp.table import Lookup, PeerEntry, PeerTable


def slow_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=200))
def test_the_checksum_is_the_one_of_rfc_1071(data: bytes):
    assert packets.checksum(data) == slow_checksum(data)


def ipv4(payload: bytes, *, flags: int = 0x40, protocol: int = 17) -> bytes:
    head = struct.pack(
        "!BBHHBBBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        0,
        flags,
        0,
        64,
        protocol,
        0,
        bytes([10, 244, 1, 2]),
        bytes([10, 244, 2, 2]),
    )
    return head + payload


def ipv6(payload: bytes, following: int = 17) -> bytes:
    ends = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + ends + payload


def test_the_ends_of_both_families_are_read():
    assert packets.ends(memoryview(ipv4(b""))) == (bytes([10, 244, 1, 2]), bytes([10, 244, 2, 2]))
    found = packets.ends(memoryview(ipv6(b"")))
    assert found is not None
    assert [str(ipaddress.ip_address(end)) for end in found] == ["2001:db8::1", "2001:db8::2"]


@given(st.binary(max_size=60))
def test_any_bytes_have_ends_or_none(data: bytes):
    found = packets.ends(memoryview(data))
    assert found is None or {len(end) for end in found} <= {4, 16}


def test_a_checksum_that_was_left_out_is_filled_in():
    packet = bytearray(ipv4(struct.pack("!HHHH", 9, 7, 12, 0) + b"data"))
    pseudo = bytes(packet[12:20]) + struct.pack("!HH", 17, 12)
    packet[26:28] = packets.checksum(pseudo).to_bytes(2, "big")  # as the kernel leaves it
    assert packets.fill_checksum(memoryview(packet), 20, 6)
    assert slow_checksum(pseudo + bytes(packet[20:])) == 0xFFFF


def test_a_place_outside_of_the_packet_is_not_filled():
    assert not packets.fill_checksum(memoryview(bytearray(30)), 28, 6)


def test_the_message_of_a_narrow_way_can_be_believed():
    packet = ipv4(bytes(1400))
    told = packets.too_big(memoryview(packet), 1272)
    assert slow_checksum(told[:20]) == 0xFFFF
    assert slow_checksum(told[20:]) == 0xFFFF
    assert (told[12:16], told[16:20]) == (packet[16:20], packet[12:16])
    assert (told[9], told[20], told[21]) == (1, 3, 4)
    assert int.from_bytes(told[26:28], "big") == 1272
    assert told[28:48] == packet[:20]
    assert len(told) <= 576


def test_and_so_can_the_one_of_ipv6_which_is_never_below_what_ipv6_asks_for():
    packet = ipv6(bytes(1400))
    told = packets.too_big(memoryview(packet), 1200)
    body = told[40:]
    assert slow_checksum(told[8:40] + struct.pack("!II", len(body), 58) + body) == 0xFFFF
    assert (told[8:24], told[24:40]) == (packet[24:40], packet[8:24])
    assert body[0] == 2
    assert int.from_bytes(body[4:8], "big") == 1280
    assert len(told) <= 1280


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(bytes([3, 4]) + bytes(1400), protocol=1),
        ipv4(bytes(1400), flags=0x01),
        ipv6(bytes([2]) + bytes(1400), following=58),
    ],
    ids=["about an ICMP error", "about a later fragment", "about an ICMPv6 error"],
)
def test_nobody_is_told(packet: bytes):
    assert packets.too_big(memoryview(packet), 1272) == b""


def test_somebody_who_pings_is_told():
    assert packets.too_big(memoryview(ipv4(bytes([8]) + bytes(1400), protocol=1)), 1272)
    assert packets.too_big(memoryview(ipv6(bytes([128]) + bytes(1400), following=58)), 1272)


def packed(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


TABLE = PeerTable(
    "1",
    "192.0.2.1",
    8285,
    own=("10.244.1.0/24", "2001:db8:1::/64"),
    peers=(
        PeerEntry("192.0.2.2", ("10.244.2.0/24", "2001:db8:2::/64"), 1472),
        PeerEntry("192.0.2.3", ("10.244.3.0/24", "10.244.2.64/26"), 1472),
    ),
)


def test_an_address_has_the_peer_of_its_longest_range():
    table = Lookup(TABLE)
    found = {
        text: getattr(table.peer_of(packed(text)), "address", None)
        for text in (
            "10.244.2.1",
            "10.244.2.70",
            "2001:db8:2::9",
            "10.244.3.255",
            "10.244.4.1",
            "10.244.1.1",
            "::1",
        )
    }
    assert found == {
        "10.244.2.1": "192.0.2.2",
        "10.244.2.70": "192.0.2.3",
        "2001:db8:2::9": "192.0.2.2",
        "10.244.3.255": "192.0.2.3",
        "10.244.4.1": None,
        "10.244.1.1": None,
        "::1": None,
    }
    assert table.is_own(packed("10.244.1.9"))
    assert table.is_own(packed("2001:db8:1::9"))
    assert not table.is_own(packed("10.244.2.9"))


def test_what_was_found_is_found_again_and_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr("netloom.fabric.udp.table._CACHED", 8)
    table = Lookup(TABLE)
    for _ in range(3):
        for number in range(100):
            found = table.peer_of(bytes([10, 244, 2, number]))
            assert found is not None
            assert found.address == ("192.0.2.3" if 64 <= number < 128 else "192.0.2.2")
