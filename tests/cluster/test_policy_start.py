"""Policies are in force before a pod's first packet, and stay in force without an agent.

The prober is inside a pod's network namespace before the pod has an interface, and never stops sending.
"""

import json
import os
import signal
import time
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from tests.cluster.conftest import PYTHON, processes
from tests.cluster.test_agent_restart import Told

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

PROBER = Path(__file__).with_name("first_packets.py").read_text()
PODS = 4
"""No more than a runner makes at once (its ``sandbox_starts``)."""
ROUNDS = 5
NODE, ELSEWHERE = "node-1", "node-2"
SILENT = {"podSelector": {"matchLabels": {"mood": "silent"}}, "policyTypes": ["Egress"]}
DEAF = {"podSelector": {"matchLabels": {"mood": "deaf"}}, "policyTypes": ["Ingress"]}


def policy(name, spec):
    metadata = {"name": name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def pod(name, node, mood="open"):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"mood": mood, "app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": "example/app", "ports": [{"containerPort": 8080}]}],
        },
    }


class Prober:
    """The process that sends and listens in all pods whose names begin so."""

    def __init__(self, place, prefix, count, *targets):
        (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{NODE}-agent")
        own = (
            [] if os.geteuid() == 0 else ["nsenter", "--target", str(pid), "--user", "--preserve-credentials"]
        )
        self._process = place.command.start(*own, PYTHON, "-u", "-c", PROBER, prefix, str(count), *targets)
        place._open.append(self._process)
        assert self._process.fact() == "ready"
        self._count = count

    def enter(self):
        """Wait until it is in all pods."""
        for _ in range(self._count):
            self._process.fact(timeout=60)

    def facts(self):
        self._process.say("facts\n")
        # a sandbox that was made anew is told of by its name, whenever that is
        return self._process.fact(lambda told: isinstance(told, dict), timeout=60)

    def until(self, wanted, seconds=60):
        """Its facts, as soon as they are so."""
        end = time.monotonic() + seconds
        while not wanted(facts := self.facts()):
            assert time.monotonic() < end, facts
        return facts

    def end(self):
        self._process.end()


def busy(count):
    """Every pod has sent so many packets since it could."""
    return lambda facts: all(one["sent"] >= count for one in facts.values())


@contextmanager
def frozen(place):
    """The node's agent stands still: interfaces are waited for, and what changes meanwhile comes all at once."""
    (pid,) = (pid for name, pid in processes(place.command, place.cluster) if name == f"nl-{NODE}-agent")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def address_of(place, name):
    place("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    return place.get("pod", name)["status"]["podIP"]


def came_from(facts, prefix):
    """What of these senders came to any pod."""
    return {
        (name, what): seen
        for name, one in facts.items()
        for what, seen in one["came"].items()
        if what.startswith(f"udp {prefix}")
    }


@pytest.fixture
def heard(rough_place):
    """Listeners on the node of the pods and elsewhere, and the addresses that lead to them."""
    place = rough_place
    listener = Prober(place, "ear-", 2)
    place.apply(pod("ear-near", NODE), pod("ear-far", ELSEWHERE))
    near, far = address_of(place, "ear-near"), address_of(place, "ear-far")
    listener.enter()
    port = {"port": 9999, "protocol": "UDP"}
    service = place.service("ear", port, selector={"app": "ear-far"})["clusterIP"]
    place.command.netloom("wait", "--name", place.cluster, "service/ear", "-n", place.namespace)
    return place, listener, (near, far, service)


def born(place, heard_by, targets, *documents, prefix, held):
    """Pods that send from before they have an interface; what left them, once each has sent much."""
    sender = Prober(place, prefix, PODS, *targets)
    pods = [pod(f"{prefix}{n}", NODE, prefix.partition("-")[0]) for n in range(PODS)]
    if held:
        with frozen(place):
            place.apply(*documents, *pods)
            sender.enter()
            sender.until(lambda facts: all(one["tried"] > 50 for one in facts.values()))
    else:
        place.apply(*documents, *pods)
        sender.enter()
    facts = sender.until(busy(200))
    names = [f"pod/{one['metadata']['name']}" for one in pods]
    place("wait", *names, "--for=condition=Ready", "--timeout=60s")
    facts = sender.until(busy(1000))
    if held:
        assert all(one["refused_before"] > 50 for one in facts.values()), "it was there before the interface"
    place("delete", *names, "--force", "--grace-period=0", "--wait=false")
    for name in names:
        place("wait", name, "--for=delete", "--timeout=60s")
    left = sender.facts()
    sender.end()
    return left, heard_by.facts()


def test_a_pod_under_a_policy_sends_nothing_from_its_first_packet_on(heard, record_property):
    place, listener, targets = heard
    sent, early = 0, 0
    for turn in range(ROUNDS):
        # the first time the policy comes together with the pods
        documents = [policy("silent", SILENT)] if turn == 0 else []
        left, seen = born(place, listener, targets, *documents, prefix=f"silent-{turn}-", held=turn % 2 == 0)
        assert came_from(seen, f"silent-{turn}") == {}, left
        sent += sum(one["sent"] for one in left.values())
        early += sum(one["refused_before"] > 0 for one in left.values())
        assert not any("tcp" in what for one in seen.values() for what in one["came"])
    record_property("sent", sent)
    record_property("pods that the prober was in before their interface", f"{early} of {ROUNDS * PODS}")
    # without the policy the same is heard, from the very first packet on
    place("delete", "networkpolicy", "silent")
    left, seen = born(place, listener, targets, prefix="open-", held=True)
    for ear in ("ear-near", "ear-far"):
        for name, one in left.items():
            count, first, _ = seen[ear]["came"][f"udp {name}"]
            assert first <= one["first_sent"] + len(targets), (name, ear)
            assert count > 100
    assert any("tcp" in what for one in seen.values() for what in one["came"])


def test_a_pod_under_a_policy_hears_nothing_from_before_it_has_an_address(rough_place):
    place = rough_place
    place.apply(policy("deaf", DEAF), pod("mouth-near", NODE), pod("mouth-far", ELSEWHERE))
    address_of(place, "mouth-near")
    (cidr,) = json.loads(place("get", "node", NODE, "-o", "json"))["spec"]["podCIDRs"]
    own = {place.get("pod", name)["status"]["podIP"] for name in ("mouth-near", address_name(place))}
    targets = [str(a) for a in ip_network(cidr).hosts() if str(a) not in own]
    mouths = Prober(place, "mouth-", 2, *targets)
    mouths.enter()
    for turn in range(2):
        heard, _ = hearing(place, mouths, f"deaf-{turn}-", "deaf", held=turn == 0)
        assert {name: one["came"] for name, one in heard.items() if one["came"]} == {}
    place("delete", "networkpolicy", "deaf")
    heard, began = hearing(place, mouths, "deaf-open-", "deaf", held=True)
    for one in heard.values():
        assert {"udp mouth-near", "udp mouth-far"} <= one["came"].keys()
        assert any(what.startswith("tcp") for what in one["came"])
    assert began


def address_name(place):
    address_of(place, "mouth-far")
    return "mouth-far"


def hearing(place, mouths, prefix, mood, *, held):
    """What pods of this name hear, from before they have an interface until the mouths have said much more."""
    ears = Prober(place, prefix, PODS)
    pods = [pod(f"{prefix}{n}", NODE, mood) for n in range(PODS)]
    if held:
        with frozen(place):
            place.apply(*pods)
            ears.enter()
    else:
        place.apply(*pods)
        ears.enter()
    names = [f"pod/{one['metadata']['name']}" for one in pods]
    place("wait", *names, "--for=condition=Ready", "--timeout=60s")
    so_far = max(one["sent"] for one in mouths.facts().values())
    # every address has been tried by both, with TCP, too
    mouths.until(busy(so_far + 4000))
    heard = ears.facts()
    ears.end()
    place("delete", *names, "--force", "--grace-period=0", "--wait=false")
    for name in names:
        place("wait", name, "--for=delete", "--timeout=60s")
    return heard, so_far


def test_the_agent_is_killed_and_nothing_opens(heard, kill):
    place, listener, targets = heard
    place.apply(policy("silent", SILENT))
    told = Told(place)
    sender = Prober(place, "silent-", PODS, *targets)
    place.apply(*(pod(f"silent-{n}", NODE, "silent") for n in range(PODS)))
    sender.enter()
    sender.until(busy(1000))
    for _ in range(3):
        before = sum(one["sent"] for one in sender.facts().values())
        kill(place.cluster, f"nl-{NODE}-agent")
        told.after(time.time())
        after = sum(one["sent"] for one in sender.until(busy(1000)).values())
        assert after > before + 100, "it went on sending"
    assert came_from(listener.facts(), "silent") == {}
    place("delete", "networkpolicy", "silent")
    listener.until(lambda facts: len(came_from(facts, "silent")) == 2 * PODS)
