"""Two nodes with five pods, a client outside, and a plane on each node: policies with real packets.

Comes in: a cluster as objects. Goes out: who answered whom, and who did not. Both planes get what the model computes. Everybody has
both families and serves ``PORTS`` over TCP and UDP, with the own name as the answer. Not here: what should have become of a packet
(``naive_policy``).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence

import msgspec

from netloom.api.core import ContainerPort, Namespace, Node, Pod
from netloom.api.meta import KubeObject
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.linux import sysctl
from netloom.linux.rtnl import Rtnl
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterView
from netloom.model.network import Network
from netloom.model.state import NetworkState, difference
from netloom.program.routes import Route
from netloom.program.sysctl import Setting
from netloom.testing import builders as b
from netloom.testing.hosts import TIMEOUT_S, Host, Reply
from netloom.testing.service_networks import client_of, client_prefixes, plane_of
from netloom.testing.service_universe import CLUSTER
from netloom.testing.topologies import TwoNodes, add_pod, node_addresses, pod_cidrs, two_nodes
from netloom.units import Addr, Cidr, Family, Protocol, family_of

PORTS = (80, 8080)
SILENCE_S = 0.1
"""How much longer than every answer a packet that should get none waits for one."""
PODS: dict[str, tuple[int, int]] = {"a/p": (1, 2), "a/q": (1, 3), "b/p": (1, 4), "b/q": (2, 2), "c/p": (2, 3)}
"""Number of the node, and of the address there."""
CLIENT = "client"
_BEYOND_NODE_1: tuple[Cidr, ...] = tuple(
    map(ipaddress.ip_network, ("172.30.0.0/24", "2001:db8:30::/64", "10.244.0.0/16", "2001:db8:44::/48"))
)


class Question(msgspec.Struct, frozen=True):
    """Somebody asks somebody else, or a Service's address."""

    asker: str
    to: Addr
    port: int
    protocol: Protocol = Protocol.TCP

    def __str__(self) -> str:
        return f"{self.asker} to {self.to} port {self.port}/{self.protocol.word}"


class PolicyRig:
    """Hosts by their names: pods, nodes, the client."""

    def __init__(self, *, hosts: Mapping[str, Host], planes: Sequence[NftablesPlane]) -> None:
        self.hosts = dict(hosts)
        self.planes = tuple(planes)
        self._states: dict[int, NetworkState] = {}
        self.view = ClusterView()
        """What is in force."""

    async def put(self, view: ClusterView) -> None:
        """Both planes have in force what the model says of these objects."""
        for number, plane in enumerate(self.planes, 1):
            facts = facts_of(view.nodes[b.key_of(f"node-{number}")], CLUSTER)
            state = Network.compute(view, facts)
            if number in self._states:
                await plane.apply(difference(self._states[number], state))
            else:
                await plane.start(state, facts)
            self._states[number] = state
        self.view = view

    @contextlib.contextmanager
    def restarted(self) -> Iterator[None]:
        """Agents that have just begun: they know nothing of what the former ones left in the kernel."""
        with contextlib.ExitStack() as stack:
            nodes = [self.hosts[f"node-{number}"] for number, _ in enumerate(self.planes, 1)]
            self.planes = tuple(stack.enter_context(plane_of(node)) for node in nodes)
            self._states = {}
            yield
        self._states = {}

    def address(self, name: str, family: Family) -> Addr:
        """An address of a host."""
        return self.hosts[name].address_of(family)

    async def ask(self, question: Question, *, timeout_s: float = TIMEOUT_S) -> Reply | str:
        """The answer; or in a word what there was instead of one."""
        asker = self.hosts[question.asker]
        source = asker.address_of(family_of(question.to))
        try:
            return await asker.ask_or_raise(
                question.to,
                question.port,
                question.protocol,
                timeout_s=timeout_s,
                source=(source, 0),
            )
        except TimeoutError:
            return "silence"
        except OSError as error:
            return type(error).__name__

    async def contradictions(self, expected: Mapping[Question, str]) -> list[str]:
        """Ask everything at once; what is not as expected.

        Args:
            expected: the name of the host that answers; empty for none. Silence is believed when all who may answer have.
        """
        allowed = [question for question, who in expected.items() if who]
        denied = [question for question, who in expected.items() if not who]
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(self.ask(one, timeout_s=30)) for one in denied]
            replies = [group.create_task(self.ask(one)) for one in allowed]
            if replies:
                await asyncio.wait(replies)
            done = (await asyncio.wait(waiting, timeout=SILENCE_S))[0] if waiting else set()
            for task in waiting:
                task.cancel()
        found = []
        for question, task in zip(allowed, replies, strict=True):
            reply = task.result()
            if isinstance(reply, str):
                found.append(f"{question}: {reply} instead of an answer of {expected[question]}")
            elif reply.server != expected[question]:
                found.append(f"{question}: {reply.server} answers instead of {expected[question]}")
        found += [
            f"{question}: {task.result()} instead of silence"
            for question, task in zip(denied, waiting, strict=True)
            if task in done
        ]
        return found


