"""When ending pods get no new connections any more, slice by slice."""

import pytest

from netloom.agent.drained import EndingPod, ending_pod, why_in_use
from netloom.api.core import Service, ServiceSpec
from netloom.api.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice, TargetRef
from netloom.testing.builders import load_view
from netloom.units import ObjectKey

OLD = EndingPod("old", "u-old", frozenset({"10.1.0.5"}))


def endpoint(name, *, ready, serving=None, terminating=False, node="node-1", uid=None, address="10.1.0.5"):
    return Endpoint(
        addresses=(address,),
        conditions=EndpointConditions(
            ready=ready, serving=ready if serving is None else serving, terminating=terminating
        ),
        node_name=node,
        target_ref=TargetRef("Pod", "shop", name, f"u-{name}" if uid is None else uid),
    )


LIVE = endpoint("old", ready=True)
ENDING = endpoint("old", ready=False, serving=True, terminating=True)
MUTE = endpoint("old", ready=False, serving=False, terminating=True)
NEW = endpoint("new", ready=True, node="node-2")
STARTING = endpoint("new", ready=False, node="node-2")
ALSO_ENDING = endpoint("other", ready=False, serving=True, terminating=True)


def cart(*endpoints, port="http", address_type="IPv4"):
    return EndpointSlice(
        address_type=address_type, endpoints=endpoints, ports=(EndpointPort(port, "TCP", 8080),)
    )


def why(*slices, **spec):
    return why_in_use(Service(spec=ServiceSpec(**spec)), slices, (OLD,), "node-1")


@pytest.mark.parametrize(
    ("endpoints", "reason"),
    [
        ((LIVE, NEW), "terminates"),
        ((ENDING, NEW), ""),
        ((ENDING, STARTING), "may become"),
        ((MUTE, STARTING), ""),
        ((ENDING, ALSO_ENDING), ""),
        ((ENDING,), ""),
        ((NEW,), ""),
        ((), ""),
        ((endpoint("old", ready=True, terminating=True), NEW), ""),
    ],
    ids=[
        "not-yet",
        "taken-over",
        "new-one-starts",
        "not-used",
        "all-end",
        "last-one",
        "gone",
        "none",
        "published",
    ],
)
def test_new_connections_stop_when_another_can_take_them(endpoints, reason):
    found = why(cart(*endpoints))
    assert reason in found
    assert bool(found) is bool(reason)


def test_each_port_and_family_counts_for_itself():
    assert why(cart(ENDING, NEW), cart(ENDING, STARTING, port="admin")) != ""
    assert why(cart(ENDING, NEW), cart(ENDING, STARTING, address_type="IPv6")) != ""
    assert why(cart(ENDING, NEW), cart(ENDING, NEW, port="admin")) == ""


def test_a_port_whose_endpoints_lie_in_several_slices_is_one_port():
    assert why(cart(ENDING), cart(NEW)) == ""
    assert why(cart(ENDING), cart(STARTING)) != ""


def test_a_local_policy_looks_at_this_node():
    starting_here = endpoint("new", ready=False, node="node-1")
    assert why(cart(ENDING, NEW, starting_here)) == ""
    found = why(cart(ENDING, NEW, starting_here), internal_traffic_policy="Local")
    assert "on node-1" in found
    external = {"type": "NodePort", "external_traffic_policy": "Local"}
    assert "on node-1" in why(cart(ENDING, NEW, starting_here), **external)
    # nobody on this node could take over: then there is nothing to wait for
    assert why(cart(ENDING, NEW), internal_traffic_policy="Local") == ""
    assert why(cart(ENDING, STARTING), internal_traffic_policy="Local") == ""


def test_an_endpoint_of_another_pod_at_the_same_address_is_another():
    reused = endpoint("next", ready=True, address="10.1.0.5")
    assert why(cart(reused)) == ""
    unnamed = Endpoint(addresses=("10.1.0.5",))
    assert "10.1.0.5" in why(cart(unnamed))


def test_a_pod_ends_when_its_deletion_was_asked_for_and_it_had_an_address():
    text = """
apiVersion: v1
kind: Pod
metadata: {name: old, namespace: shop, uid: u-old, deletionTimestamp: "2026-01-01T00:00:00Z"}
status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}, {ip: "fd00::5"}]}
"""
    pod = load_view(text).pods[ObjectKey("shop", "old")]
    assert ending_pod(pod) == EndingPod("old", "u-old", frozenset({"10.1.0.5", "fd00::5"}))
    alive = load_view(text.replace(', deletionTimestamp: "2026-01-01T00:00:00Z"', "")).pods
    assert ending_pod(alive[ObjectKey("shop", "old")]) is None
    bare = load_view(text.partition("status:")[0]).pods
    assert ending_pod(bare[ObjectKey("shop", "old")]) is None
