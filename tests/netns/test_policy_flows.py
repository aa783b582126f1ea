"""Established flows and policies, with real packets: a change ends exactly those that it denies, and no other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from netloom.linux.conntrack import Conntrack
from netloom.model.inputs import ClusterView
from netloom.program.conntrack import FlowFilter
from netloom.testing import builders as b
from netloom.testing.hosts import Host
from netloom.testing.policy_rig import PolicyRig, policy_rig, rig_objects
from netloom.testing.service_networks import Connection
from netloom.units import Family, Protocol, parse_addr

pytestmark = pytest.mark.netns

PORT = 9000
GONE_S = 0.3
"""Far longer than a word takes; TCP says it again meanwhile."""
LABELS = {"a/p": {"app": "web"}, "a/q": {"app": "db"}, "b/p": {"app": "web"}, "b/q": {"app": "db"}}
NAMESPACES = {"a": {"team": "one"}, "b": {"team": "two"}, "c": {"team": "one"}}
SERVICE = b.service("a/x", "10.96.0.80", ports=[b.port(80, node_port=30080)], type="NodePort")


def view(*policies: str, service_to: str = "", **labels: dict[str, str]) -> ClusterView:
    """The rig with policies, and some pods (``a_p``) or namespaces (``a``) labelled otherwise."""
    read = b.load_view("\n---\n".join(policies))
    changed = {name.replace("_", "/"): one for name, one in labels.items()}
    objects = rig_objects(
        {**LABELS, **{k: v for k, v in changed.items() if "/" in k}},
        {**NAMESPACES, **{k: v for k, v in changed.items() if "/" not in k}},
    )
    if service_to:
        found = b.endpoint(service_to, node="node-2")
        objects += [SERVICE, b.endpoint_slice("a/s", "x", found, ports=[("", PORT)])]
    return b.view(*objects, *read.policies.values(), *read.cluster_policies.values())


def policy(name: str, spec: str) -> str:
    namespace, name = name.split("/")
    return (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy,"
        f" metadata: {{name: {name}, namespace: {namespace}}}, spec: {spec}}}"
    )


def tier(spec: str) -> str:
    group = "policy.networking.k8s.io/v1alpha2"
    return f"{{apiVersion: {group}, kind: ClusterNetworkPolicy, metadata: {{name: x}}, spec: {spec}}}"


WEB_ONLY = policy(
    "b/db",
    "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: one}},"
    f" podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: {PORT}}}]}}]}}",
)
UNRELATED = policy("b/web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}")


class Server:
    """Says back what it hears, and says something by itself when told."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            while piece := await reader.read(100):
                writer.write(piece)
        writer.close()

    def say(self, word: bytes = b"x") -> None:
        """To everybody who is connected."""
        for writer in self.writers:
            writer.write(word)


@contextlib.asynccontextmanager
async def server_on(host: Host, family: Family = Family.V4) -> AsyncIterator[Server]:
    found = Server()
    sock = host.open_socket(family)
    sock.bind((str(host.address_of(family)), PORT))
    server = await asyncio.start_server(found.answer, sock=sock)
    try:
        yield found
    finally:
        server.close()
        for writer in found.writers:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


class Talks:
    """Connections that are kept, by who began them."""

    def __init__(self, rig: PolicyRig, stack: contextlib.ExitStack) -> None:
        self._rig, self._stack = rig, stack
        self._open: dict[str, Connection] = {}

    async def begin(self, name: str, who: str, to: str, family: Family = Family.V4, port: int = PORT) -> None:
        address = parse_addr(to) or self._rig.address(to, family)
        connection = Connection(self._rig.hosts[who], address, port)
        self._stack.callback(connection.close)
        assert await connection.open()
        self._open[name] = connection

    async def is_alive(self, name: str) -> bool:
        try:
            return await self._open[name].talk(GONE_S)
        except (TimeoutError, OSError):
            return False

    async def hears(self, name: str) -> bool:
        try:
            return await self._open[name].hear(GONE_S)
        except (TimeoutError, OSError):
            return False

    async def alive(self) -> set[str]:
        answers = await asyncio.gather(*map(self.is_alive, self._open))
        return {name for name, is_alive in zip(self._open, answers, strict=True) if is_alive}


@contextlib.asynccontextmanager
async def talking(family: Family = Family.V4) -> AsyncIterator[tuple[PolicyRig, Talks, Server]]:
    """A rig without policies, whose b/q has a server."""
    with contextlib.ExitStack() as stack:
        async with policy_rig() as rig, server_on(rig.hosts["b/q"], family) as server:
            await rig.put(view())
            yield rig, Talks(rig, stack), server


both_families = pytest.mark.parametrize("family", list(Family), ids=lambda f: f.value)


