"""The netlink codec and the rtnetlink messages, against bytes recorded from iproute2 6.1 and from a Linux 6.18 kernel."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from netloom.linux import netlink, rtmsg
from netloom.linux.netlink import NLM_F_ACK, Message, Request
from netloom.program.links import LinkAddress, Veth
from netloom.program.neighbours import Neighbour
from netloom.program.routes import Route

# What `ip` of iproute2 sent, with sequence number and port zeroed.
IP_ROUTE_REPLACE = bytes.fromhex(
    "3400000018000505000000000000000002180000fec9000100000000080001 00c6336400 08000500c0000209 0800040003000000"
)
IP_ROUTE_ONLINK = bytes.fromhex(
    "2c00000018000505000000000000000002000000fe03000104000000 08000500a9fe0101 0800040003000000"
)
IP_NEIGH_REPLACE = bytes.fromhex(
    "300000001c000505000000000000000002000000 03000000 80000000 08000100c0000209 0a0002000a58c00002090000"
)
IP_LINK_ADD = bytes.fromhex(
    "5800000010000506000000000000000000000000000000000000000000000000 080003006e6c7800"
    "30001200 0800010076657468 24000200 20000100 00000000000000000000000000000000 0900030065746878 00000000"
)

# What the kernel answered.
KERNEL_ROUTE = bytes.fromhex(
    "3c0000001800220002000000fa73000002180000fec900011000000008000f00fe00000008000100c633640008000500c0000209"
    "0800040002000000"
)
KERNEL_NEIGHBOUR = bytes.fromhex(
    "4c0000001c00020003000000fa73000002000000020000008000000108000100c00002090a0002000a58c00002090000"
    "08000400000000001400030000000000000000000000000000000000"
)
KERNEL_ADDRESS = bytes.fromhex(
    "4c0000001400020004000000fa730000021880000200000008000100c000020108000200c0000201080003006e6c3000"
    "080008008000000014000600ffffffffffffffff1aa305001aa30500"
)
KERNEL_REFUSAL = bytes.fromhex(
    "440000000200000363000000fa7300009bffffff34000000180005056300000000000000"
    "200001004e657874686f702068617320696e76616c6964206761746577617900"
)
KERNEL_DONE = bytes.fromhex("140000000300220002000000fa73000000000000")

DEVICES = {2: "nl0", 3: "nl0"}


def ip(text: str):
    return ipaddress.ip_address(text)


def net(text: str):
    return ipaddress.ip_network(text)


def sent(request: Request, fixed: int) -> tuple[bytes, dict[int, bytes]]:
    """Type, flags and fixed part of a request as sent with an ack, and its attributes in any order."""
    data = netlink.encode(Request(request.type, request.flags | NLM_F_ACK, request.body, ""), 0)
    return data[4:8] + data[16 : 16 + fixed], netlink.attributes(data, 16 + fixed)


def recorded(data: bytes, fixed: int) -> tuple[bytes, dict[int, bytes]]:
    return data[4:8] + data[16 : 16 + fixed], netlink.attributes(data, 16 + fixed)


def test_a_route_is_written_as_iproute2_writes_it():
    route = Route(destination=net("198.51.100.0/24"), via=ip("192.0.2.9"), device="nl0", protocol=201)
    assert sent(rtmsg.new_route(3, route), 12) == recorded(IP_ROUTE_REPLACE, 12)


def test_an_onlink_default_route_is_written_as_iproute2_writes_it():
    route = Route(destination=net("0.0.0.0/0"), via=ip("169.254.1.1"), device="nl0", onlink=True)
    assert sent(rtmsg.new_route(3, route), 12) == recorded(IP_ROUTE_ONLINK, 12)


def test_a_neighbour_is_written_as_iproute2_writes_it():
    neighbour = Neighbour(device="nl0", address=ip("192.0.2.9"), mac="0a:58:c0:00:02:09")
    assert sent(rtmsg.new_neighbour(3, neighbour), 12) == recorded(IP_NEIGH_REPLACE, 12)


def test_a_veth_pair_is_written_as_iproute2_writes_it():
    ours_head, ours = sent(rtmsg.new_veth(Veth(name="nlx", peer="ethx"), None), 16)
    theirs_head, theirs = recorded(IP_LINK_ADD, 16)
    assert ours_head == theirs_head
    assert ours.keys() == theirs.keys()
    assert ours[3] == theirs[3]
    ours_info, theirs_info = netlink.attributes(ours[18]), netlink.attributes(theirs[18])
    assert netlink.text(ours_info[1]) == netlink.text(theirs_info[1]) == "veth"
    (ours_peer, theirs_peer) = (netlink.attributes(i[2])[1] for i in (ours_info, theirs_info))
    assert ours_peer[:16] == theirs_peer[:16]
    assert netlink.attributes(ours_peer, 16) == netlink.attributes(theirs_peer, 16) == {3: b"ethx\0"}


def test_the_kernels_route_is_read_back():
    (message,) = netlink.decode(KERNEL_ROUTE)
    expected = Route(destination=net("198.51.100.0/24"), via=ip("192.0.2.9"), device="nl0", protocol=201)
    assert rtmsg.read_route(message, DEVICES) == expected


def test_what_is_written_is_read_back_the_same_in_both_families():
    for route in (
        Route(destination=net("10.1.0.0/24"), via=ip("192.0.2.9"), device="nl0", metric=7, table=254),
        Route(destination=net("10.1.0.2/32"), device="nl0", source=ip("192.0.2.1"), table=1000),
        Route(destination=net("2001:db8:1::/64"), via=ip("2001:db8::9"), device="nl0", protocol=201),
        Route(destination=net("::/0"), via=ip("fe80::1"), device="nl0", onlink=True),
    ):
        request = rtmsg.new_route(3, route)
        assert rtmsg.read_route(Message(request.type, 0, 0, request.body), DEVICES) == route


def test_the_kernels_neighbour_is_read_back():
    (message,) = netlink.decode(KERNEL_NEIGHBOUR)
    expected = Neighbour(device="nl0", address=ip("192.0.2.9"), mac="0a:58:c0:00:02:09", permanent=True)
    assert rtmsg.read_neighbour(message, DEVICES) == expected


def test_the_kernels_address_is_read_back():
    (message,) = netlink.decode(KERNEL_ADDRESS)
    expected = LinkAddress(device="nl0", interface=ipaddress.ip_interface("192.0.2.1/24"))
    assert rtmsg.read_address(message, DEVICES) == expected


def test_a_refusal_carries_errno_and_the_kernels_own_words():
    (message,) = netlink.decode(KERNEL_REFUSAL)
    refused = netlink.refusal(message)
    assert refused is not None
    assert (refused.errno, refused.text) == (101, "Nexthop has invalid gateway")
    error = refused.error("route 198.51.100.0/24")
    assert str(error) == "route 198.51.100.0/24: Nexthop has invalid gateway (errno 101)"


def test_the_end_of_a_dump_is_no_refusal():
    (message,) = netlink.decode(KERNEL_DONE)
    assert message.type == netlink.NLMSG_DONE
    assert netlink.refusal(message) is None


def test_one_datagram_may_hold_several_messages():
    assert [m.type for m in netlink.decode(KERNEL_ROUTE + KERNEL_NEIGHBOUR + KERNEL_DONE)] == [24, 28, 3]


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read_without_an_error(data: bytes):
    for message in netlink.decode(data):
        netlink.attributes(message.body)
        netlink.refusal(message)
    list(netlink.iter_attributes(data))


@given(st.integers(1, 300), st.data())
def test_a_message_cut_short_is_left_out(length: int, data: st.DataObject):
    whole = netlink.encode(Request(16, 0, bytes(length), ""), 5)
    cut = data.draw(st.integers(0, 15 + length))
    assert list(netlink.decode(whole[:cut])) == []


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8))
def test_attributes_come_back_as_they_were_written(pairs: list[tuple[int, bytes]]):
    written = b"".join(netlink.attr(kind, payload) for kind, payload in pairs)
    assert len(written) % 4 == 0
    assert list(netlink.iter_attributes(written)) == pairs
