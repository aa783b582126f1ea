"""Hints: which endpoints are preferred for being near, and when hints do not count (as kube-proxy reads them)."""

from __future__ import annotations

import msgspec
import pytest

from netloom.model.services.build import build
from netloom.model.services.slices import read_slice
from netloom.model.services.topology import Nearness, Place, preference_of
from netloom.testing import builders as b

ENDING = {"ready": False, "serving": True, "terminating": True}


def ep(number, zones="", nodes="", **rest):
    return b.endpoint(f"10.244.9.{number}", for_zones=zones.split(), for_nodes=nodes.split(), **rest)


def frontend(facts, *endpoints, **spec):
    service = b.service("a/web", "10.96.0.1", ports=[b.port(80)], **spec)
    (one,) = build(service, [b.endpoint_slice("a/s1", "web", *endpoints)], facts).frontends
    return one


def used(one):
    return [int(str(backend.address).rpartition(".")[2]) for backend in one.backends]


@pytest.mark.parametrize(
    ("endpoints", "expected"),
    [
        ([ep(1), ep(2)], [1, 2]),
        ([ep(1, "zone-a"), ep(2, "zone-b")], [1]),
        ([ep(1, "zone-a zone-b"), ep(2, "zone-b")], [1]),
        ([ep(1, "zone-a"), ep(2, "zone-b zone-a"), ep(3, "zone-c")], [1, 2]),
        ([ep(1, "zone-a"), ep(2)], [1, 2]),  # not every ready one has a hint
        ([ep(1, "zone-b"), ep(2, "zone-c")], [1, 2]),  # none is for this zone
        ([ep(1, "zone-a"), ep(2, ready=False)], [1]),  # who is not ready has no say
        ([ep(1, "zone-a"), ep(2, "zone-b"), ep(3, **ENDING)], [1]),
        (
            [ep(1, "zone-b", **ENDING), ep(2, "zone-a", **ENDING)],
            [1, 2],
        ),  # hints do not count among those that end
        ([ep(1, "zone-a", "node-2"), ep(2, "zone-b", "node-1")], [2]),  # nodes before zones
        ([ep(1, "zone-a", "node-2"), ep(2, "zone-b", "node-3")], [1]),  # no node hint for us: zones
        ([ep(1, "zone-a", "node-1"), ep(2, "zone-b")], [1]),  # not all have node hints: zones
        ([ep(1, "zone-b", "node-1"), ep(2, "zone-b")], [1, 2]),
        ([ep(1, "", "node-1"), ep(2, "", "node-2")], [1]),
        ([ep(1, "", "node-2"), ep(2, "", "node-3")], [1, 2]),
        ([ep(1, "zone-b", "node-1"), ep(2, "", "node-2")], [1]),
    ],
)
def test_who_is_used(facts, endpoints, expected):
    one = frontend(facts, *endpoints)
    assert used(one) == expected
    assert len(one.backends) + len(one.left_out) == len(endpoints)
    assert len(one.backends) + len(one.draining) == len(endpoints)


def test_a_node_without_a_zone(facts):
    nowhere = msgspec.structs.replace(facts, zone="")
    assert used(frontend(nowhere, ep(1, "zone-a"), ep(2, "zone-b"))) == [1, 2]


@pytest.mark.parametrize(
    ("endpoint", "distribution", "reason", "field"),
    [
        (
            ep(2, "zone-b"),
            None,
            "hints.forZones says zone-b; this node is in zone-a",
            "endpoints[1].hints.forZones",
        ),
        (
            ep(2, "zone-b zone-c"),
            "PreferClose",
            "hints.forZones says zone-b, zone-c; this node is in zone-a (spec.trafficDistribution PreferClose)",
            "endpoints[1].hints.forZones",
        ),
        (
            ep(2, "zone-a", "node-2"),
            "PreferSameNode",
            "hints.forNodes says node-2; this node is node-1 (spec.trafficDistribution PreferSameNode)",
            "endpoints[1].hints.forNodes",
        ),
    ],
)
def test_why_a_far_one_is_left_out(facts, endpoint, distribution, reason, field):
    near = ep(1, "zone-a", "node-1")
    (out,) = frontend(facts, near, endpoint, traffic_distribution=distribution).left_out
    assert (out.reason, out.source.field) == (reason, field)


@pytest.mark.parametrize("distribution", ["PreferClose", "PreferSameZone", "PreferSameNode", "Odd"])
def test_only_hints_decide(facts, distribution):
    """What spec.trafficDistribution asks for is written into hints by the EndpointSlice controller."""
    assert used(frontend(facts, ep(1, node="node-1"), ep(2), traffic_distribution=distribution)) == [1, 2]


def test_policy_local_does_not_read_hints(facts):
    here, there = ep(1, "zone-b", node="node-1"), ep(2, "zone-a", node="node-2")
    assert used(frontend(facts, here, there, internal_traffic_policy="Local")) == [1]


def test_an_endpoint_left_out_by_hints_is_used_by_policy_local(facts):
    service = b.service(
        "a/web",
        "10.96.0.1",
        ports=[b.port(80, node_port=30080)],
        type="NodePort",
        external_traffic_policy="Local",
    )
    here, there, far = ep(1, "zone-b", node="node-1"), ep(2, "zone-a", node="node-2"), ep(3, "zone-b")
    _, one = build(service, [b.endpoint_slice("a/s1", "web", here, there, far)], facts).frontends
    assert used(one) == [1]
    assert [str(backend.address) for backend in one.inside.backends] == ["10.244.9.2"]
    assert [str(backend.address) for backend in one.draining] == ["10.244.9.3"]


@pytest.mark.parametrize(
    ("endpoints", "zone", "nearness", "because"),
    [
        ([], "zone-a", Nearness.ANYWHERE, ""),
        ([ep(1)], "zone-a", Nearness.ANYWHERE, ""),
        ([ep(1, "zone-a")], "zone-a", Nearness.SAME_ZONE, ""),
        ([ep(1, "", "node-1")], "zone-a", Nearness.SAME_NODE, ""),
        ([ep(1, "zone-a")], "", Nearness.ANYWHERE, "node-1 has no label topology.kubernetes.io/zone"),
        ([ep(1, "zone-b")], "zone-a", Nearness.ANYWHERE, "no hints.forZones says zone-a"),
        (
            [ep(1, "zone-a"), ep(2)],
            "zone-a",
            Nearness.ANYWHERE,
            "not every ready endpoint has hints.forZones",
        ),
        ([ep(1, "", "node-2")], "zone-a", Nearness.ANYWHERE, "no hints.forNodes says node-1"),
        (
            [ep(1, "", "node-1"), ep(2)],
            "zone-a",
            Nearness.ANYWHERE,
            "not every ready endpoint has hints.forNodes",
        ),
    ],
)
def test_why_hints_do_not_count(endpoints, zone, nearness, because):
    read = read_slice(b.endpoint_slice("a/s1", "web", *endpoints)).endpoints
    found = preference_of(read, Place("node-1", zone))
    assert (found.nearness, found.because) == (nearness, because)
    assert found.has_hints is (bool(because) or nearness is not Nearness.ANYWHERE)