@both_families
async def test_a_new_policy_ends_what_it_denies_and_nothing_else(family):
    async with talking(family) as (rig, talks, _):
        for who in ("a/p", "a/q", "b/p", "c/p", "client", "node-1", "node-2"):
            await talks.begin(who, who, "b/q", family)
        await rig.put(view(WEB_ONLY))
        # b/p is in a namespace, a/q and c/p have labels that the policy does not allow; node-2 is the pod's own node
        assert await talks.alive() == {"a/p", "node-2"}
        await rig.put(view())
        await talks.begin("again", "c/p", "b/q", family)
        assert await talks.alive() >= {"a/p", "node-2", "again"}


@both_families
async def test_changes_that_deny_nothing_of_it_leave_a_connection_alone(family):
    async with talking(family) as (rig, talks, _):
        await rig.put(view(WEB_ONLY))
        await talks.begin("it", "a/p", "b/q", family)
        flows = await tracked(rig)
        assert flows
        changes = (
            view(WEB_ONLY, UNRELATED),
            view(WEB_ONLY, UNRELATED, b_p={"app": "db"}),
            view(WEB_ONLY, a_p={"app": "web", "more": "labels"}),
            view(WEB_ONLY, policy("b/more", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")),
            view(WEB_ONLY, a={"team": "one", "env": "prod"}, b_q={"app": "db", "tier": "x"}),
            view(WEB_ONLY.replace(f"port: {PORT}", f"port: {PORT - 1}, endPort: {PORT + 1}")),
            view(),
            view(WEB_ONLY),
        )
        for change in changes:
            await rig.put(change)
            assert await talks.alive() == {"it"}
        assert await tracked(rig) == flows, "it was tracked anew in between"


async def tracked(rig: PolicyRig) -> set[object]:
    """Flows to the server's port that both nodes know, as the kernel numbers them."""
    found: set[object] = set()
    for node in ("node-1", "node-2"):
        with Conntrack(netns_fd=rig.hosts[node].netns_fd) as conntrack:
            for family in Family:
                flows = conntrack.dump(FlowFilter(family, Protocol.TCP.number))
                found |= {(node, flow.id) for flow in flows if flow.original.destination_port == PORT}
    return found


CUTS = {
    "the sender's labels": view(WEB_ONLY, a_p={"app": "other"}),
    "its namespace's labels": view(WEB_ONLY, a={"team": "two"}),
    "the rule's ports": view(WEB_ONLY.replace(f"port: {PORT}", "port: 80")),
    "the rule's peers": view(WEB_ONLY.replace("app: web", "app: api")),
    "no rule any more": view(policy("b/db", "{podSelector: {matchLabels: {app: db}}}")),
    "egress of the sender": view(WEB_ONLY, policy("a/out", "{podSelector: {}, policyTypes: [Egress]}")),
    "a cluster's policy": view(
        WEB_ONLY,
        tier("{tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}"),
    ),
}  # fmt: skip


async def test_what_allowed_a_connection_goes():
    async with talking() as (rig, talks, _):
        await rig.put(view(WEB_ONLY))
        await talks.begin("own node", "node-2", "b/q")
        await talks.begin("other", "b/q", "b/q")
        for what, cut in CUTS.items():
            await rig.put(view(WEB_ONLY))
            await talks.begin("it", "a/p", "b/q")
            await rig.put(cut)
            assert await talks.alive() == {"own node", "other"}, what


async def test_connections_through_services_end_too():
    async with talking() as (rig, talks, _):
        there = str(rig.hosts["b/q"].address)
        node = str(rig.hosts["node-2"].address)
        await rig.put(view(service_to=there))
        await talks.begin("web", "a/p", "10.96.0.80", port=80)
        await talks.begin("db", "a/q", "10.96.0.80", port=80)
        await talks.begin("itself", "b/q", "10.96.0.80", port=80)
        await talks.begin("outside", "client", node, port=30080)
        await rig.put(view(WEB_ONLY, service_to=there))
        assert await talks.alive() == {"web", "itself"}


@both_families
async def test_a_server_that_goes_on_speaking_brings_no_denied_connection_back(family):
    """Its segments look like the first of a connection in the other direction, which nobody denies."""
    async with talking(family) as (rig, talks, server):
        await talks.begin("denied", "a/q", "b/q", family)
        await rig.put(view(WEB_ONLY))
        server.say()
        assert not await talks.hears("denied")
        assert await talks.alive() == set()


@both_families
async def test_a_datagram_flow_ends_and_may_begin_again(family):
    async with policy_rig() as rig:
        asker, to = rig.hosts["a/q"], rig.address("b/q", family)
        source = (asker.address_of(family), 40000)

        async def asks() -> bool:
            return await asker.ask(to, 80, Protocol.UDP, source=source, timeout_s=GONE_S) is not None

        await rig.put(view())
        assert await asks()
        await rig.put(view(WEB_ONLY))
        assert not await asks()
        await rig.put(view(UNRELATED))
        assert await asks()
