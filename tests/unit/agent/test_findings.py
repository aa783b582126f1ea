"""Findings as Events: each is told once by one node of the cluster, on the object that it is about."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from netloom.agent.findings import MOST_OF_ONE_OBJECT, FindingEvents
from netloom.api.core import ContainerPort, NodeStatus, PodCondition
from netloom.clock import SystemClock
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import ClientConfig
from netloom.model.inputs import NodeFacts
from netloom.model.network import Network
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.provenance import Finding, Source
from netloom.testing import builders as b

NODES = ("node-1", "node-2", "node-3")
NAMED = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop, uid: uid-web}
spec: {podSelector: {}, ingress: [{ports: [{port: http}]}]}
"""
UNREADABLE = """
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: strange, uid: uid-strange}
spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, colour: red}
"""


class Told(EventRecorder):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(KubeClient(ClientConfig(server="http://api")), "test", clock=SystemClock())
        self.events = []

    def emit(self, resource, key, uid, *, reason, message, warning=False):
        assert warning
        assert uid
        self.events.append((f"{resource.kind} {key}", reason, message))


def node(name, *, ready=True):
    made = b.node(name, pod_cidrs=[f"10.244.{name[-1]}.0/24"])
    conditions = (PodCondition(type="Ready", status="True" if ready else "False"),)
    return msgspec.structs.replace(made, status=NodeStatus(conditions=conditions))


def pod(name, number, node, *ports):
    found = [ContainerPort(container_port=at, name=word) for word, at in ports]
    return b.pod(f"shop/{name}", f"10.244.1.{number}", node=node, ports=found)


async def told_by(view, *, of=NODES, nodes=None):
    """By node: the Events of its findings."""
    nodes = nodes if nodes is not None else [node(name) for name in NODES]
    found = {}
    for name in of:
        state = Network.compute(view, NodeFacts(name=name))
        recorder = Told()
        cluster = PolicyCluster.of(view)
        events = FindingEvents(
            node=name, nodes={one.key: one for one in nodes}, cluster=lambda c=cluster: c, events=recorder
        )
        events.take(state.findings)
        await events.tell()
        found[name] = recorder.events
    return found


def flat(found):
    return sorted(itertools.chain.from_iterable(found.values()))


def loaded(text, *pods):
    read = b.load_view(text)
    return b.view(
        *(node(name) for name in NODES), *pods, *read.policies.values(), *read.cluster_policies.values()
    )


async def test_what_every_node_finds_is_told_by_one():
    pods = [pod(f"p{n}", n, name) for n, name in enumerate(NODES, 1)]
    ((subject, reason, message),) = flat(await told_by(loaded(UNREADABLE, *pods)))
    assert (subject, reason) == ("ClusterNetworkPolicy strange", "PolicyNotRead")
    assert message.startswith("spec.colour: is a field that is not known here; use tier")


async def test_objects_are_spread_over_the_nodes():
    view = loaded("---".join(UNREADABLE.replace("strange", f"s{n}") for n in range(30)))
    found = await told_by(view)
    assert len(flat(found)) == 30
    assert all(found.values())


@pytest.mark.parametrize("gone", NODES)
async def test_a_node_that_is_not_ready_is_not_waited_for(gone):
    view = loaded("---".join(UNREADABLE.replace("strange", f"s{n}") for n in range(10)))
    nodes = [node(name, ready=name != gone) for name in NODES]
    rest = [name for name in NODES if name != gone]
    assert len(flat(await told_by(view, of=rest, nodes=nodes))) == 10


async def test_a_port_that_no_pod_has_is_told_by_the_node_of_the_first_pod():
    pods = [
        pod("a", 1, "node-3", ("http", 80)),
        pod("b", 2, "node-2", ("https", 443)),
        pod("c", 3, "node-1"),
        pod("d", 4, "node-2"),
    ]
    found = await told_by(loaded(NAMED, *pods))
    assert [len(found[name]) for name in NODES] == [0, 1, 0]
    ((subject, reason, message),) = flat(found)
    assert (subject, reason) == ("NetworkPolicy shop/web", "NamedPortMissing")
    assert message.startswith(
        'spec.ingress[0].ports[0].port: no container of Pod shop/b has a TCP port named "http"'
    )


async def test_pods_of_one_node_under_different_policies_are_one_matter():
    other = NAMED.replace("name: web", "name: other").replace("uid-web", "uid-other").replace("http", "https")
    other = other.replace("podSelector: {}", "podSelector: {matchLabels: {app: a}}")
    pods = [b.pod("shop/a", "10.244.1.1", node="node-1", labels={"app": "a"}), pod("b", 2, "node-1")]
    told = flat(await told_by(loaded(f"{NAMED}---{other}", *pods)))
    assert [subject for subject, *_ in told] == ["NetworkPolicy shop/other", "NetworkPolicy shop/web"]
    assert all("Pod shop/a has" in message for *_, message in told)


async def test_a_name_that_means_two_ports():
    found = await told_by(loaded(NAMED, pod("a", 1, "node-2", ("http", 80), ("http", 81))))
    assert [reason for _, reason, _ in found["node-2"]] == ["NamedPortAmbiguous"]
    assert len(flat(found)) == 1


async def test_where_the_first_pod_s_node_does_not_run_the_next_one_tells():
    pods = [pod("a", 1, "node-1"), pod("b", 2, "node-2")]
    nodes = [node("node-1", ready=False), node("node-2"), node("node-3")]
    found = await told_by(loaded(NAMED, *pods), of=NODES[1:], nodes=nodes)
    assert [len(found[name]) for name in NODES[1:]] == [1, 0]


async def test_a_policy_with_thousands_of_faults_is_told_of_in_a_few_events():
    rules = ", ".join(["{ports: [{port: 0}]}"] * 3000)
    text = NAMED.replace("[{ports: [{port: http}]}]", f"[{rules}]")
    events = flat(await told_by(loaded(text)))
    assert len(events) == MOST_OF_ONE_OBJECT + 1
    # the others of the 2,000 that may wait at once
    assert next(message for *_, message in events if "more findings" in message).startswith("1995 more")


async def test_what_is_in_order_and_what_has_no_object_is_not_told():
    assert flat(await told_by(loaded(NAMED, pod("a", 1, "node-1", ("http", 80))))) == []
    recorder = Told()
    events = FindingEvents(node="node-1", nodes={}, cluster=lambda: None, events=recorder)
    events.take(
        [Finding(Source("Node", "", "node-9", "u"), "is odd"), Finding(Source("Service", "a", "b"), "no uid")]
    )
    await events.tell()
    assert recorder.events == []
