"""Reading and ending flows: each test runs on the fake and on a kernel that tracks real packets."""

from __future__ import annotations

import contextlib
import ipaddress

import msgspec
import pytest

from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.program.conntrack import Flow, FlowFilter, Tuple
from netloom.program.nft import AddChain, AddRule, AddTable, Chain, Hook, Transaction
from netloom.testing.fake_conntrack import FakeConntrack
from netloom.testing.topologies import two_pods_one_node
from netloom.units import Family, Protocol

pytestmark = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)

# (port of the server, protocol, port of the client)
FLOWS = (
    (53, Protocol.UDP, 40001),
    (53, Protocol.UDP, 40002),
    (54, Protocol.UDP, 40001),
    (53, Protocol.TCP, 40001),
)
ADDRESSES = {
    Family.V4: ("10.244.1.2", "10.244.1.3"),
    Family.V6: ("2001:db8:44:1::2", "2001:db8:44:1::3"),
}


def addresses(family):
    """Server and client."""
    return tuple(ipaddress.ip_address(text) for text in ADDRESSES[family])


def fake_table(family):
    server, client = addresses(family)
    return FakeConntrack(
        Flow(
            family,
            protocol.number,
            Tuple(client, server, theirs, ours),
            Tuple(server, client, ours, theirs),
            number,
        )
        for number, (ours, protocol, theirs) in enumerate(FLOWS)
    )


@contextlib.asynccontextmanager
async def kernel_table(family):
    with (
        two_pods_one_node() as net,
        Nft(netns_fd=net.node.netns_fd) as nft,
        Conntrack(netns_fd=net.node.netns_fd) as conntrack,
    ):
        assert (net.a.address_of(family), net.b.address_of(family)) == addresses(family)
        # A kernel tracks only where somebody wants to know.
        ops = (
            AddTable(),
            AddChain(Chain("f", Hook("filter", "forward", 0))),
            AddRule("f", "ct state invalid drop"),
        )
        await nft.run(Transaction(family, "track", ops))
        for ours, protocol, theirs in FLOWS:
            async with net.a.serve(ours, protocol, family=family):
                source = (net.b.address_of(family), theirs)
                assert await net.b.ask(net.a.address_of(family), ours, protocol, source=source)
        yield conntrack


@pytest.fixture(params=["fake", pytest.param("kernel", marks=pytest.mark.netns)])
async def conntrack(request, family):
    if request.param == "fake":
        yield fake_table(family)
        return
    async with kernel_table(family) as kernel:
        yield kernel


def ports(flows):
    return sorted((flow.original.destination_port, flow.original.source_port) for flow in flows)


async def test_a_dump_has_what_fits_its_filter(conntrack, family):
    server, client = addresses(family)
    udp = conntrack.dump(FlowFilter(family, 17))
    assert ports(udp) == [(53, 40001), (53, 40002), (54, 40001)]
    assert {(flow.original.source, flow.original.destination) for flow in udp} == {(client, server)}
    assert not any(flow.is_translated for flow in udp)
    assert ports(conntrack.dump(FlowFilter(family, 6))) == [(53, 40001)]
    assert ports(conntrack.dump(FlowFilter(family, 17, server))) == ports(udp)
    assert ports(conntrack.dump(FlowFilter(family, 17, server, 53))) == [(53, 40001), (53, 40002)]
    assert ports(conntrack.dump(FlowFilter(family, 17, None, 54))) == [(54, 40001)]
    assert conntrack.dump(FlowFilter(family, 17, client)) == []
    assert conntrack.dump(FlowFilter(family, 132)) == []


async def test_deleting_ends_these_flows_and_no_others(conntrack, family):
    doomed = [flow for flow in conntrack.dump(FlowFilter(family, 17)) if flow.original.source_port == 40001]
    assert conntrack.delete(doomed) == 2
    assert ports(conntrack.dump(FlowFilter(family, 17))) == [(53, 40002)]
    assert ports(conntrack.dump(FlowFilter(family, 6))) == [(53, 40001)]


async def test_deleting_what_has_gone_is_no_error(conntrack, family):
    doomed = conntrack.dump(FlowFilter(family, 17))
    assert conntrack.delete(doomed) == 3
    assert conntrack.delete(doomed) == 0
    assert conntrack.delete([]) == 0


async def test_a_later_flow_with_the_same_addresses_is_another(conntrack, family):
    """Between reading and deleting, the client may have begun anew: that flow lives."""
    (flow,) = conntrack.dump(FlowFilter(family, 17, None, 54))
    later = msgspec.structs.replace(flow, id=flow.id ^ 1)
    assert conntrack.delete([later]) == 0
    assert conntrack.dump(FlowFilter(family, 17, None, 54)) == [flow]


async def test_a_later_flow_that_goes_elsewhere_is_another_whatever_its_number(conntrack, family):
    """The kernel may give it the number of the one that has gone: its place in memory is the same, and so is what was sent."""
    (flow,) = conntrack.dump(FlowFilter(family, 17, None, 54))
    elsewhere = msgspec.structs.replace(flow.reply, source=flow.reply.source + 7)
    assert conntrack.delete([msgspec.structs.replace(flow, reply=elsewhere)]) == 0
    assert conntrack.dump(FlowFilter(family, 17, None, 54)) == [flow]
