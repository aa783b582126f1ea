"""Policies: what the model says and what an independent naive reading of the API says is the same, however a policy is worded.

Further voices, real packets, speak in ``tests/netns/test_policy_*.py``. Here the model speaks twice: as it judges a packet from the
objects (``netloom why``), and as the state of the two nodes that a plane compiles.
"""

from __future__ import annotations

import copy
import re
from ipaddress import ip_address
from typing import Any

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from netloom.api.core import Node, NodeAddress, NodeStatus, Pod
from netloom.model.facts import facts_of
from netloom.model.inputs import ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge
from netloom.model.policy.policies import Policies
from netloom.model.policy.state import Action, Direction, PolicyState
from netloom.model.policy.verdicts import Traffic, decide
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import AddressTarget, Destination, Origin, OriginKind
from netloom.model.walk.steps import Outcome
from netloom.model.walk.walk import walk
from netloom.testing import policy_universe as u
from netloom.testing.naive_policy import Packet, Verdict, naive, pod_at
from netloom.testing.policy_rig import PODS, rig_objects
from netloom.testing.service_universe import Choose
from netloom.units import Addr, Protocol

PACKETS = list(u.packets())
ASKED = 16
"""Asked of each cluster: a cluster costs far more than a packet."""
DNS = u.FACTS.dns_addresses


def choices(data: st.DataObject) -> Choose:
    def choose(options):
        return data.draw(st.sampled_from(options))

    return choose


def some_packets(data: st.DataObject) -> list[Traffic]:
    """A random start and a step through all of them, so that one draw gives many."""
    start, stride = data.draw(st.integers(0, len(PACKETS) - 1)), data.draw(st.integers(1, 500))
    return [PACKETS[(start + n * stride) % len(PACKETS)] for n in range(ASKED)]


def told(view: ClusterView, traffic: Traffic) -> Verdict:
    """What the naive voice says."""
    packet = Packet(traffic.source, traffic.destination, traffic.protocol, traffic.port)
    return naive(view, packet, DNS)


def judged(judge: Judge, traffic: Traffic) -> tuple[bool, Direction | None]:
    for judgement in judge.both(traffic):
        if not judgement.is_allowed:
            return False, judgement.direction
    return True, None


def states(view: ClusterView) -> dict[str, PolicyState]:
    return {
        node.metadata.name: Policies.compute(view, facts_of(node, u.CLUSTER)) for node in view.nodes.values()
    }


def decided(
    view: ClusterView, of_nodes: dict[str, PolicyState], traffic: Traffic
) -> tuple[bool, Direction | None] | None:
    """What the nodes of the two ends do; None where one of these is not there, or both nodes have a pod with the address."""
    for direction in (Direction.EGRESS, Direction.INGRESS):
        own = traffic.own(direction)
        pod = pod_at(view, own)
        if pod is None:
            continue
        if pod.spec.node_name not in of_nodes or is_contested(view, str(own)):
            return None
        if decide(of_nodes[pod.spec.node_name], direction, traffic).action is not Action.ACCEPT:
            return False, direction
    return True, None


def is_contested(view: ClusterView, address: str) -> bool:
    """Several pods say that the address is theirs: each node goes by its own."""
    return sum(address in {ip.ip for ip in pod.status.pod_ips} for pod in view.pods.values()) > 1


def described(view: ClusterView) -> str:
    """The cluster in a few lines, for whoever reads a failure."""
    lines = [
        f"pod {p.key} {p.metadata.labels} on {p.spec.node_name} {[ip.ip for ip in p.status.pod_ips]} {p.status.phase}"
        f" host={p.spec.host_network} created={p.metadata.creation_timestamp}"
        f" {[(c.name, c.container_port, c.protocol) for one in p.spec.containers for c in one.ports]}"
        for p in view.pods.values()
    ]
    lines += [f"namespace {n.key} {n.metadata.labels}" for n in view.namespaces.values()]
    lines += [f"node {n.key} {n.metadata.labels} {n.status.addresses}" for n in view.nodes.values()]
    lines += [f"policy {p.key} {p.spec}" for p in (*view.policies.values(), *view.cluster_policies.values())]
    return "\n".join(lines)


