from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.core import ServiceSpec
from netloom.api.discovery import Endpoint, EndpointConditions, EndpointHints, HintedNode, HintedZone
from netloom.local.controllers.hints import (
    OVERLOAD,
    hinted,
    proportional,
    wants_proportional,
    zone_shares,
)
from netloom.local.controllers.objects import ZONE, Condition, Meta, Node, NodeStatus, Service

GROUP = ("IPv4", ())
EVEN = {"east": 0.5, "west": 0.5}


def endpoint(
    zone: str | None = "east", *, ready: bool = True, node: str | None = "node-1", ip: int = 1
) -> Endpoint:
    return Endpoint(
        addresses=(f"10.1.0.{ip}",),
        conditions=EndpointConditions(ready=ready, serving=ready, terminating=not ready),
        node_name=node,
        zone=zone,
    )


def service(wish: str | None = None, **annotations: str) -> Service:
    notes = {name.replace("_", "-"): value for name, value in annotations.items()}
    notes = {f"service.kubernetes.io/{name}": value for name, value in notes.items()}
    return Service(metadata=Meta(name="cart", annotations=notes), spec=ServiceSpec(traffic_distribution=wish))


def hints(zone: str = "", node: str = "") -> EndpointHints:
    return EndpointHints((HintedZone(zone),) if zone else (), (HintedNode(node),) if node else ())


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (None, [None, None, None, None]),
        ("PreferClose", [hints("east"), None, None, None]),
        ("PreferSameZone", [hints("east"), None, None, None]),
        ("PreferSameNode", [hints("east", "node-1"), None, hints(node="node-1"), None]),
    ],
)
def test_ready_endpoints_are_for_where_they_are(wish, wanted):
    endpoints = [endpoint(), endpoint(ready=False), endpoint(None), endpoint(None, node=None)]
    assert [e.hints for e in hinted(service(wish), {GROUP: endpoints}, None)[GROUP]] == wanted


def test_the_annotation_goes_before_the_field():
    endpoints = [endpoint("east"), endpoint("west")]
    both = service("PreferSameNode", topology_mode="Auto")
    assert [e.hints for e in hinted(both, {GROUP: endpoints}, EVEN)[GROUP]] == [hints("east"), hints("west")]
    assert [e.hints for e in hinted(both, {GROUP: endpoints}, None)[GROUP]] == [None, None]


@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [({}, False), ({"topology_mode": "Auto"}, True), ({"topology_mode": "auto"}, True), ({"topology_mode": "Disabled"}, False),
     ({"topology_mode": "Auto", "topology_aware_hints": "disabled"}, False), ({"topology_aware_hints": "auto"}, True)],
)  # fmt: skip
def test_the_older_name_of_the_annotation_goes_first(annotations, wanted):
    assert wants_proportional(service(**annotations)) is wanted


def test_families_are_divided_each_for_itself():
    six = ("IPv6", ())
    found = hinted(
        service(topology_mode="Auto"),
        {GROUP: [endpoint("east"), endpoint("west")], six: [endpoint("east")]},
        EVEN,
    )
    assert [e.hints for e in found[GROUP]] == [hints("east"), hints("west")]
    assert [e.hints for e in found[six]] == [None], "one endpoint is too few for two zones"


@pytest.mark.parametrize(
    ("zones", "shares", "wanted"),
    [
        ("ew", EVEN, "ew"),
        ("eeeeee", {"east": 0.5, "west": 0.5}, "wwweee"),
        ("eeew", EVEN, "weew"),
        ("eeeewww", EVEN, "eeeewww"),  # 3.5 each: half an endpoint is not worth a move
        ("eeeeew", {"east": 0.75, "west": 0.25}, "weeeew"),
        ("eew", EVEN, None),  # each zone needs more than one of three
        ("e", EVEN, None),
        ("e?", EVEN, None),
        ("ee", None, None),
        ("een", {"east": 0.5, "west": 0.25, "north": 0.25}, None),  # east alone needs two of three
    ],
)
def test_zones_get_endpoints_in_proportion(zones, shares, wanted):
    names = {"e": "east", "w": "west", "n": "north", "?": None}
    found = proportional([endpoint(names[z], ip=i) for i, z in enumerate(zones)], shares)
    assert (found and "".join(z[0] for z in found)) == wanted


def test_what_is_not_ready_has_no_part_in_it():
    found = proportional([endpoint("east"), endpoint(None, ready=False), endpoint("west")], EVEN)
    assert found == ["east", "", "west"]


@given(
    st.lists(st.sampled_from(["east", "west", "north"]), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_no_zone_is_overloaded_and_nothing_is_moved_for_nothing(zones, west, north):
    total = 4 + west + north
    shares = {"east": 4 / total, "west": west / total, "north": north / total}
    found = proportional([endpoint(z, ip=i) for i, z in enumerate(zones)], shares)
    if found is None:
        return
    counts = Counter(found)
    for zone, share in shares.items():
        # rounding may leave a zone short of one endpoint
        assert counts[zone] + 1 > len(zones) * share / (1 + OVERLOAD) - 1e-9
    assert {zone for zone, home in zip(found, zones, strict=True) if zone != home} <= set(shares)


def node(name: str, zone: str = "east", cpu: str | int = 4, *, ready: bool = True, **labels: str) -> Node:
    here = ({ZONE: zone} if zone else {}) | {k.replace("_", "/"): v for k, v in labels.items()}
    state = Condition(type="Ready", status="True" if ready else "False")
    return Node(
        metadata=Meta(name=name, labels=here),
        status=NodeStatus(conditions=(state,), allocatable={"cpu": cpu}),
    )


def test_shares_of_zones():
    nodes = [
        node("a", cpu="1500m"),
        node("b", cpu="500m"),
        node("c", "west", 6),
        node("d", "north", ready=False),
    ]
    assert zone_shares(nodes) == {"east": 0.25, "west": 0.75}
    planes = [node("e", "north", **{"node-role.kubernetes.io_control-plane": ""})]
    assert zone_shares(nodes + planes) == zone_shares(nodes)


@pytest.mark.parametrize("odd", [node("x", ""), node("x", "west", 0), node("x", "west", "much"), node("x")])
def test_without_knowing_all_nodes_there_are_no_shares(odd):
    assert zone_shares([node("a"), odd]) is None
