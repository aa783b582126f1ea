from netloom.model.inputs import ClusterView
from netloom.observe.settings import guessed_facts
from netloom.testing.builders import load_view

VIEW = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
spec: {podCIDR: 10.1.0.0/24, podCIDRs: [10.1.0.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10]}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.3.7, clusterIPs: [10.96.3.7]}
---
apiVersion: v1
kind: Service
metadata: {name: sessions, namespace: shop}
spec: {clusterIP: None, clusterIPs: [None]}
"""


def test_what_a_cluster_uses_says_what_it_was_set_up_with():
    facts = guessed_facts(load_view(VIEW))
    assert [str(c) for c in facts.cluster_cidrs] == ["10.1.0.0/24"]
    assert [str(c) for c in facts.service_cidrs] == ["10.96.0.0/22"]
    assert [str(a) for a in facts.dns_addresses] == ["10.96.0.10"]


def test_an_empty_cluster_says_nothing():
    facts = guessed_facts(ClusterView())
    assert facts.cluster_cidrs == ()
    assert facts.service_cidrs == ()
