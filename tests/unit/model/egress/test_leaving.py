"""With whose address a pod's packet leaves the cluster, and which setting or field says so."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import msgspec
import pytest

from netloom.api.core import Namespace
from netloom.model.egress.leaving import ANNOTATION, address_outside, keeps_source, leaving, way_out
from netloom.model.egress.settings import Egress, StaticRoute
from netloom.model.inputs import NodeFacts
from netloom.model.network import Network
from netloom.model.routes.ways import Segment, Underlay
from netloom.model.state import PodRange
from netloom.testing import builders as b

FACTS = NodeFacts(
    name="node-1",
    addresses=(ip_address("192.0.2.11"), ip_address("2001:db8::11")),
    pod_cidrs=(ip_network("10.244.0.0/24"),),
    cluster_cidrs=(ip_network("10.244.0.0/16"),),
    service_cidrs=(ip_network("10.96.0.0/16"),),
    egress=Egress(
        no_masquerade=(ip_network("198.51.100.0/24"), ip_network("2001:db8:e::/48")),
        static_routes=(
            StaticRoute(ip_network("203.0.113.0/24"), ip_address("10.9.0.1")),
            StaticRoute(ip_network("203.0.113.128/25"), None, "eth2"),
        ),
    ),
    underlay=Underlay(
        (
            Segment("eth0", ip_interface("192.0.2.11/24")),
            Segment("eth1", ip_interface("10.9.0.7/24")),
            Segment("eth2", ip_interface("10.8.0.7/24")),
        )
    ),
)
POD = ip_address("10.244.0.2")


def state(*objects, facts=FACTS):
    return Network.compute(b.view(*objects), facts)


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("10.244.7.1", None),
        ("10.96.0.1", None),
        ("192.0.2.12", None),
        ("192.0.2.13", True),
        ("203.0.113.1", True),
        ("198.51.100.7", False),
        ("2001:db8:e::7", False),
    ],
)
def test_what_is_of_the_cluster_is_left_alone_and_what_is_not_is_masqueraded_but_for_exceptions(to, expected):
    nodes = [b.node("node-2", "192.0.2.12", pod_cidrs=["10.244.1.0/24"])]
    found = leaving(FACTS, state(*nodes), POD, ip_address(to))
    assert (None if found is None else found.masquerade) is expected
    if expected is False:
        assert [str(source) for source in found.sources] in (
            ["agent configuration node-1: no_masquerade[0]"],
            ["agent configuration node-1: no_masquerade[1]"],
        )


def test_pools_are_of_the_cluster():
    outside = ip_address("203.0.113.1")
    pool = {ip_network("203.0.113.0/24"): PodRange(ip_network("203.0.113.0/24"), False)}
    assert leaving(FACTS, state(), POD, outside) is not None
    assert leaving(FACTS, msgspec.structs.replace(state(), ranges=pool), POD, outside) is None


def test_nothing_is_masqueraded_where_the_configuration_says_so():
    facts = msgspec.structs.replace(FACTS, egress=Egress(masquerade=False))
    found = leaving(facts, state(facts=facts), POD, ip_address("203.0.113.1"))
    assert found is not None
    assert not found.masquerade
    assert str(found.sources[0]) == "agent configuration node-1: masquerade"


@pytest.mark.parametrize(
    ("of_pod", "of_namespace", "expected"),
    [
        (None, None, ""),
        ("false", None, "Pod a/p"),
        (None, "false", "Namespace a"),
        ("true", "false", ""),
        ("false", "true", "Pod a/p"),
        ("no", "false", "Namespace a"),
        ("no", None, ""),
        (None, "no", ""),
    ],
)
def test_the_pods_word_counts_before_that_of_its_namespace(of_pod, of_namespace, expected):
    pod = b.pod("a/p", str(POD), node="node-1", annotations={} if of_pod is None else {ANNOTATION: of_pod})
    space = Namespace(
        metadata=b.meta("a", annotations={} if of_namespace is None else {ANNOTATION: of_namespace})
    )
    source, findings = keeps_source(pod, space)
    assert ("" if source is None else source.subject) == expected
    assert bool(findings) is (of_pod == "no")
    found = leaving(FACTS, state(pod, space), POD, ip_address("203.0.113.1"))
    assert found is not None
    assert found.masquerade is (not expected)


def test_the_narrowest_static_route_leads_out_with_the_address_of_its_interface():
    assert way_out(FACTS, ip_address("192.0.2.99")) == ("192.0.2.99 is not of the cluster: default route",)
    assert address_outside(FACTS, ip_address("192.0.2.99")) == FACTS.addresses[0]
    text, source = way_out(FACTS, ip_address("203.0.113.1"))
    assert text.endswith("static route 203.0.113.0/24 via 10.9.0.1")
    assert source.field == "static_routes[0]"
    assert str(address_outside(FACTS, ip_address("203.0.113.1"))) == "10.9.0.7"
    text, source = way_out(FACTS, ip_address("203.0.113.129"))
    assert text.endswith("static route 203.0.113.128/25 dev eth2")
    assert str(address_outside(FACTS, ip_address("203.0.113.129"))) == "10.8.0.7"
