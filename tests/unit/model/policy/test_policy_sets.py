"""What a plane is given: shared sets and chains, and how little a small change is."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.api.core import ContainerPort
from netloom.api.selectors import from_labels
from netloom.model.inputs import Changes
from netloom.model.policy.policies import Policies
from netloom.model.policy.reading.blocks import joined, without
from netloom.model.policy.state import (
    Action,
    Direction,
    Endpoint,
    EndpointPeers,
    NetworkPeers,
    PodPeers,
    SetChange,
    Special,
)
from netloom.testing import builders as b
from netloom.testing.policy_universe import FACTS
from netloom.testing.policy_words import HTTP, policies, with_objects, world
from netloom.units import ObjectKey, Protocol

API = PodPeers(namespace="shop", pods=from_labels({"role": "api"}))
FROM_API = "ingress: [{from: [{podSelector: {matchLabels: {role: api}}}]}]"


def state(*specs, objects=(), node="node-1"):
    return Policies.compute(with_objects(world(), *policies(*specs), *objects), _facts(node))


def _facts(node):
    return msgspec.structs.replace(FACTS, name=node)


def following(*specs):
    view = with_objects(world(), *policies(*specs))
    live = Policies(FACTS)
    live.update(Changes(**{name: getattr(view, name) for name in view.__struct_fields__}))
    return live


def relabelled(key, **labels):
    pod = world().pods[b.key_of(key)]
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, labels=labels))


def test_no_policy_is_nothing():
    assert state() == Policies.compute(b.view(), FACTS)
    assert not state().pods


def test_only_pods_of_this_node_and_only_sets_that_their_rules_name():
    found = state(
        f"podSelector: {{matchLabels: {{role: web}}}}\n{FROM_API}", "podSelector: {matchLabels: {role: db}}"
    )
    assert {str(address) for address in found.pods} == {"10.244.1.2", "2001:db8:44:1::2"}
    assert list(found.sets) == [API]
    assert {str(member): str(owner) for member, owner in found.sets[API].items()} == {
        "10.244.1.3": "shop/api",
        "2001:db8:44:1::3": "shop/api",
    }
    (chain,) = found.chains.values()
    assert [rule.peers for rule in chain.rules] == [Special.OWN_NODE, Special.SELF, API]
    assert chain.default is Action.DENY


def test_pods_under_the_same_policies_share_a_chain_and_rules_that_say_the_same_share_a_set():
    found = state(
        f"podSelector: {{}}\n{FROM_API}", f"podSelector: {{matchLabels: {{role: api}}}}\n{FROM_API}"
    )
    assert len({pod.ingress for pod in found.pods.values()}) == len(found.chains) == 2
    assert len(found.sets) == 1
    assert {pod.egress for pod in found.pods.values()} == {None}


def test_equal_selections_are_one_set_however_they_are_written():
    found = state(
        "podSelector: {}\ningress: [{from: ["
        "{podSelector: {matchLabels: {role: api}}},"
        "{podSelector: {matchExpressions: [{key: role, operator: In, values: [api]}]}},"
        "{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}, podSelector: {matchLabels: {role: api}}},"
        "{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}, {ipBlock: {cidr: 192.0.2.77/25}}]}]"
    )
    assert set(found.sets) == {API, NetworkPeers((ip_network("192.0.2.0/25"),))}


def test_a_name_that_means_other_ports_is_another_chain():
    other = b.pod("shop/old", "10.244.1.7", node="node-1", ports=[ContainerPort(80, name="http")])
    found = state("podSelector: {}\ningress: [{ports: [{port: http}]}]", objects=[other])
    assert found.pods[ip_address("10.244.1.2")].ingress == found.pods[ip_address("10.244.1.3")].ingress
    assert found.pods[ip_address("10.244.1.7")].ingress != found.pods[ip_address("10.244.1.2")].ingress
    assert {str(chain.rules[-1].ports[0]) for chain in found.chains.values()} == {"80/tcp", "8080/tcp"}


def test_names_on_egress_are_sets_of_endpoints():
    found = state(
        "podSelector: {}\npolicyTypes: [Egress]\negress: [{to: [{podSelector: {}}], ports: [{port: http}]}]"
    )
    key = EndpointPeers(PodPeers(namespace="shop"), "http", Protocol.TCP)
    assert set(found.sets[key]) == {
        Endpoint(ip_address(text), Protocol.TCP, 8080)
        for text in ("10.244.1.2", "10.244.1.3", "2001:db8:44:1::2", "2001:db8:44:1::3")
    }


def test_a_chain_keeps_its_key_when_a_policy_is_edited():
    live = following(f"podSelector: {{}}\n{FROM_API}")
    (key,) = live.state.chains
    delta = live.update(b.changes(*policies("podSelector: {}\ningress: [{ports: [{port: 1}]}]")))
    assert list(delta.chains) == [key]
    assert delta.sets == {API: None}
    assert not delta.pods


def test_a_label_is_one_element():
    live = following(f"podSelector: {{}}\n{FROM_API}")
    delta = live.update(b.changes(relabelled("shop/web", role="api")))
    assert not delta.chains
    assert not delta.pods
    web = ObjectKey("shop", "web")
    assert delta.sets == {
        API: SetChange({ip_address("10.244.1.2"): web, ip_address("2001:db8:44:1::2"): web}),
    }
    assert live.update(b.changes(relabelled("shop/web", role="api"))).is_empty


def test_a_pod_of_another_node_concerns_this_one_where_it_is_a_peer():
    live = following(f"podSelector: {{}}\n{FROM_API}")
    assert live.update(b.changes(relabelled("shop/db", role="db", tier="x"))).is_empty
    assert list(live.update(b.changes(relabelled("shop/db", role="api"))).sets) == [API]


def test_what_changes_no_meaning_changes_nothing():
    """A pod's readiness, a Namespace's annotations, a policy's labels, a Node's heartbeat."""
    live = following(
        f"podSelector: {{}}\n{FROM_API}", "podSelector: {}\negress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]"
    )
    base = world()
    pod = b.pod(
        "shop/web",
        "10.244.1.2",
        "2001:db8:44:1::2",
        node="node-1",
        labels={"role": "web"},
        ports=[HTTP],
        ready=False,
    )
    namespace = base.namespaces[ObjectKey("", "shop")]
    meta = msgspec.structs.replace(namespace.metadata, annotations={"a": "b"})
    assert live.update(b.changes(pod, msgspec.structs.replace(namespace, metadata=meta))).is_empty


def test_labels_of_a_namespace_move_its_pods():
    live = following("podSelector: {}\ningress: [{from: [{namespaceSelector: {matchLabels: {env: prod}}}]}]")
    shop = world().namespaces[ObjectKey("", "shop")]
    labelled = msgspec.structs.replace(
        shop, metadata=msgspec.structs.replace(shop.metadata, labels={"env": "prod"})
    )
    (change,) = live.update(b.changes(labelled)).sets.values()
    assert {str(owner) for owner in change.added.values()} == {"shop/web", "shop/api", "shop/db", "shop/bare"}


def test_a_pod_is_under_its_policies_as_soon_as_it_has_an_address():
    """Ready or not, running or not: its interface must not come up before."""
    live = following(f"podSelector: {{}}\n{FROM_API}")
    key, address = ObjectKey("shop", "new"), ip_address("10.244.1.9")
    pending = b.pod("shop/new", node="node-1", labels={"role": "api"}, phase="Pending", ready=False)
    assert live.update(b.changes(pending)).is_empty
    given = b.pod(
        "shop/new", "10.244.1.9", node="node-1", labels={"role": "api"}, phase="Pending", ready=False
    )
    delta = live.update(b.changes(given))
    assert delta.pods[address].pod == key
    assert delta.sets == {API: SetChange({address: key})}
    assert live.update(
        b.changes(b.pod("shop/new", "10.244.1.9", node="node-1", labels={"role": "api"}))
    ).is_empty


def test_a_pod_that_is_being_deleted_holds_no_address_that_another_has():
    """Its status says so long after the address was given away."""
    live = following(
        "podSelector: {matchLabels: {role: api}}", f"podSelector: {{matchLabels: {{role: web}}}}\n{FROM_API}"
    )
    address = ip_address("10.244.1.3")
    young = b.pod("shop/zoe", "10.244.1.3", node="node-1", labels={"role": "web"})
    assert live.update(b.changes(young)).is_empty
    api = world().pods[ObjectKey("shop", "api")]
    ending = msgspec.structs.replace(api.metadata, deletion_timestamp="2024-01-03T00:00:00Z")
    delta = live.update(b.changes(msgspec.structs.replace(api, metadata=ending)))
    assert delta.pods[address].pod == young.key
    assert address in delta.sets[API].removed
    assert live.update(b.changes(api)).pods[address].pod == api.key


def test_of_two_pods_with_one_address_the_older_has_it():
    objects = [
        b.pod(
            "shop/new", "10.244.1.3", node="node-1", labels={"role": "web"}, created="2024-01-02T00:00:00Z"
        ),
        b.pod(
            "shop/api", "10.244.1.3", node="node-1", labels={"role": "api"}, created="2024-01-01T00:00:00Z"
        ),
    ]
    found = state(
        "podSelector: {matchLabels: {role: api}}",
        f"podSelector: {{matchLabels: {{role: web}}}}\n{FROM_API}",
        objects=objects,
    )
    assert found.pods[ip_address("10.244.1.3")].pod == ObjectKey("shop", "api")


@pytest.mark.parametrize("order", [("shop/old", "shop/young"), ("shop/young", "shop/old")])
def test_an_address_that_goes_from_one_peer_to_another_stays_in_the_set(order):
    live = following(f"podSelector: {{}}\n{FROM_API}")
    address = ip_address("10.244.2.50")
    live.update(b.changes(b.pod("shop/old", str(address), node="node-2", labels={"role": "api"})))
    now = {
        "shop/old": b.pod("shop/old", "10.244.2.51", node="node-2", labels={"role": "api"}),
        "shop/young": b.pod("shop/young", str(address), node="node-2", labels={"role": "api"}),
    }
    delta = live.update(b.changes(*(now[name] for name in order)))
    assert delta.sets == {
        API: SetChange(
            {address: ObjectKey("shop", "young"), ip_address("10.244.2.51"): ObjectKey("shop", "old")}
        )
    }
    assert live.state.sets[API][address] == ObjectKey("shop", "young")


def test_nodes_enter_and_leave_sets_by_label_and_address():
    live = following(
        "tier: Admin\npriority: 1\nsubject: {namespaces: {}}\negress: [{action: Deny, to: [{nodes: {matchLabels: {zone: '2'}}}]}]"
    )
    second = world().nodes[ObjectKey("", "node-2")]
    (key,) = live.state.sets
    assert {str(address) for address in live.state.sets[key]} == {"172.30.0.12", "2001:db8:30::12"}
    more = b.node("node-2", "172.30.0.12", "172.30.0.99", labels={"zone": "2"})
    delta = live.update(b.changes(more))
    assert {str(address) for address in delta.sets[key].added} == {"172.30.0.99"}
    assert {str(address) for address in delta.sets[key].removed} == {"2001:db8:30::12"}
    assert live.update(b.changes(more)).is_empty
    assert len(live.update(b.changes(gone=[second])).sets[key].removed) == 2
    assert not live.update(b.changes(gone=[second])).sets


def test_directions_are_chains_of_their_own():
    found = state("podSelector: {}\npolicyTypes: [Ingress, Egress]")
    assert {key.direction for key in found.chains} == set(Direction)
    egress = next(chain for key, chain in found.chains.items() if key.direction is Direction.EGRESS)
    assert [rule.peers for rule in egress.rules] == [Special.SELF]


@pytest.mark.parametrize(
    ("block", "excepted", "left"),
    [
        ("10.0.0.0/8", [], ["10.0.0.0/8"]),
        ("10.0.0.0/30", ["10.0.0.1/32"], ["10.0.0.0/32", "10.0.0.2/31"]),
        ("10.0.0.0/30", ["10.0.0.0/31"], ["10.0.0.2/31"]),
        ("10.0.0.0/30", ["10.0.0.2/31", "10.0.0.2/32", "10.0.0.0/32"], ["10.0.0.1/32"]),
        ("10.0.0.0/30", ["10.0.0.0/31", "10.0.0.2/31"], []),
        ("0.0.0.0/0", ["0.0.0.0/1"], ["128.0.0.0/1"]),
        ("::/0", ["8000::/1"], ["::/1"]),
    ],
)
def test_blocks_without_their_exceptions(block, excepted, left):
    assert [str(cidr) for cidr in without(ip_network(block), map(ip_network, excepted))] == left


def test_ranges_are_joined_where_they_can_be():
    given = ["10.0.0.0/25", "2001:db8::/33", "10.0.0.128/25", "10.0.0.7/32", "2001:db8:8000::/33"]
    assert [str(cidr) for cidr in joined(map(ip_network, given))] == ["10.0.0.0/24", "2001:db8::/32"]
