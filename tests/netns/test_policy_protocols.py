"""What has no TCP or UDP port, and the cluster's DNS: policies about ICMP, SCTP, and the server of the node itself; real packets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import Iterator

import pytest

from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import ClusterView
from netloom.testing import builders as b
from netloom.testing.naive_policy import Packet, naive
from netloom.testing.policy_rig import SILENCE_S, PolicyRig, policy_rig, rig_objects
from netloom.units import Addr, Family, Protocol

pytestmark = pytest.mark.netns

both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)
OBJECTS = rig_objects(
    {"a/p": {"app": "web"}, "a/q": {"app": "db"}, "b/q": {"app": "db"}}, {"a": {}, "b": {}, "c": {}}
)
WAIT_S = 3
_AF = {Family.V4: socket.AF_INET, Family.V6: socket.AF_INET6}
_ECHO = {Family.V4: (socket.IPPROTO_ICMP, 8, 0), Family.V6: (socket.IPPROTO_ICMPV6, 128, 129)}
"""Protocol, type of the request and of the reply (RFC 792, RFC 4443)."""


def view(*specs: str) -> ClusterView:
    """NetworkPolicies for the pods of namespace b, or of a where the spec says so first."""
    texts = [
        f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{number}, namespace: b}}, spec: {one}}}"
        for number, one in enumerate(specs)
    ]
    return b.view(*OBJECTS, *b.load_view("\n---\n".join(texts)).policies.values())


NOBODY = "{podSelector: {}}"
PORTS_ONLY = (
    "{podSelector: {}, ingress: [{ports: [{port: 80}, {port: 80, protocol: UDP}, {protocol: SCTP}]}]}"
)
EVERYBODY = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"


async def pings(rig: PolicyRig, family: Family, who: str, to: str) -> bool:
    """An echo request is answered."""
    protocol, request, reply = _ECHO[family]
    sock = netns.open_socket(rig.hosts[who].netns_fd, _AF[family], socket.SOCK_RAW, protocol)
    loop = asyncio.get_running_loop()
    with sock:
        sock.setblocking(False)
        body = struct.pack(">BBHHH", request, 0, 0, 7, 1)
        if family is Family.V4:
            body = body[:2] + struct.pack(">H", 0xFFFF - request * 256 - 7 - 1) + body[4:]
        sock.sendto(body, (str(rig.address(to, family)), 0))
        try:
            async with asyncio.timeout(SILENCE_S * 3):
                while True:
                    got = await loop.sock_recv(sock, 1000)
                    if got[20 if family is Family.V4 else 0] == reply:
                        return True
        except TimeoutError:
            return False


@both_families
async def test_what_has_no_ports_matches_no_rule_that_asks_for_some(family):
    async with policy_rig() as rig:
        for policies, is_allowed in (
            ((NOBODY,), False),
            ((PORTS_ONLY,), False),
            ((), True),
            ((EVERYBODY,), True),
        ):
            there = view(*policies)
            packet = Packet(rig.address("a/p", family), rig.address("b/q", family), None)
            assert naive(there, packet).allowed == is_allowed
            await rig.put(there)
            found = await asyncio.gather(
                pings(rig, family, "a/p", "b/q"),
                pings(rig, family, "node-2", "b/q"),  # its own node
                pings(rig, family, "b/q", "a/p"),  # answers come back
            )
            assert found == [is_allowed, True, True], policies


@both_families
async def test_a_flow_without_ports_ends_when_a_policy_denies_it(family):
    async with policy_rig() as rig:
        for policies, is_allowed in (((), True), ((PORTS_ONLY,), False), ((EVERYBODY,), True)):
            await rig.put(view(*policies))
            assert await pings(rig, family, "a/p", "b/q") == is_allowed, policies


@contextlib.contextmanager
def raw(rig: PolicyRig, name: str, family: Family) -> Iterator[socket.socket]:
    with netns.open_socket(
        rig.hosts[name].netns_fd, _AF[family], socket.SOCK_RAW, socket.IPPROTO_SCTP
    ) as sock:
        sock.setblocking(False)
        yield sock


async def gets(sock: socket.socket, family: Family, port: int) -> bool:
    """Whether an SCTP packet to a port arrives before one to port 9, which always does."""
    seen = set()
    async with asyncio.timeout(WAIT_S):
        while 9 not in seen:
            got = await asyncio.get_running_loop().sock_recv(sock, 1000)
            seen.add(struct.unpack_from(">H", got, 22 if family is Family.V4 else 2)[0])
    return port in seen


def init(port: int) -> bytes:
    """A packet with INIT (RFC 9260, 3.3.2); nobody here looks at its checksum."""
    return struct.pack(">HHII", 4000 + port, port, 0, 0) + struct.pack(
        ">BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1
    )


@both_families
async def test_sctp_by_its_ports(family):
    some = "{podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 7, endPort: 9}, {port: 5}]}]}"
    any_port = "{podSelector: {}, ingress: [{ports: [{protocol: SCTP}]}]}"
    async with policy_rig() as rig:
        to = rig.address("b/q", family)
        with raw(rig, "a/p", family) as asker, raw(rig, "b/q", family) as server:
            for policies, port, is_allowed in (
                ((), 5, True),
                ((some,), 5, False),
                ((some,), 7, True),
                ((some,), 10, False),
                ((any_port,), 5, True),
            ):
                there = view(*policies)
                packet = Packet(rig.address("a/p", family), to, Protocol.SCTP, port)
                assert naive(there, packet).allowed == is_allowed
                await rig.put(there)
                for number in (port, 9):
                    asker.sendto(init(number), (str(to), 0))
                assert await gets(server, family, port) == is_allowed, (policies, port)


DNS = ("10.96.0.10",)
DNS_SERVICE = b.service(
    "kube-system/kube-dns",
    *DNS,
    ports=[b.port(53, "dns", protocol="UDP"), b.port(53, "dns-tcp")],
    selector={"k8s-app": "kube-dns"},
)


async def test_the_dns_of_the_node_is_reached_by_who_may_reach_the_pods_of_its_service():
    """Policies that people have name the DNS pods; here the node itself answers at the Service's address."""
    nothing = "{podSelector: {}, policyTypes: [Egress]}"
    dns = """{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels:
      {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}],
      ports: [{port: 53, protocol: UDP}]}]}"""
    others = dns.replace("k8s-app: kube-dns", "k8s-app: other")
    named = dns.replace("port: 53", "port: dns")
    address: Addr = ipaddress.ip_address(DNS[0])
    async with policy_rig() as rig, contextlib.AsyncExitStack() as stack:
        node = rig.hosts["node-2"]
        with Rtnl(node.netns_fd) as rtnl:
            rtnl.add_address("lo", ipaddress.ip_interface(address))
        for protocol in (Protocol.UDP, Protocol.TCP):
            await stack.enter_async_context(node.serve(53, protocol, address=address))
        for policy, udp, tcp in (
            (nothing, False, False),
            (dns, True, False),
            (others, False, False),
            (named, True, False),
            ("{podSelector: {}}", True, True),
        ):
            there = b.view(*OBJECTS, *view(policy).policies.values(), DNS_SERVICE)
            await rig.put(there)
            for protocol, is_allowed in ((Protocol.UDP, udp), (Protocol.TCP, tcp)):
                packet = Packet(rig.address("b/q", Family.V4), address, protocol, 53)
                assert naive(there, packet, (address,)).allowed == is_allowed, (policy, protocol)
                reached = await rig.hosts["b/q"].reaches(
                    address, 53, protocol, timeout_s=SILENCE_S * (8 if is_allowed else 3)
                )
                assert reached == is_allowed, (policy, protocol)