@given(st.data())
def test_the_model_judges_as_the_api_says(data):
    view = u.some_view(choices(data))
    judge, of_nodes = Judge(PolicyCluster.of(view, DNS)), states(view)
    for traffic in some_packets(data):
        expected = told(view, traffic)
        event("allowed" if expected.allowed else re.sub(r" \S+/?\S* .*", "", expected.reason))
        wanted = (expected.allowed, expected.denied_by)
        assert judged(judge, traffic) == wanted, f"{traffic}: {expected}\n{described(view)}"
        assert decided(view, of_nodes, traffic) in {None, wanted}, f"{traffic}: {expected}\n{described(view)}"


@given(st.data())
def test_other_words_for_the_same_policies_change_no_verdict(data):
    """Null for missing, empty lists, defaults written out, labels as expressions, ranges with host bits, everything twice."""
    choose = choices(data)
    view = u.some_view(choose)
    other = msgspec.structs.replace(
        view,
        policies={key: reworded(choose, policy) for key, policy in view.policies.items()},
        cluster_policies={key: reworded(choose, policy) for key, policy in view.cluster_policies.items()},
    )
    judge = Judge(PolicyCluster.of(other, DNS))
    for traffic in some_packets(data):
        expected = told(view, traffic)
        assert judged(judge, traffic) == (expected.allowed, expected.denied_by), (
            f"{traffic}: {expected}\n{described(other)}"
        )
        again = told(other, traffic)
        assert (again.allowed, again.denied_by) == (expected.allowed, expected.denied_by), described(other)


@given(st.data())
def test_all_addresses_of_a_node_are_the_node(data):
    """ClusterNetworkPolicyEgressPeer.nodes: those in the status, of whatever type; names among them are none."""
    view = u.some_view(choices(data))
    outer = {"node-1": "192.0.2.18", "node-2": "2001:db8:c::2"}
    more = {key: with_outer_address(node, outer[node.metadata.name]) for key, node in view.nodes.items()}
    view = msgspec.structs.replace(view, nodes=more)
    judge = Judge(PolicyCluster.of(view, DNS))
    for traffic in some_packets(data):
        if str(traffic.source) in outer.values():
            continue  # which of a node's addresses are its own as a sender is the node's affair
        expected = told(view, traffic)
        assert judged(judge, traffic) == (expected.allowed, expected.denied_by), (
            f"{traffic}: {expected}\n{described(view)}"
        )


def with_outer_address(node: Node, address: str) -> Node:
    found = (NodeAddress("Hostname", node.metadata.name), NodeAddress("ExternalIP", address))
    return msgspec.structs.replace(node, status=NodeStatus((*node.status.addresses, *found)))


def test_the_two_voices_are_not_deaf():
    """A packet that one policy denies and none does: both voices change their mind."""
    view = u.b.view(
        u.b.pod("a/p", "10.244.1.2", node="node-1"),
        u.b.pod("a/q", "10.244.2.2", node="node-2"),
        *(u.b.node(name, *addresses) for name, addresses in u.NODES.items()),
    )
    traffic = Traffic(ip_address("10.244.1.2"), ip_address("10.244.2.2"), Protocol.TCP, 80)
    isolated = u.b.view(*all_of(view), u.b.network_policy("a/none", {}, "Ingress"))
    for one, wanted in ((view, (True, None)), (isolated, (False, Direction.INGRESS))):
        assert (told(one, traffic).allowed, told(one, traffic).denied_by) == wanted
        assert judged(Judge(PolicyCluster.of(one, DNS)), traffic) == wanted
        assert decided(one, states(one), traffic) == wanted


def all_of(view: ClusterView) -> list[Any]:
    return [one for field in view.__struct_fields__ for one in getattr(view, field).values()]


def some_rig(choose: Choose) -> ClusterView:
    """The cluster of the packet tests: routes lead everywhere, so that only policies can stop anything."""
    objects = rig_objects(
        {name: choose(u.LABELS) for name in PODS},
        {name: choose(({"team": "one"}, {"team": "two"}, {})) for name in "abc"},
        {name: choose(u.NAMED_PORTS) for name in PODS},
        {name: choose(({"role": "edge"}, {})) for name in ("node-1", "node-2")},
    )
    policies = [u.some_network_policy(choose) for _ in range(choose((1, 2, 3, 4)))]
    return u.b.view(*objects, *policies, *(u.some_cluster_policy(choose) for _ in range(choose((0, 1, 2)))))


CLIENTS = {"client": (ip_address("192.0.2.18"), ip_address("2001:db8:c::2"))}


