"""Which pool a pod gets."""

import pytest

from netloom.errors import InvalidObject
from netloom.model.addresses.choose import choose
from netloom.model.addresses.pools import read_pools
from netloom.testing.builders import load_view
from netloom.units import ObjectKey, parse_cidr

NODES = [parse_cidr("10.1.0.0/24"), parse_cidr("fd00:1::/64")]
POOLS = """
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: anybody}
spec: {cidrs: [10.2.0.0/24, fd00:2::/64]}
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: rack}
spec: {cidrs: [10.3.0.0/24], nodeSelector: {matchLabels: {rack: a}}}
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: team}
spec: {cidrs: [10.4.0.0/24], namespaceSelector: {matchLabels: {team: shop}}}
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: team-2}
spec: {cidrs: [10.5.0.0/24], namespaceSelector: {matchLabels: {team: shop}}}
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: app}
spec: {cidrs: [10.6.0.0/24], podSelector: {matchLabels: {app: db}}, namespaceSelector: {}}
---
apiVersion: netloom.io/v1alpha1
kind: IPPool
metadata: {name: closed}
spec: {cidrs: [10.7.0.0/24], disabled: true, podSelector: {matchLabels: {app: db}}, namespaceSelector: {matchLabels: {team: shop}}}
"""
OBJECTS = """
---
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {rack: RACK}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: TEAM}, annotations: {NAMESPACE}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: APP}, annotations: {POD}}
"""


def chosen(*, rack="b", team="none", app="web", pod="", namespace="", pools=POOLS):
    words = {"RACK": rack, "TEAM": team, "APP": app, "{POD}": f"{{{pod}}}", "{NAMESPACE}": f"{{{namespace}}}"}
    text = OBJECTS
    for word, value in words.items():
        text = text.replace(word, value)
    view = load_view(pools + text)
    read, findings = read_pools(view.pools.values(), {})
    assert findings == ()
    return choose(
        view.pods[ObjectKey("shop", "a")],
        view.namespaces[ObjectKey("", "shop")],
        view.nodes[ObjectKey("", "node-1")],
        read,
        NODES,
    )


def names(choice):
    return [pool.name for pool in choice.pools]


def test_a_pod_that_nothing_selects_gets_its_nodes_range_and_no_pool_without_selectors():
    assert names(chosen()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"rack": "a"}, ["rack"]),
        ({"team": "shop"}, ["team", "team-2"]),
        ({"rack": "a", "team": "shop"}, ["team", "team-2"]),
        ({"app": "db"}, ["app"]),
        ({"rack": "a", "team": "shop", "app": "db"}, ["app"]),
    ],
)
def test_the_most_specific_pools_win_and_those_that_are_alike_go_by_name(words, expected):
    assert names(chosen(**words)) == expected


def test_a_disabled_pool_is_passed_over():
    assert "closed" not in names(chosen(team="shop", app="db"))


def test_annotations_come_first_the_pods_before_its_namespaces():
    assert names(chosen(app="db", namespace="netloom.io/ip-pool: anybody")) == ["anybody"]
    both = chosen(
        team="shop", pod="netloom.io/ip-pool: 'team-2, anybody'", namespace="netloom.io/ip-pool: team"
    )
    assert names(both) == ["team-2", "anybody"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            {"pod": "netloom.io/ip-pool: nix"},
            "Pod shop/a: metadata.annotations[netloom.io/ip-pool]: there is no IPPool nix",
        ),
        (
            {"namespace": "netloom.io/ip-pool: nix"},
            "Namespace shop: metadata.annotations[netloom.io/ip-pool]: there is no",
        ),
        ({"pod": "netloom.io/ip-pool: ','"}, "names no IPPool"),
        ({"pod": "netloom.io/ip-pool: rack"}, "IPPool rack: spec.nodeSelector: it is not for node node-1"),
        (
            {"pod": "netloom.io/ip-pool: team"},
            "IPPool team: spec.namespaceSelector: it is not for namespace shop",
        ),
        ({"pod": "netloom.io/ip-pool: app"}, "IPPool app: spec.podSelector: it is not for pod shop/a"),
        ({"pod": "netloom.io/ip-pool: closed"}, "IPPool closed: spec.disabled"),
        ({"pod": "netloom.io/ip-addresses: ''"}, "names no address"),
        ({"pod": "netloom.io/ip-addresses: 10.2.0.0/24"}, "is no IP address"),
        ({"pod": "netloom.io/ip-addresses: '10.2.0.7,10.2.0.8'"}, "10.2.0.8 is a second one of its family"),
        (
            {"pod": "netloom.io/ip-addresses: 192.0.2.1"},
            "192.0.2.1 is in no IPPool and in the range of no node",
        ),
        ({"pod": "netloom.io/ip-addresses: 10.2.0.255"}, "10.2.0.255 is reserved"),
        ({"pod": "netloom.io/ip-addresses: 10.4.0.7"}, "10.4.0.7 is of IPPool team: spec.namespaceSelector"),
        ({"app": "db", "pod": "netloom.io/ip-addresses: 10.2.0.7"}, "10.2.0.7 is not of IPPool app"),
        ({"app": "db", "pod": "netloom.io/ip-addresses: 10.1.0.7"}, "10.1.0.7 is not of IPPool app"),
    ],
)
def test_what_cannot_be_is_said(words, said):
    with pytest.raises(InvalidObject) as caught:
        chosen(**words)
    assert said in str(caught.value)


def test_of_several_named_pools_those_that_the_pod_may_have_are_used():
    assert names(chosen(pod="netloom.io/ip-pool: 'closed,anybody'")) == ["anybody"]


def test_an_address_that_is_asked_for_brings_its_pool():
    choice = chosen(pod="netloom.io/ip-addresses: 'fd00:2::7,10.1.0.9'")
    assert names(choice) == ["anybody"]
    assert [str(a) for a in choice.requested] == ["10.1.0.9", "fd00:2::7"]
    assert choice.pool_of(choice.requested[1]).name == "anybody"
    assert choice.pool_of(choice.requested[0]) is None


def test_an_address_of_a_chosen_pool_can_be_asked_for():
    choice = chosen(team="shop", pod="netloom.io/ip-addresses: 10.5.0.7")
    assert names(choice) == ["team", "team-2"]
    assert choice.pool_of(choice.requested[0]).name == "team-2"
