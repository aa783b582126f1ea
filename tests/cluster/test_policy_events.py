"""What is wrong with a policy is told on the policy, once in the whole cluster, and all other policies stay in force."""

import json
import time

import pytest

pytestmark = pytest.mark.cluster


def policy(name, spec):
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def events_of(place, kind, name, count, seconds=30):
    """The Events of an object, once there are so many."""
    selector = f"--field-selector=involvedObject.kind={kind},involvedObject.name={name}"
    end = time.monotonic() + seconds
    while True:
        found = json.loads(place("get", "events", "--all-namespaces", selector, "-o", "json"))["items"]
        if len(found) >= count or time.monotonic() > end:
            return found


def answer(place, address):
    return place.python(place.pod("client"), "tell(answer_of(ARGUMENTS[0], 8080, timeout=2)[0])", address)


def test_events_of_a_network_policy(place):
    port = {"containerPort": 8080, "name": "http"}
    place.deploy("web", replicas=6, ports=[port])
    place.deploy("client")
    address = next(iter(place.pods("web").values()))["status"]["podIP"]
    closed = policy("closed", {"podSelector": {"matchLabels": {"app": "web"}}})
    named = policy("named", {"podSelector": {}, "ingress": [{"ports": [{"port": "postgres"}]}]})
    unread = policy("unread", {"podSelector": {"matchLabels": {"app": "none"}}, "ingress": [{"form": []}]})
    place(
        "apply",
        "--validate=ignore",
        "-f",
        "-",
        stdin="\n".join(map(json.dumps, (closed, named, unread))),
    )
    (event,) = events_of(place, "NetworkPolicy", "named", 1)
    assert (event["type"], event["reason"]) == ("Warning", "NamedPortMissing")
    assert event["message"].startswith("spec.ingress[0].ports[0].port: no container of Pod ")
    assert event["involvedObject"]["uid"] == place.get("networkpolicy", "named")["metadata"]["uid"]
    (event,) = events_of(place, "NetworkPolicy", "unread", 1)
    assert event["reason"] == "PolicyNotRead"
    assert event["message"].startswith("spec.ingress[0].form: is a field that is not known here")
    shown = place("events", "--for=networkpolicy/unread")
    assert "PolicyNotRead" in shown
    assert events_of(place, "NetworkPolicy", "closed", 0) == []
    # the others are in force
    assert answer(place, address) == "TimeoutError"
    # again and again it is one Event, with a count
    for number in range(2):
        patch = {"spec": {"ingress": [{"form": []}] * (number + 1), "policyTypes": ["Ingress"]}}
        place("patch", "networkpolicy", "unread", "--type=merge", "-p", json.dumps(patch))
    found = events_of(place, "NetworkPolicy", "unread", 2)
    assert sorted({event["message"][:22] for event in found}) == [
        "spec.ingress[0].form: ",
        "spec.ingress[1].form: ",
    ]
    place("delete", "networkpolicy", "closed", "named", "unread")
    code = 'tell(until(lambda a: a[0][0] not in "TE", lambda: answer_of(ARGUMENTS[0], 8080, timeout=2))[0])'
    assert place.python(place.pod("client"), code, address).startswith("web-")


def test_events_of_a_cluster_network_policy(place):
    place.deploy("web")
    name = f"strange-{place.namespace}"
    spec = {
        "tier": "Admin",
        "priority": 5,
        "subject": {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}},
        "egress": [{"action": "Accept", "to": [{"domainNames": ["example.org"]}]}],
    }
    place.apply(
        {
            "apiVersion": "policy.networking.k8s.io/v1alpha2",
            "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
    )
    try:
        (event,) = events_of(place, "ClusterNetworkPolicy", name, 1)
        assert event["reason"] == "PolicyNotRead"
        assert event["metadata"]["namespace"] == "default"
        described = place("describe", "clusternetworkpolicy", name)
        assert "PolicyNotRead" in described
        assert "are not looked up yet" in described
    finally:
        place("delete", "cnp", name)


def test_a_cluster_network_policy_is_in_force_before_any_network_policy(place):
    place.deploy("web")
    place.deploy("client")
    address = next(iter(place.pods("web").values()))["status"]["podIP"]
    assert answer(place, address) == place.pod("web")
    name = f"closed-{place.namespace}"
    mine = {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}}
    guard = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": name},
        "spec": {
            "tier": "Admin",
            "priority": 5,
            "subject": mine,
            "ingress": [{"action": "Deny", "from": [mine]}],
        },
    }
    place.apply(guard, policy("open", {"podSelector": {}, "ingress": [{}]}))
    try:
        code = 'tell(until(lambda a: a[0] == "TimeoutError", lambda: answer_of(ARGUMENTS[0], 8080, timeout=1))[0])'
        assert place.python(place.pod("client"), code, address) == "TimeoutError"
    finally:
        place("delete", "cnp", name)
    code = 'tell(until(lambda a: a[0][0] not in "TE", lambda: answer_of(ARGUMENTS[0], 8080, timeout=1))[0])'
    assert place.python(place.pod("client"), code, address) == place.pod("web")
