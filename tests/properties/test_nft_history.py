"""Whatever history led there, a table means what compiling the present from nothing means (STYLE rule 7)."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.containers import OURS
from netloom.linux.conntrack import Conntrack
from netloom.linux.nft import Nft
from netloom.model.inputs import NodeFacts
from netloom.model.state import difference
from netloom.testing.fake_conntrack import FakeConntrack
from netloom.testing.fake_nft import FakeNft
from netloom.testing.frontends import frontend, network_state, peer
from netloom.testing.netns import fresh_netns
from netloom.testing.nft_meaning import meaning
from netloom.units import Family, Protocol

FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"), ipaddress.ip_address("2001:db8::11")),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)
# Few of each, so that the same keys come, change and go all the time; sizes around the edge of classes.
BACKENDS = {
    Family.V4: [f"10.244.1.{n}:8080" for n in range(1, 19)],
    Family.V6: [f"[2001:db8:44:1::{n}]:8080" for n in range(1, 19)],
}
RANGES = {
    Family.V4: ["198.51.100.0/25", "203.0.113.7/32"],
    Family.V6: ["2001:db8:c::/64", "2001:db8:d::7/128"],
}
PLACES = ["10.96.0.80:80", "10.96.0.80:81", "10.96.0.81:80", "*:30080", "[2001:db8:96::80]:80"]


@st.composite
def frontends(draw):
    place = draw(st.sampled_from(PLACES))
    family = draw(st.sampled_from(list(Family))) if place[0] == "*" else None
    family = family or (Family.V6 if place[0] == "[" else Family.V4)
    some = st.frozensets(st.sampled_from(BACKENDS[family]), max_size=18)
    ranges = st.frozensets(st.sampled_from(RANGES[family]))
    return frontend(
        place,
        *draw(some),
        inside=draw(st.none() | st.none() | some),
        affinity_s=draw(st.sampled_from([0, 0, 60, 70])),
        source_ranges=None if place[0] == "*" else draw(st.none() | ranges),
        protocol=draw(st.sampled_from([Protocol.TCP, Protocol.UDP])),
        family=family,
        masquerade=draw(st.booleans()),
        node_local=draw(st.sampled_from([False, False, False, True])),
    )


states = st.builds(
    lambda some, pods, peers: network_state(*some, pods=pods, peers=peers),
    st.lists(frontends(), max_size=6),
    st.frozensets(st.sampled_from(["10.244.1.1", "10.244.1.2", "2001:db8:44:1::1"])),
    st.lists(
        st.builds(
            peer,
            st.sampled_from(["10.244.2.0/24", "10.244.3.0/24"]),
            st.sampled_from(["192.0.2.12", "192.0.2.13"]),
        ),
        max_size=3,
    ),
)
# Each state, and whether the agent was restarted on the way to it.
histories = st.lists(st.tuples(states, st.booleans()), min_size=1, max_size=6)


async def live_through(history, nft, make_conntrack):
    """Bring the kernel through a history; after each step its elements are compared."""
    plane, held = None, None
    for state, restarted in history:
        if plane is None or restarted:
            plane = NftablesPlane(nft=nft, conntrack=make_conntrack())
            await plane.start(state, FACTS)
        else:
            await plane.apply(difference(held, state))
            await plane.apply(difference(state, state))
        held = state
        for family in Family:
            read = {c.name: await nft.elements(family, "netloom", c) for c in OURS}
            assert read == program.elements(plane.tables[family]), "what the plane believes"
            from_nothing = program.elements(program.table_state(state, family))
            assert meaning(read) == meaning(from_nothing)


@given(histories)
def test_history_leaves_no_trace_in_the_fake(history):
    asyncio.run(live_through(history, FakeNft(), FakeConntrack))


@pytest.mark.netns
@settings(max_examples=8)
@given(histories)
def test_history_leaves_no_trace_in_the_kernel(history):
    with fresh_netns() as fd, Nft(netns_fd=fd) as nft, Conntrack(netns_fd=fd) as conntrack:
        asyncio.run(live_through(history, nft, lambda: conntrack))