@contextlib.asynccontextmanager
async def policy_rig() -> AsyncIterator[PolicyRig]:
    """A rig; nothing is in force yet."""
    async with contextlib.AsyncExitStack() as stack:
        net = stack.enter_context(two_nodes())
        client = stack.enter_context(client_of(net.node_1))
        hosts = {"node-1": net.node_1, "node-2": net.node_2, CLIENT: client}
        for name, (number, part) in PODS.items():
            first = net.pod_1 if number == 1 else net.pod_2
            node = net.node_1 if number == 1 else net.node_2
            pods = stack.enter_context(contextlib.ExitStack())
            hosts[name] = first if part == 2 else add_pod(pods, node, number, part)
        hosts = {name: msgspec.structs.replace(host, name=name) for name, host in hosts.items()}
        planes = [stack.enter_context(plane_of(node)) for node in (net.node_1, net.node_2)]
        _lead_outside(net, client)
        for host in hosts.values():
            await _serve(stack, host)
        yield PolicyRig(hosts=hosts, planes=planes)


async def _serve(stack: contextlib.AsyncExitStack, host: Host) -> None:
    for family in Family:
        for port in PORTS:
            for protocol in (Protocol.TCP, Protocol.UDP):
                address = host.address_of(family)
                await stack.enter_async_context(host.serve(port, protocol, address=address, family=family))


def _lead_outside(net: TwoNodes, client: Host) -> None:
    """The client is behind node-1, for node-2 and for its own way in; datagrams that are refused are told at once."""
    inside = [ipaddress.ip_network(prefix).network_address + 1 for prefix in client_prefixes(1)]
    with Rtnl(client.netns_fd) as rtnl:
        for cidr in _BEYOND_NODE_1:
            via = inside[list(Family).index(family_of(cidr))]
            rtnl.replace_route(Route(destination=cidr, via=via, device="to1"))
    for node, gateways, device in (
        (net.node_1, client.addresses, "to1"),
        (net.node_2, net.node_1.addresses, "eth0"),
    ):
        with Rtnl(node.netns_fd) as rtnl:
            for everything, via in zip(("0.0.0.0/0", "::/0"), gateways, strict=True):
                rtnl.replace_route(
                    Route(destination=ipaddress.ip_network(everything), via=via, device=device)
                )
        sysctl.write(
            [Setting("net/ipv4/icmp_ratelimit", "0"), Setting("net/ipv6/icmp/ratelimit", "0")], node.netns_fd
        )


def rig_nodes(labels: Mapping[str, Mapping[str, str]] | None = None) -> list[Node]:
    """The nodes of the rig as objects."""
    return [
        b.node(
            name,
            *map(str, node_addresses(number)),
            pod_cidrs=map(str, pod_cidrs(number)),
            labels=(labels or {}).get(name),
        )
        for number, name in enumerate(("node-1", "node-2"), 1)
    ]


def rig_pod(name: str, labels: Mapping[str, str], ports: Iterable[ContainerPort] = ()) -> Pod:
    """A pod of the rig as an object."""
    number, part = PODS[name]
    addresses = [str(cidr.network_address + part) for cidr in pod_cidrs(number)]
    return b.pod(name, *addresses, node=f"node-{number}", labels=labels, ports=ports)


def rig_objects(
    labels: Mapping[str, Mapping[str, str]],
    namespaces: Mapping[str, Mapping[str, str]],
    ports: Mapping[str, Iterable[ContainerPort]] | None = None,
    nodes: Mapping[str, Mapping[str, str]] | None = None,
) -> list[KubeObject]:
    """Nodes, namespaces and pods with these labels and ports, by name."""
    found: list[KubeObject] = [*rig_nodes(nodes)]
    found += [Namespace(metadata=b.meta(name, labels=one)) for name, one in namespaces.items()]
    found += [rig_pod(name, labels.get(name, {}), (ports or {}).get(name, ())) for name in PODS]
    return found
