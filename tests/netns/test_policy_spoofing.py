"""A pod that sends with another's address reaches nobody, whatever policies say; with real packets.

Without that, policies would hold for honest pods only. Every forged packet is seen to arrive before the plane is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Iterator

import pytest

from netloom.linux.rtnl import Rtnl
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.policy_rig import PolicyRig, policy_rig, rig_objects
from netloom.units import Addr, Family, Protocol, parse_addr

pytestmark = pytest.mark.netns

PORT = 9100
WAIT_S = 5
BEFORE_S = 0.5
RECEIVERS = ("a/q", "b/q", "node-1", "client")
FORGED: dict[str, tuple[str, str]] = {
    "a pod of this node": ("10.244.1.4", "2001:db8:44:1::4"),
    "a pod of the other node": ("10.244.2.3", "2001:db8:44:2::3"),
    "an address without a pod": ("10.244.1.99", "2001:db8:44:1::99"),
    "a client outside": ("192.0.2.130", "2001:db8:c:9::2"),
    "the other node": ("172.30.0.12", "2001:db8:30::12"),
    "a Service": ("10.96.0.80", "2001:db8:96::80"),
}
OBJECTS = rig_objects({}, {"a": {}, "b": {}, "c": {}})


class Inbox:
    """Datagrams that a host gets."""

    def __init__(self, host: Host, family: Family) -> None:
        self.sock = host.open_socket(family, Protocol.UDP)
        self.sock.bind((str(host.address_of(family)), PORT))
        self.words: list[str] = []

    async def until(self, word: str) -> list[str]:
        """All words before one, which has to come."""
        async with asyncio.timeout(WAIT_S):
            while word not in self.words:
                self.words.append((await asyncio.get_running_loop().sock_recv(self.sock, 100)).decode())
        return [one for one in self.words if one != word]


@contextlib.contextmanager
def inboxes(rig: PolicyRig, family: Family) -> Iterator[dict[str, Inbox]]:
    found = {name: Inbox(rig.hosts[name], family) for name in RECEIVERS}
    try:
        yield found
    finally:
        for inbox in found.values():
            inbox.sock.close()


def send(host: Host, source: Addr, to: Addr, word: str) -> None:
    with host.open_socket(Family.V4 if to.version == 4 else Family.V6, Protocol.UDP) as sock:
        sock.bind((str(source), 0))
        sock.sendto(word.encode(), (str(to), PORT))


async def arrived(rig: PolicyRig, family: Family, sources: dict[str, Addr]) -> set[tuple[str, str]]:
    """Who got what was sent with whose address. After each the pod sends with its own: that comes, and comes later."""
    pod = rig.hosts["a/p"]
    with inboxes(rig, family) as found:
        for name in RECEIVERS:
            to = rig.address(name, family)
            for word, source in sources.items():
                send(pod, source, to, word)
            send(pod, pod.address_of(family), to, "honest")
        return {(name, word) for name, inbox in found.items() for word in await inbox.until("honest")}


@pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
async def test_nobody_gets_what_a_pod_sends_with_the_address_of_another(family):
    sources = {
        word: address
        for word, texts in FORGED.items()
        if (address := parse_addr(texts[list(Family).index(family)])) is not None
    }
    async with policy_rig() as rig:
        with Rtnl(rig.hosts["a/p"].netns_fd) as rtnl:
            for address in sources.values():
                rtnl.add_address("eth0", ipaddress.ip_interface(address))
        before = await arrived(rig, family, sources)
        await rig.put(b.view(*OBJECTS))
        assert await arrived(rig, family, sources) == set()
    # Not all: on its way a packet meets a node that has the forged address itself, and believes no packet that comes from there.
    assert {(name, word) for name in ("a/q", "b/q") for word in FORGED if word != "the other node"} <= before
    assert len(before) >= len(FORGED) * 3


async def test_a_policy_for_a_pod_holds_for_its_link_local_address_too():
    """Such an address is no other's, but the policies of the pod are not asked about it: it may reach nobody but its next hop."""
    own = parse_addr("fe80::5")
    assert own is not None
    silent = b.network_policy("a/out", {}, "Egress")
    async with policy_rig() as rig:
        pod, node = rig.hosts["a/p"], rig.address("node-1", Family.V6)
        with Rtnl(pod.netns_fd) as rtnl:
            rtnl.add_address("eth0", ipaddress.ip_interface("fe80::5/64"))
            scope = next(link.index for link in rtnl.links() if link.name == "eth0")
        await rig.put(b.view(*OBJECTS, silent))
        with inboxes(rig, Family.V6) as found, pod.open_socket(Family.V6, Protocol.UDP) as sock:
            sock.bind((str(own), 0, 0, scope))
            sock.sendto(b"link-local", (str(node), PORT))
            send(pod, pod.address_of(Family.V6), node, "denied")
            send(rig.hosts["b/p"], rig.address("b/p", Family.V6), node, "honest")
            assert await found["node-1"].until("honest") == []
