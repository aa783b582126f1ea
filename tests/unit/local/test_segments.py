from ipaddress import ip_network

import pytest

from netloom.local.segments import host_number, least_part, part, place_of, segments_of
from netloom.units import Family

V4, V6 = ip_network("172.30.0.0/24"), ip_network("fd00:172:30::/56")


def texts(things):
    return [str(thing) for thing in things]


def test_of_three_nodes_on_two_segments_two_share_one():
    segments = segments_of([V4, V6], 2)
    places = [place_of(segments, i, 3) for i in range(3)]
    assert [p.segment.index for p in places] == [0, 0, 1]
    assert texts(places[1].interfaces) == ["172.30.0.12/25", "fd00:172:30::12/64"]
    assert texts(places[2].interfaces) == ["172.30.0.141/25", "fd00:172:30:1::13/64"]
    assert texts(segments[1].router_interfaces) == ["172.30.0.129/25", "fd00:172:30:1::1/64"]


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("cidr", [V4, V6, ip_network("fd00:172:30::/64"), ip_network("fd00::/63")])
def test_segments_are_parts_that_share_no_address(cidr, count):
    networks = [s.networks[0] for s in segments_of([cidr], count)]
    assert all(n.subnet_of(cidr) and n.prefixlen == part(cidr, count) for n in networks)
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])


def test_every_segment_has_a_node():
    for nodes in range(1, 20):
        for count in range(1, nodes + 1):
            segments = segments_of([V4], count)
            used = [place_of(segments, i, nodes).segment.index for i in range(nodes)]
            assert used == sorted(used)
            assert set(used) == set(range(count))


@pytest.mark.parametrize("family", Family)
def test_a_segment_has_room_for_its_last_node(family):
    for nodes in range(1, 51):
        size = 1 << (family.bits - least_part(family, nodes))
        assert host_number(family, nodes - 1) < size - 1 <= 2 * host_number(family, nodes - 1) + 1
