"""Ports and addresses cut into what nothing tells apart, and sets of them in words."""

import ipaddress
import random

import pytest

from netloom.model.policy.state import NetworkPeers, PortRange
from netloom.observe.reach.outside import AddressSpace
from netloom.observe.reach.portspace import PortSpace, each_bit
from netloom.units import Family, Protocol

TCP, UDP = Protocol.TCP, Protocol.UDP


def peers(*texts):
    return NetworkPeers(tuple(ipaddress.ip_network(text) for text in texts))


def test_a_set_of_ports_in_words():
    space = PortSpace([PortRange(TCP, 80, 80), PortRange(TCP, 8000, 8100), PortRange(UDP, 53, 53)])
    web, many, dns = (space.bits(PortRange(*r)) for r in ((TCP, 80, 80), (TCP, 8000, 8100), (UDP, 53, 53)))
    everything = space.everything
    for bits, text in (
        (0, "nothing"),
        (everything, "all traffic"),
        (everything & ~space.portless, "all ports"),
        (space.portless, "icmp"),
        (web, "80/tcp"),
        (web | many | dns, "80/tcp, 8000-8100/tcp, 53/udp"),
        (everything & ~many, "all traffic but 8000-8100/tcp"),
        (space.bits(PortRange(TCP, 0, 65535)), "any tcp port"),
        (space.bits(PortRange(TCP, 0, 80)), "1-80/tcp"),
        (space.bits(PortRange(Protocol.SCTP, 0, 65535)) | dns, "53/udp, any sctp port"),
    ):
        assert space.text(bits) == text


def test_stretches_cover_every_port_once():
    space = PortSpace([PortRange(TCP, 1, 1), PortRange(TCP, 65535, 65535), PortRange(TCP, 10, 20)])
    tcp = [s for s in space.stretches if s.protocol is TCP]
    assert [(s.first, s.last) for s in tcp] == [(0, 0), (1, 1), (2, 9), (10, 20), (21, 65534), (65535, 65535)]
    assert sum(1 for s in space.stretches if s.protocol is None) == 1


def test_a_range_that_was_never_named_is_refused():
    with pytest.raises(KeyError, match="79-81/tcp"):
        PortSpace([PortRange(TCP, 80, 80)]).bits(PortRange(TCP, 79, 81))


def test_bits_of_sparse_and_dense_numbers():
    for mask in (0, 1, 1 << 4000, (1 << 300) - 1, 0b1011, (1 << 900) | 5):
        assert list(each_bit(mask)) == [n for n in range(mask.bit_length()) if mask >> n & 1]


def test_an_address_is_in_the_ranges_that_hold_it():
    keys = [
        peers("10.0.0.0/8"),
        peers("10.1.0.0/16", "10.3.0.0/16"),
        peers("10.1.2.0/24"),
        peers("0.0.0.0/0", "::/0"),
    ]
    space = AddressSpace(keys)
    chance = random.Random(4)
    for text in (
        "9.255.255.255",
        "10.0.0.0",
        "10.1.2.3",
        "10.1.3.0",
        "10.3.0.1",
        "11.0.0.0",
        "255.255.255.255",
        "::1",
    ):
        address = ipaddress.ip_address(text)
        wanted = {key for key in keys if any(address in cidr for cidr in key.cidrs)}
        assert {
            key for key, place in space.places.items() if space.membership(address) >> place & 1
        } == wanted
    for _ in range(200):
        address = ipaddress.ip_address(chance.getrandbits(32))
        found = {key for key, place in space.places.items() if space.membership(address) >> place & 1}
        assert found == {key for key in keys if any(address in cidr for cidr in key.cidrs)}


def test_the_outside_is_what_is_not_in_the_cluster():
    space = AddressSpace([peers("203.0.113.0/24"), peers("203.0.113.128/25"), peers("10.0.0.0/8")])
    found = space.outside(Family.V4, [ipaddress.ip_network("10.0.0.0/9")])
    assert [str(one) for one in found] == ["internet", "10.128.0.0/9", "203.0.113.0/25", "203.0.113.128/25"]
    assert all(space.membership(one.example) == one.membership for one in found)
    inside = [ipaddress.ip_network(t) for t in ("10.0.0.0/9", "127.0.0.0/8", "224.0.0.0/3", "0.0.0.0/8")]
    size = sum(last - first + 1 for one in found for first, last in one.spans)
    assert size == 2**32 - sum(cidr.num_addresses for cidr in inside)


def test_ranges_with_holes_in_words():
    space = AddressSpace(
        [
            NetworkPeers(
                tuple(
                    ipaddress.ip_network("198.51.0.0/16").address_exclude(
                        ipaddress.ip_network("198.51.100.0/24")
                    )
                )
            )
        ]
    )
    assert [str(one) for one in space.outside(Family.V4, ())] == [
        "internet",
        "198.51.0.0/16 without 198.51.100.0/24",
    ]
    assert [str(one) for one in AddressSpace().outside(Family.V6, ())] == ["internet"]
