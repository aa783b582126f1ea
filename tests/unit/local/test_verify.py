"""The questions that a cluster's pods answer, and how their answers are judged."""

import pytest

from netloom.local.verify import Outcome, Question, Seen, Subject, judge, questions, summary
from netloom.testing.builders import load_view
from netloom.units import ObjectKey

VIEW = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.11}, {type: Hostname, address: node-1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: web, ports: [{containerPort: 8080}]}, {name: side, ports: [{containerPort: 9, protocol: UDP}]}]}
status: {podIP: 10.1.0.5}
---
apiVersion: v1
kind: Pod
metadata: {name: cart, namespace: shop}
spec: {containers: [{name: cart, ports: [{containerPort: 7070}]}]}
status: {podIP: 10.1.0.6}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.0.20, ports: [{port: 80, targetPort: 7070, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: carts, namespace: shop}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: basket, namespace: shop}
spec: {type: ExternalName, externalName: cart.shop.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: shop}
spec: {clusterIP: 10.96.0.21, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
ports: [{port: 7070}]
endpoints:
  - {addresses: [10.1.0.6], targetRef: {kind: Pod, namespace: shop, name: cart}}
  - {addresses: [10.1.0.9], conditions: {ready: false}, targetRef: {kind: Pod, namespace: shop, name: late}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: carts-1, namespace: shop, labels: {kubernetes.io/service-name: carts}}
ports: [{name: http, port: 7070}]
endpoints: [{addresses: [10.1.0.6], targetRef: {kind: Pod, namespace: shop, name: cart}}]
"""


@pytest.fixture
def subject():
    view = load_view(VIEW)
    return Subject(
        pods=list(view.pods.values()),
        services=list(view.services.values()),
        slices=list(view.slices.values()),
        nodes=list(view.nodes.values()),
    )


@pytest.fixture
def web(subject):
    return next(p for p in subject.pods if p.key == ObjectKey("shop", "web"))


def asked(subject, web, kind):
    return [(q.host, q.port, q.protocol) for q in questions(subject, web) if q.asks == kind]


def test_every_port_of_every_pod_is_asked_and_must_keep_the_source(subject, web):
    assert asked(subject, web, "pod") == [
        ("10.1.0.5", 8080, "TCP"),
        ("10.1.0.5", 9, "UDP"),
        ("10.1.0.6", 7070, "TCP"),
    ]
    assert all(q.keeps_source for q in questions(subject, web) if q.asks == "pod")


def test_localhost_is_asked_for_the_ports_of_the_own_pod_only(subject, web):
    assert asked(subject, web, "localhost") == [("127.0.0.1", 8080, "TCP"), ("127.0.0.1", 9, "UDP")]


def test_services_are_asked_by_short_and_full_name_aliases_too_and_headless_ones_at_their_endpoints_port(
    subject, web
):
    names = asked(subject, web, "service-name")
    assert ("cart.shop", 80, "TCP") in names
    assert ("cart.shop.svc.cluster.local", 80, "TCP") in names
    assert ("carts.shop", 7070, "TCP") in names
    assert ("basket.shop", 80, "TCP") in names
    assert not any("empty" in host for host, _, _ in names), "nobody can answer for it"


def test_addresses_and_node_ports_are_asked_where_there_are_any(subject, web):
    assert asked(subject, web, "service-address") == [("10.96.0.20", 80, "TCP")]
    assert asked(subject, web, "node-port") == [("192.0.2.11", 30080, "TCP")]


def test_only_ready_endpoints_may_answer(subject, web):
    (question,) = [q for q in questions(subject, web) if q.asks == "service-address"]
    assert question.answerers == frozenset({"shop/cart"})


QUESTION = Question(
    "pod", "shop/cart:7070", "10.1.0.6", 7070, "TCP", frozenset({"shop/cart"}), keeps_source=True
)


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (Seen(True, 1.0, pod="shop/cart", peer="10.1.0.5:4711"), ""),
        (Seen(False, 1.0, error="TimeoutError: timed out"), "TimeoutError"),
        (Seen(False, 1.0), "no answer"),
        (Seen(True, 1.0, pod="shop/other", peer="10.1.0.5:4711"), "none of its endpoints"),
        (Seen(True, 1.0, pod="shop/cart", peer="192.0.2.11:4711"), "instead of 10.1.0.5"),
    ],
)
def test_an_answer_is_right_only_from_an_endpoint_that_saw_the_askers_own_address(web, seen, wrong):
    outcome = judge(web, QUESTION, seen)
    assert wrong in outcome.wrong
    assert bool(outcome.wrong) == bool(wrong)


def test_the_summary_counts_what_was_asked_and_what_was_wrong():
    fine = Outcome("shop/web", QUESTION, Seen(True, 1.0), "")
    assert summary([fine, fine, Outcome("shop/web", QUESTION, Seen(False, 1.0), "no answer")]) == {
        "pod": {"asked": 3, "wrong": 1}
    }


DUAL = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.11}, {type: InternalIP, address: "2001:db8::11"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop}
spec: {containers: [{name: web, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}, {ip: "fd00::5"}]}
---
apiVersion: v1
kind: Service
metadata: {name: both, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  clusterIPs: [10.96.0.20, "fd00:96::20"]
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: one, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.21
  clusterIPs: [10.96.0.21]
  ipFamilies: [IPv4]
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: both-1, namespace: shop, labels: {kubernetes.io/service-name: both}}
endpoints: [{addresses: [10.1.0.5], targetRef: {kind: Pod, namespace: shop, name: web}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: one-1, namespace: shop, labels: {kubernetes.io/service-name: one}}
endpoints: [{addresses: [10.1.0.5], targetRef: {kind: Pod, namespace: shop, name: web}}]
"""


def test_each_family_is_asked_for_where_it_is_served():
    view = load_view(DUAL)
    pod = view.pods[ObjectKey("shop", "web")]
    subject = Subject(
        pods=list(view.pods.values()),
        services=list(view.services.values()),
        slices=list(view.slices.values()),
        nodes=list(view.nodes.values()),
    )
    asked = {}
    for q in questions(subject, pod):
        asked.setdefault((q.asks, q.subject.partition(":")[0]), []).append((q.host, q.family))
    assert [h for h, _ in asked["pod", "shop/web"]] == ["10.1.0.5", "fd00::5"]
    assert [h for h, _ in asked["localhost", "web"]] == ["127.0.0.1", "::1"]
    assert [f for _, f in asked["service-name", "shop/both"]] == ["IPv4", "IPv6"] * 2
    assert [f for _, f in asked["service-name", "shop/one"]] == ["", ""]
    assert [h for h, _ in asked["service-address", "shop/both"]] == ["10.96.0.20", "fd00:96::20"]
    ports = [q for q in questions(subject, pod) if q.asks == "node-port"]
    assert [(q.host, q.port) for q in ports] == [
        ("192.0.2.11", 30080),
        ("2001:db8::11", 30080),
        ("192.0.2.11", 30081),
    ]


def test_the_source_is_that_of_the_family_that_was_asked_in():
    pod = load_view(DUAL).pods[ObjectKey("shop", "web")]
    question = Question("pod", "p", "fd00::6", 80, "TCP", frozenset(("shop/b",)), keeps_source=True)

    def wrong(peer):
        return judge(pod, question, Seen(True, 1.0, pod="shop/b", peer=peer)).wrong

    assert wrong("[fd00::5]:4000") == ""
    assert "instead of fd00::5" in wrong("[fd00::1]:4000")
