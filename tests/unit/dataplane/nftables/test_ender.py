"""Flows are judged by what is in force when they are ended, however long the look at them took."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.ender import FlowEnder
from netloom.model.inputs import NodeFacts
from netloom.model.state import difference
from netloom.program.conntrack import Flow, Tuple
from netloom.testing.fake_conntrack import FakeConntrack
from netloom.testing.fake_nft import FakeNft
from netloom.testing.frontends import backend, frontend, network_state
from netloom.units import Family, Protocol

FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"),),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)
CART = "10.96.0.80:80"
OLD, STAYS, NEW = "10.244.1.5:8080", "10.244.1.6:8080", "10.244.1.7:8080"


def flow(at, number):
    to, answers, client = backend(CART), backend(at), ipaddress.ip_address("10.244.1.9")
    return Flow(
        Family.V4,
        Protocol.TCP.number,
        Tuple(client, to.address, 40000 + number, to.port),
        Tuple(answers.address, client, answers.port, 40000 + number),
        number,
    )


class SlowConntrack(FakeConntrack):
    """While it is looked at, something happens."""

    def __init__(self):
        super().__init__([flow(OLD, 1), flow(STAYS, 2)])
        self.meanwhile = lambda: None

    def dump(self, wanted):
        found = super().dump(wanted)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return found


def cart(*backends):
    return network_state(frontend(CART, *backends))


@pytest.fixture
async def parts():
    conntrack = SlowConntrack()
    ender = FlowEnder(conntrack=conntrack)
    plane = NftablesPlane(nft=FakeNft(), ender=ender)
    await plane.start(cart(OLD, STAYS), FACTS)
    await plane.apply(difference(cart(OLD, STAYS), cart(STAYS)))
    return plane, ender, conntrack


async def test_a_flow_to_an_endpoint_that_came_before_the_look_lives(parts):
    plane, ender, conntrack = parts
    await plane.apply(difference(cart(STAYS), cart(STAYS, NEW)))
    conntrack.flows.append(flow(NEW, 3))
    await ender.end_offered()
    assert [one.id for one in conntrack.flows] == [2, 3]


async def test_a_flow_to_an_endpoint_that_came_during_the_look_lives(parts):
    _, ender, conntrack = parts
    now = frontend(CART, STAYS, NEW)
    conntrack.flows.append(flow(NEW, 3))
    conntrack.meanwhile = lambda: ender.follow({now.key: now}, ())
    await ender.end_offered()
    assert [one.id for one in conntrack.flows] == [2, 3]


async def test_nothing_is_judged_while_a_change_is_being_put_in_force(parts):
    _, ender, conntrack = parts
    now = frontend(CART, STAYS, NEW)
    conntrack.flows.append(flow(NEW, 3))
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    conntrack.meanwhile = lambda: loop.call_soon_threadsafe(looked.set)
    async with asyncio.TaskGroup() as tasks, ender.changing:
        # the kernel has the change already, and we have not heard of it yet
        tasks.create_task(ender.end_offered())
        await looked.wait()
        assert len(conntrack.flows) == 3
        ender.follow({now.key: now}, ())
    assert [one.id for one in conntrack.flows] == [2, 3]


async def test_a_start_while_flows_are_looked_at_counts_too(parts):
    plane, ender, conntrack = parts
    await plane.start(cart(STAYS, NEW), FACTS)
    conntrack.flows.append(flow(NEW, 3))
    ender.offer({}, FACTS)
    await ender.end_offered()
    assert [one.id for one in conntrack.flows] == [2, 3]
