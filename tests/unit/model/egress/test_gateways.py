"""EgressGateways: who leaves by which address of which node, who wins where several say so, and what cannot be meant."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.api.core import Namespace, PodCondition
from netloom.api.egress import EgressAddress
from netloom.api.meta import LabelSelector, LabelSelectorRequirement
from netloom.model.announcing.elect import elected
from netloom.model.announcing.gone import GoneNode
from netloom.model.egress import exits
from netloom.model.egress.exits import EgressGateways
from netloom.model.egress.gateways import duties
from netloom.model.egress.leaving import leaving
from netloom.model.egress.settings import Egress
from netloom.model.egress.state import way_of
from netloom.model.inputs import NodeFacts
from netloom.model.network import Network
from netloom.testing import builders as b
from netloom.testing.egress_rig import egress_gateway

OUTSIDE, EXIT = ip_address("198.51.100.7"), "192.0.2.50"
NODES = [
    b.node("node-1", "172.30.0.11", pod_cidrs=["10.244.1.0/24", "fd00:1::/64"]),
    b.node("node-2", "172.30.0.12", pod_cidrs=["10.244.2.0/24", "fd00:2::/64"], labels={"role": "egress"}),
    b.node("node-3", "172.30.0.13", pod_cidrs=["10.244.3.0/24", "fd00:3::/64"], labels={"role": "egress"}),
]
POD = b.pod("shop/billing", "10.244.1.7", "fd00:1::7", node="node-1", labels={"app": "billing"})


def facts(number: int = 1, **more: object) -> NodeFacts:
    return NodeFacts(
        name=f"node-{number}",
        addresses=(ip_address(f"172.30.0.{10 + number}"),),
        pod_cidrs=(ip_network(f"10.244.{number}.0/24"), ip_network(f"fd00:{number}::/64")),
        cluster_cidrs=(ip_network("10.244.0.0/16"),),
        **more,
    )


def compute(*objects, number: int = 1):
    return EgressGateways.compute(b.view(*NODES, POD, *objects), facts(number))


def exit_of(state, pod=POD, destination=OUTSIDE):
    way = way_of(state, ip_address(pod.status.pod_ips[0].ip), destination)
    return None if way is None else str(way.address)


def test_a_chosen_pod_leaves_by_the_elected_of_the_candidates():
    state, findings = compute(egress_gateway("g", EXIT))
    assert findings == ()
    (held,) = state.exits.values()
    assert held.node == elected(EXIT, ["node-2", "node-3"])
    assert str(held.source) == "EgressGateway g: spec.addresses[0]"
    assert exit_of(state) == EXIT
    # another family than the gateway's is no matter of it
    assert way_of(state, ip_address("fd00:1::7"), ip_address("2001:db8::1")) is None
    assert {duty.address: duty.candidates for duty in duties(b.view(*NODES, egress_gateway("g", EXIT)))} == {
        ip_address(EXIT): ("node-2", "node-3")
    }


def test_what_is_not_outside_is_no_matter_of_gateways():
    state, _ = compute(egress_gateway("g", EXIT))
    node = Network.compute(b.view(*NODES, POD, egress_gateway("g", EXIT)), facts())
    for inside in ("172.30.0.13", "169.254.169.254", "224.0.0.5"):
        assert exit_of(state, destination=ip_address(inside)) is None
    assert leaving(facts(), node, ip_address("10.244.1.7"), ip_address("10.244.3.9")) is None


def test_a_gateway_counts_before_all_settings_of_masquerading():
    view = b.view(*NODES, POD, egress_gateway("g", EXIT))
    for settings in (Egress(masquerade=False), Egress(no_masquerade=(ip_network("198.51.100.0/24"),))):
        own = facts(egress=settings)
        found = leaving(own, Network.compute(view, own), ip_address("10.244.1.7"), OUTSIDE)
        assert found is not None
        assert found.exit is not None
        assert str(found.exit.address) == EXIT


def test_nodes_that_are_gone_not_ready_or_without_pods_have_no_address():
    gateway = egress_gateway("g", EXIT)
    first = elected(EXIT, ["node-2", "node-3"])
    other = "node-3" if first == "node-2" else "node-2"
    state, _ = compute(gateway, GoneNode(first))
    assert [one.node for one in state.exits.values()] == [other]
    (node,) = (n for n in NODES if n.metadata.name == first)
    unready = msgspec.structs.replace(node.status, conditions=(PodCondition("Ready", "False"),))
    state, _ = compute(gateway, msgspec.structs.replace(node, status=unready))
    assert [one.node for one in state.exits.values()] == [other]
    state, _ = compute(gateway, b.node(first, "172.30.0.12", labels={"role": "egress"}))
    assert [one.node for one in state.exits.values()] == [other]


@pytest.mark.parametrize(("words", "is_dropped"), [("Drop", True), ("Node", False)])
def test_nobody_has_it(words, is_dropped):
    objects = (egress_gateway("g", EXIT, when_unavailable=words), GoneNode("node-2"), GoneNode("node-3"))
    state = Network.compute(b.view(*NODES, POD, *objects), facts())
    found = leaving(facts(), state, ip_address("10.244.1.7"), OUTSIDE)
    assert found is not None
    assert (found.exit is not None) is is_dropped
    (finding,) = (one for one in state.findings if one.source.kind == "EgressGateway")
    assert str(finding.source) == "EgressGateway g: spec.nodeSelector"
    assert "no node of node-2, node-3 is alive" in finding.problem


def test_of_two_gateways_the_older_counts_then_the_first_by_name_and_the_other_is_told():
    old = egress_gateway("b-old", "192.0.2.51", created="2025-01-01T00:00:00Z")
    twin = egress_gateway("c-twin", "192.0.2.52", created="2025-01-01T00:00:00Z")
    state, findings = compute(egress_gateway("a-young", EXIT), old, twin)
    assert exit_of(state) == "192.0.2.51"
    assert [str(one.source) for one in findings] == [
        "EgressGateway c-twin: spec.podSelector",
        "EgressGateway a-young: spec.podSelector",
        "EgressGateway a-young: spec.podSelector",
    ]
    assert "Pod shop/billing would leave by EgressGateway b-old, too" in findings[0].problem


def test_gateways_for_different_destinations_do_not_dispute():
    partner = egress_gateway(
        "partner", "192.0.2.51", destinations=("203.0.113.0/24",), created="2027-01-01T00:00:00Z"
    )
    state, findings = compute(egress_gateway("g", EXIT, except_destinations=("203.0.113.0/24",)), partner)
    assert findings == ()
    assert exit_of(state) == EXIT
    assert exit_of(state, destination=ip_address("203.0.113.9")) == "192.0.2.51"


def test_several_addresses_of_a_family_are_spread_over_the_pods_by_name():
    addresses = ("192.0.2.50", "192.0.2.51", "192.0.2.52")
    pods = [
        b.pod(f"shop/billing-{n}", f"10.244.1.{n}", node="node-1", labels={"app": "billing"})
        for n in range(10, 40)
    ]
    state, _ = compute(egress_gateway("g", *addresses), *pods)
    found = {pod.metadata.name: exit_of(state, pod) for pod in pods}
    assert set(found.values()) == set(addresses)
    # one less: only the pods that had it leave by another
    fewer, _ = compute(egress_gateway("g", *addresses[:2]), *pods)
    moved = {name for pod in pods if exit_of(fewer, pod) != found[name := pod.metadata.name]}
    assert moved == {name for name, address in found.items() if address == addresses[2]}


def test_labels_of_namespaces_and_nodes_of_other_pods():
    selector = LabelSelector({"team": "money"})
    gateway = egress_gateway("g", EXIT, app=None, namespace_selector=selector)
    assert compute(gateway)[0].pods == {}
    team = Namespace(metadata=b.meta("shop", labels={"team": "money"}))
    assert exit_of(compute(gateway, team)[0]) == EXIT
    # who may have the address knows all pods that leave by it; who may not, only its own
    assert set(compute(gateway, team, number=2)[0].pods) == {ip_address("10.244.1.7")}
    elsewhere = egress_gateway("g", EXIT, nodes="none", namespace_selector=selector)
    assert compute(elsewhere, team, number=2)[0].pods == {}


def test_who_has_which_address_is_one_nodes_to_say():
    states = [compute(egress_gateway("g", EXIT), number=n)[0] for n in (1, 2, 3)]
    (said,) = [one for state in states for one in state.statuses.values()]
    assert said == (EgressAddress(EXIT, elected(EXIT, ["node-2", "node-3"]), 1),)


@pytest.mark.parametrize(
    ("gateway", "field", "says"),
    [
        (egress_gateway("g", "here"), "spec.addresses[0]", "is no address to leave by"),
        (egress_gateway("g", "172.30.0.13"), "spec.addresses[0]", "is of Node node-3"),
        (egress_gateway("g", "10.244.3.8"), "spec.addresses[0]", "is of the pods of Node node-3"),
        (egress_gateway("g", EXIT, destinations=("x",)), "spec.destinations[0]", "is no CIDR"),
        (egress_gateway("g", EXIT, when_unavailable="Maybe"), "spec.whenUnavailable", "says nothing"),
        (egress_gateway("g", EXIT, nodes="none"), "spec.nodeSelector", "no node is selected"),
        (
            egress_gateway(
                "g",
                EXIT,
                pod_selector=LabelSelector(match_expressions=(LabelSelectorRequirement("a", "Near"),)),
            ),
            "spec.podSelector.matchExpressions[0].operator",
            "nobody is selected",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(gateway, field, says):
    _, findings = compute(gateway)
    assert [(one.source.field, says in one.problem) for one in findings] == [(field, True)]


@pytest.mark.parametrize("written", [("198.51.100.0/33",), ("203.0.113.0/24", "x")])
def test_a_destination_that_cannot_be_read_means_all_that_is_outside(written):
    state, findings = compute(egress_gateway("g", EXIT, destinations=written))
    assert exit_of(state) == EXIT
    assert "it concerns all that is outside" in findings[0].problem


def test_a_range_to_leave_out_that_cannot_be_read_leaves_nothing_out():
    state, findings = compute(egress_gateway("g", EXIT, except_destinations=("198.51.100.0/33",)))
    assert exit_of(state) == EXIT
    assert [one.source.field for one in findings] == ["spec.exceptDestinations[0]"]


OUTSIDE_OF = {4: OUTSIDE, 6: ip_address("2001:db8:c::7")}
OWN_OF = {4: ip_address("10.244.1.7"), 6: ip_address("fd00:1::7")}


@pytest.mark.parametrize("words", ["Drop", "Node"])
@pytest.mark.parametrize(
    ("addresses", "dropped"),
    [
        (("192.0.2.300",), {4}),
        (("2001:db8::g",), {6}),
        (("192.0.2.300", "2001:db8:1::10"), {4}),
        (("127.0.0.1", "fe80::1"), {4, 6}),
        (("172.30.0.13",), {4}),
        ((EXIT, "192.0.2.300"), set()),
        ((), set()),
    ],
)
def test_a_family_that_is_meant_and_has_no_usable_address_is_dropped(words, addresses, dropped):
    spec = {"when_unavailable": words, **({} if addresses else {"addresses": ()})}
    state = Network.compute(b.view(*NODES, POD, egress_gateway("g", *addresses, **spec)), facts())
    for family, destination in OUTSIDE_OF.items():
        found = leaving(facts(), state, OWN_OF[family], destination)
        is_dropped = found is not None and found.exit is not None and not found.exit.node
        assert is_dropped is (family in dropped and words == "Drop")


def test_an_address_for_which_there_is_no_number_is_told_and_dropped(monkeypatch):
    monkeypatch.setattr(exits, "MOST_EXITS", 1)
    state, findings = compute(egress_gateway("g", "192.0.2.51", EXIT, "2001:db8:1::10"))
    assert exit_of(state) == "192.0.2.51"
    way = way_of(state, OWN_OF[6], OUTSIDE_OF[6])
    assert (str(way.source), state.exits[way.address].node) == ("EgressGateway g: spec.addresses[2]", "")
    assert [one.source.field for one in findings] == ["spec.addresses[1]", "spec.addresses[2]"]


def test_two_pods_with_one_address_are_one_finding():
    network = EgressGateways(facts(), {})
    twin = b.pod("shop/twin", "10.244.1.7", node="node-1", labels={"app": "billing"})
    network._pods = {one.key: one for one in (POD, twin)}
    network.update(b.changes(*NODES, POD, twin, egress_gateway("g", EXIT)))
    (finding,) = network._claims.findings()
    assert "has this address, too" in finding.problem


def test_an_address_of_two_gateways_is_the_older_ones():
    old = egress_gateway("old", EXIT, created="2025-01-01T00:00:00Z", app="other")
    state, findings = compute(old, egress_gateway("young", EXIT, nodes=None))
    assert exit_of(state) == EXIT
    (finding,) = findings
    assert "is EgressGateway old's, too" in finding.problem
