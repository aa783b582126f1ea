"""Messages of VXLAN interfaces, bridges, ports, forwarding entries and routes to nobody: what is written is what is read."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.linux import rtmsg, rtmsg_overlay
from netloom.linux.netlink import Message, Request, attributes
from netloom.program.links import Bridge, BridgePort, Vxlan
from netloom.program.names import vtep_link_local, vtep_mac
from netloom.program.neighbours import ForwardingEntry
from netloom.program.routes import Route, RouteKind


def ip(text: str):
    return ipaddress.ip_address(text)


def net(text: str):
    return ipaddress.ip_network(text)


def echoed(request: Request) -> Message:
    """The kernel tells of a link and of a route in the form in which it was asked for one."""
    return Message(request.type, 0, 0, request.body)


@pytest.mark.parametrize("local", ["192.0.2.1", "2001:db8::1"])
def test_a_vxlan_interface(local: str):
    vxlan = Vxlan(name="nl-vxlan", vni=77, local=ip(local), port=8472, mac="0e:4e:c0:00:02:01", mtu=1450)
    request = rtmsg_overlay.new_vxlan(vxlan)
    assert rtmsg_overlay.read_vxlan(echoed(request)) == vxlan
    assert rtmsg_overlay.read_bridge(echoed(request)) is None


def test_a_bridge():
    bridge = Bridge(name="nl-bridge", mac="ee:ee:ee:ee:ee:ee", mtu=1500)
    assert rtmsg_overlay.read_bridge(echoed(rtmsg_overlay.new_bridge(bridge))) == bridge
    assert rtmsg_overlay.read_vxlan(echoed(rtmsg_overlay.new_bridge(bridge))) is None


@pytest.mark.parametrize("is_set", [True, False])
def test_a_port(is_set: bool):
    port = BridgePort(device="", isolated=is_set, locked=is_set, learning=not is_set, flood=not is_set)
    assert rtmsg_overlay.read_port(echoed(rtmsg_overlay.set_port(3, port))) == port


def test_what_is_no_port_is_none():
    request = rtmsg_overlay.new_bridge(Bridge(name="b", mac="ee:ee:ee:ee:ee:ee", mtu=1500))
    assert rtmsg_overlay.read_port(echoed(request)) is None


@pytest.mark.parametrize("remote", ["192.0.2.2", "2001:db8::2"])
def test_a_forwarding_entry_of_a_tunnel(remote: str):
    entry = ForwardingEntry(device="nl-vxlan", mac="0e:4e:c0:00:02:02", remote=ip(remote))
    request = rtmsg_overlay.new_entry(3, entry)
    assert rtmsg_overlay.read_entry(echoed(request), {3: "nl-vxlan"}) == entry


def test_a_learnt_entry_is_none():
    learnt = struct.pack("=BxxxiHBB", 7, 3, 0x02, 0x04, 0)
    body = learnt + struct.pack("=HH6sxx", 10, 2, bytes(6)) + struct.pack("=HHI", 8, 9, 2)
    assert rtmsg_overlay.read_entry(Message(28, 0, 0, body), {3: "p"}) is None


@pytest.mark.parametrize(
    "route",
    [
        Route(destination=net("10.1.0.0/24"), kind=RouteKind.UNREACHABLE, protocol=206),
        Route(destination=net("2001:db8:1::/64"), kind=RouteKind.BLACKHOLE, protocol=206, metric=9),
        Route(destination=net("10.1.0.0/24"), device="nl-vxlan", via=ip("fe80::1"), onlink=True),
        Route(destination=net("10.1.0.0/24"), device="nl-vxlan", via=ip("192.0.2.9"), mtu=1400),
        Route(destination=net("2001:db8:1::/64"), device="nl-vxlan", via=ip("fe80::1"), mtu=1400),
    ],
    ids=str,
)
def test_a_route(route: Route):
    request = rtmsg.new_route(3 if route.device else 0, route)
    assert rtmsg.read_route(echoed(request), {3: "nl-vxlan"}) == route


def test_a_route_to_nobody_names_no_interface():
    route = Route(destination=net("10.1.0.0/24"), kind=RouteKind.UNREACHABLE)
    assert 4 not in attributes(rtmsg.new_route(0, route).body, 12)  # RTA_OIF
    assert str(route) == "unreachable 10.1.0.0/24"


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_any_attributes_can_be_read(attribute_bytes: bytes, data: bytes):
    info = struct.pack("=HH", 4 + len(data), 18) + data + bytes(-len(data) & 3)
    for tail in (attribute_bytes, info + attribute_bytes):
        message = Message(16, 0, 0, struct.pack("=BxHiII", 0, 0, 3, 0, 0) + tail)
        rtmsg_overlay.read_vxlan(message)
        rtmsg_overlay.read_bridge(message)
        rtmsg_overlay.read_port(message)
        entry = Message(28, 0, 0, struct.pack("=BxxxiHBB", 7, 3, 0x40, 0x02, 0) + attribute_bytes)
        rtmsg_overlay.read_entry(entry, {})


@pytest.mark.parametrize(
    ("underlay", "mac", "link_local"),
    [("192.0.2.1", "0e:4e:c0:00:02:01", "fe80::c4e:c0ff:fe00:201"), ("2001:db8::1", None, None)],
)
def test_a_tunnels_mac_is_a_function_of_the_nodes_address(underlay, mac, link_local):
    found = vtep_mac(ip(underlay))
    assert int(found[:2], 16) & 3 == 2  # locally administered, unicast
    assert len(found.split(":")) == 6
    assert mac in (None, found)
    assert link_local in (None, str(vtep_link_local(ip(underlay))))


@given(st.lists(st.ip_addresses(), unique=True, max_size=50))
def test_nodes_have_macs_of_their_own(addresses):
    assert len({vtep_mac(a) for a in addresses}) == len(addresses)