def origins(view: ClusterView) -> list[Origin]:
    found = [
        Origin(OriginKind.POD, f"pod {pod.key}", addresses_of(pod), pod.spec.node_name, pod.key)
        for pod in view.pods.values()
    ]
    for name, node in view.nodes.items():
        found.append(Origin(OriginKind.NODE, f"node {name}", addresses_of(node), name.name))
    return [*found, *(Origin(OriginKind.OUTSIDE, name, addresses) for name, addresses in CLIENTS.items())]


def addresses_of(one: Pod | Node) -> tuple[Addr, ...]:
    if isinstance(one, Pod):
        return tuple(ip_address(ip.ip) for ip in one.status.pod_ips)
    return tuple(ip_address(address.address) for address in one.status.addresses)


@given(st.data())
def test_a_walk_ends_where_the_api_says(data):
    choose = choices(data)
    view = some_rig(choose)
    model, places = ClusterModel(view, u.CLUSTER), origins(view)
    for _ in range(6):
        sender, receiver = choose(places), choose(places)
        index, protocol, port = choose((0, 1)), choose((Protocol.TCP, Protocol.UDP)), choose(u.PORTS)
        source, to = sender.addresses[index], receiver.addresses[index]
        if source == to or sender.kind is OriginKind.OUTSIDE:
            continue  # to a walk pods have no way in from outside but Services
        expected = naive(view, Packet(source, to, protocol, port))
        destination = Destination("it", AddressTarget(to), port, protocol)
        outcomes = {branch.ending.outcome for branch in walk(model, sender, destination).branches}
        wanted = {Outcome.DELIVERED, Outcome.EXTERNAL} if expected.allowed else {Outcome.DROPPED}
        event(f"walk {'passes' if expected.allowed else 'drops'}")
        where = f"{source} to {to} {port}/{protocol.word}"
        assert outcomes <= wanted, f"{where}: {outcomes} {expected}\n{described(view)}"


# --- the same in other words -------------------------------------------------------------------------------------------

Json = Any
_LISTS = ("from", "to", "ports", "except", "protocols", "ingress", "egress", "policyTypes", "values")
_MAY_BE_NULL = ("from", "to", "ports", "except", "ingress", "egress", "policyTypes")
"""Of a NetworkPolicy: where an empty list and none at all mean the same."""


def reworded(choose: Choose, policy: Any) -> Any:
    """The same policy in other words."""
    of_cluster = isinstance(policy, u.ClusterNetworkPolicy)
    return msgspec.structs.replace(
        policy, spec=_reworded(choose, copy.deepcopy(policy.spec), of_cluster=of_cluster)
    )


def _reworded(choose: Choose, value: Json, *, of_cluster: bool) -> Json:
    if isinstance(value, list):
        return [_reworded(choose, one, of_cluster=of_cluster) for one in value]
    if not isinstance(value, dict):
        return value
    found = {name: _reworded(choose, part, of_cluster=of_cluster) for name, part in value.items()}
    if "matchLabels" in found and choose((True, False)):
        labels = found.pop("matchLabels").items()
        found["matchExpressions"] = [
            *found.get("matchExpressions", ()),
            *({"key": key, "operator": "In", "values": [one]} for key, one in labels),
        ]
    if not of_cluster:
        _reword_port(choose, found)
        for name in _MAY_BE_NULL:
            if not found.get(name) and name in found:
                found[name] = choose(([], None))
    if "cidr" in found:
        found["cidr"] = choose((found["cidr"], _with_host_bits(found["cidr"])))
    for name in _LISTS:
        # first matches decide in a ClusterNetworkPolicy: doubling keeps the order
        if isinstance(found.get(name), list) and name != "policyTypes" and choose((True, False, False)):
            found[name] = [one for one in found[name] for _ in range(2)]
    return found


def _reword_port(choose: Choose, found: dict[str, Json]) -> None:
    is_port = not found.keys() - {"port", "protocol", "endPort"} and "port" in found
    if is_port and "protocol" not in found and choose((True, False)):
        found["protocol"] = choose(("TCP", None))
    if is_port and isinstance(found["port"], int) and "endPort" not in found and choose((True, False)):
        found["endPort"] = choose((found["port"], None))


def _with_host_bits(cidr: str) -> str:
    address, _, length = cidr.partition("/")
    return f"{ip_address(address) + (length not in {'32', '128'})}/{length}"
