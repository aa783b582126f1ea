"""Which Service of type LoadBalancer gets which addresses."""

import pytest

from netloom.api.core import Namespace
from netloom.api.egress import EgressGateway, EgressGatewaySpec
from netloom.api.meta import LabelSelector
from netloom.model.load_balancers.allocation import Inputs, words_of
from netloom.testing import builders as b
from netloom.testing.load_balancer_rig import World, balanced, pool
from netloom.units import ObjectKey

POOL = "203.0.113.0/29"


def asks(addresses="", *, of="", share=""):
    said = {
        "netloom.io/load-balancer-addresses": addresses,
        "netloom.io/load-balancer-pool": of,
        "netloom.io/share-address": share,
    }
    return {name: text for name, text in said.items() if text}


def namespace(name, **labels):
    return Namespace(metadata=b.meta(name, labels=labels))


def test_a_service_gets_the_first_free_address_and_says_of_which_pool():
    world = World(pool("p", POOL), balanced("a"), balanced("b")).write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], ["203.0.113.1"])
    assert words_of(world.decision("a")) == "IPv4 203.0.113.0 of LoadBalancerPool p"
    assert world.decision("a").is_complete


def test_ranges_reserved_addresses_and_nodes():
    world = World(
        pool("p", "203.0.113.8-203.0.113.11", reserved=("203.0.113.8", "203.0.113.11-203.0.113.12")),
        b.node("n", "203.0.113.9"),
        balanced("a"),
        balanced("b", created="2026-01-02T00:00:00Z"),
    ).write()
    assert (world.has("a"), world.has("b")) == ([], ["203.0.113.10"])
    assert "all IPv4 addresses of LoadBalancerPool p are in use" in world.lack("a")


def test_who_is_older_is_served_first():
    young, old = (
        balanced("a", created="2026-02-01T00:00:00Z"),
        balanced("z", created="2026-01-01T00:00:00Z"),
    )
    world = World(young, old)
    world.put(pool("p", "203.0.113.0/32"))
    world.write()
    assert (world.has("a"), world.has("z")) == ([], ["203.0.113.0"])


def test_both_families_as_the_service_wants_them():
    both = ("IPv6", "IPv4")
    world = World(pool("p", POOL, "2001:db8::/64"), balanced("a", families=both)).write()
    assert world.has("a") == ["2001:db8::", "203.0.113.0"]
    only = World(
        pool("p", POOL),
        balanced("a", families=both, ip_family_policy="PreferDualStack"),
        balanced("b", families=both, ip_family_policy="RequireDualStack"),
    ).write()
    assert (only.has("a"), only.has("b")) == (["203.0.113.0"], ["203.0.113.1"])
    assert only.decision("a").is_complete
    assert not only.decision("b").is_complete
    assert (
        "no LoadBalancerPool gives it an IPv6 address (LoadBalancerPool p: has no IPv6 addresses)"
        in only.lack("b")
    )
    only.put(pool("six", "2001:db8::/127"))
    only.write()
    assert (only.has("a"), only.has("b")) == (
        ["2001:db8::", "203.0.113.0"],
        ["2001:db8::1", "203.0.113.1"],
    )


def test_whose_class_is_not_ours_is_not_touched():
    world = World(
        pool("p", POOL),
        balanced("ours", load_balancer_class="netloom.io/load-balancer"),
        balanced("theirs", load_balancer_class="example.org/lb"),
        balanced("has", load_balancer_class="example.org/lb", has=["203.0.113.0"]),
        b.service("shop/plain", "10.96.0.1", external_ips=("203.0.113.1",)),
    ).write()
    assert world.decision("theirs") is None
    assert world.decision("plain") is None
    # and nobody is given what they have
    assert world.has("ours") == ["203.0.113.2"]
    assert world.has("has") == ["203.0.113.0"]


@pytest.mark.parametrize("by", ["annotation", "field"])
def test_a_certain_address(by):
    wish = {"annotations": asks("203.0.113.5")} if by == "annotation" else {"load_balancer_ip": "203.0.113.5"}
    field = (
        "metadata.annotations[netloom.io/load-balancer-addresses]"
        if by == "annotation"
        else "spec.loadBalancerIP"
    )
    world = World(pool("p", POOL, auto_assign=False), balanced("a", **wish), balanced("b", **wish)).write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.5"], [])
    assert (
        f"Service shop/b: {field}: 203.0.113.5 is in use by Service shop/a: it is not shared with this key"
        in world.lack("b")
    )
    world.drop("services", "a")
    assert world.write().has("b") == ["203.0.113.5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("203.0.113.99", "203.0.113.99 is of no LoadBalancerPool"),
        ("203.0.113.6", "203.0.113.6 of LoadBalancerPool p is reserved"),
        ("192.0.2.1", "192.0.2.1 is of LoadBalancerPool closed: spec.disabled"),
        ("192.0.2.65", "spec.namespaceSelector: it is not for namespace shop"),
    ],
)
def test_a_certain_address_that_it_cannot_have(text, said):
    world = World(
        pool("p", POOL, reserved=("203.0.113.6",)),
        pool("closed", "192.0.2.0/28", disabled=True),
        pool("other", "192.0.2.64/28", namespace_selector=LabelSelector({"a": "b"})),
        balanced("a", annotations=asks(text)),
    ).write()
    assert world.has("a") == []
    assert said in world.lack("a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ten", "'ten' is no IP address"),
        ("203.0.113.1,203.0.113.2", "a second one of its family"),
        ("2001:db8::1", "2001:db8::1 is IPv6, which is not among spec.ipFamilies"),
    ],
)
def test_a_request_that_cannot_be_read_changes_nothing(text, said):
    world = World(pool("p", POOL), balanced("a")).write()
    world.put(balanced("a", annotations=asks(text)), balanced("b", annotations=asks(text)))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], [])
    for name in "ab":
        (finding,) = world.decision(name).findings
        assert said in finding.problem
        assert not world.decision(name).is_complete


def test_another_address_comes_before_the_one_it_has_goes():
    world = World(pool("p", POOL), balanced("a"), balanced("b")).write()
    world.put(balanced("a", annotations=asks("203.0.113.1")))
    assert world.write().has("a") == ["203.0.113.0"]
    assert not world.decision("a").is_complete
    world.drop("services", "b")
    assert world.write().has("a") == ["203.0.113.1"]
    assert world.decision("a").is_complete


def test_a_certain_pool():
    world = World(
        pool("p", POOL),
        pool("q", "192.0.2.0/32", auto_assign=False),
        balanced("a", annotations=asks(of="q")),
        balanced("b", annotations=asks(of="q")),
        balanced("c", annotations=asks(of="q,p")),
        balanced("d", annotations=asks(of="nowhere")),
    ).write()
    assert [world.has(name) for name in "abcd"] == [["192.0.2.0"], [], ["203.0.113.0"], []]
    assert "all IPv4 addresses of LoadBalancerPool q are in use" in world.lack("b")
    assert "there is no LoadBalancerPool nowhere" in world.lack("d")
    world.put(balanced("a", annotations=asks(of="p")))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.1"], ["192.0.2.0"])


def test_pools_for_some_come_first_and_are_for_nobody_else():
    world = World(
        pool("all", POOL),
        pool("team", "192.0.2.0/31", namespace_selector=LabelSelector({"team": "a"})),
        pool("web", "198.51.100.0/32", service_selector=LabelSelector({"app": "web"})),
        namespace("shop", team="a"),
        namespace("other"),
        balanced("shop/web", labels={"app": "web"}),
        balanced("shop/x"),
        balanced("other/y"),
    ).write()
    assert world.has("shop/web") == ["198.51.100.0"]
    assert world.has("shop/x") == ["192.0.2.0"]
    assert world.has("other/y") == ["203.0.113.0"]
    world.put(namespace("shop"), balanced("shop/z"))
    world.write()
    assert world.has("shop/z") == ["203.0.113.1"]
    # what it has stays, and is said
    assert world.has("shop/x") == ["192.0.2.0"]
    assert "spec.namespaceSelector: it is not for namespace shop: kept" in str(
        world.decision("shop/x").findings[0]
    )


def test_sharing():
    world = World(
        pool("p", POOL),
        balanced("a", ports=[80], annotations=asks(share="k")),
        balanced("b", ports=[443], annotations=asks(share="k")),
        balanced("c", ports=[b.port(80, protocol="UDP")], annotations=asks(share="k")),
        balanced("d", ports=[80], annotations=asks(share="k")),
        balanced("e", ports=[8080], annotations=asks(share="other")),
        balanced("f", ports=[8081]),
    ).write()
    assert [world.has(name) for name in "abcdef"] == [
        ["203.0.113.0"],
        ["203.0.113.0"],
        ["203.0.113.0"],
        ["203.0.113.1"],
        ["203.0.113.2"],
        ["203.0.113.3"],
    ]


def test_local_traffic_is_shared_by_the_same_pods_only():
    local = {"external_traffic_policy": "Local", "annotations": asks(share="k")}
    world = World(
        pool("p", POOL),
        balanced("a", ports=[80], selector={"app": "x"}, **local),
        balanced("b", ports=[81], selector={"app": "x"}, **local),
        balanced("c", ports=[82], selector={"app": "y"}, **local),
        balanced("d", ports=[83], selector={"app": "x"}, annotations=asks(share="k")),
        balanced("zoo/e", ports=[84], selector={"app": "x"}, **local),
    ).write()
    assert [world.has(name)[0][-1] for name in ("a", "b", "c", "d", "zoo/e")] == ["0", "0", "1", "0", "2"]


def test_when_two_may_share_no_more_the_older_keeps_the_address():
    world = World(
        pool("p", POOL),
        balanced("a", ports=[80], annotations=asks(share="k"), created="2026-01-01T00:00:00Z"),
        balanced("b", ports=[443], annotations=asks(share="k"), created="2026-01-02T00:00:00Z"),
    ).write()
    world.put(balanced("b", ports=[80], annotations=asks(share="k"), created="2026-01-02T00:00:00Z"))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], ["203.0.113.1"])


def test_a_pool_that_shrinks_or_goes_takes_nothing_away():
    world = World(pool("p", POOL), balanced("a"), balanced("b")).write()
    world.put(pool("p", "203.0.113.0/32"), balanced("c"))
    world.write()
    assert [world.has(name) for name in "abc"] == [["203.0.113.0"], ["203.0.113.1"], []]
    (finding,) = world.decision("b").findings
    assert (
        "status.loadBalancer.ingress[0]: 203.0.113.1 is of no LoadBalancerPool any more: kept, and given to nobody else"
        in str(finding)
    )
    assert world.decision("b").is_complete
    world.drop("pools", "p")
    assert world.write().has("a") == ["203.0.113.0"]
    # nobody is given it anew
    world.put(pool("p", POOL), balanced("d", annotations=asks("203.0.113.1")))
    world.write()
    assert world.has("d") == []


def test_a_pool_that_is_disabled_or_reserves_what_is_in_use():
    world = World(pool("p", POOL), balanced("a")).write()
    world.put(pool("p", POOL, disabled=True), balanced("b"))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], [])
    assert world.decision("a").findings == ()
    world.put(pool("p", POOL, reserved=("203.0.113.0",)))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], ["203.0.113.1"])
    assert "is reserved" in world.decision("a").findings[0].problem


def test_a_family_that_goes_gives_its_address_back():
    world = World(pool("p", "203.0.113.0/32", "2001:db8::/128"), balanced("a", families=("IPv4", "IPv6")))
    world.write()
    world.put(balanced("b"))
    assert world.write().has("b") == []
    world.put(balanced("a", families=("IPv6",)))
    assert world.decision("b").addresses == ()  # not before it is written
    world.write()
    assert (world.has("a"), world.has("b")) == (["2001:db8::"], ["203.0.113.0"])


def test_an_address_is_free_only_when_its_loss_is_written():
    world = World(pool("p", "203.0.113.0/32"), balanced("a"), balanced("b")).write("a")
    world.put(balanced("a", load_balancer_class="netloom.io/load-balancer", annotations=asks(of="q")))
    world.put(pool("q", "192.0.2.0/32", auto_assign=False))
    assert [str(a) for a in world.decision("a").addresses] == ["192.0.2.0"]
    assert world.decision("b").addresses == ()
    world.write("a")
    assert [str(a) for a in world.decision("b").addresses] == ["203.0.113.0"]


def test_a_service_that_is_being_deleted_keeps_and_gets_nothing():
    world = World(pool("p", POOL), balanced("a")).write()
    world.put(balanced("a", deleted="2026-01-02T00:00:00Z"), balanced("b", deleted="2026-01-02T00:00:00Z"))
    world.write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.0"], [])


def test_overlapping_pools_and_ranges_of_pods():
    world = World(
        pool("old", "203.0.113.0/30", created="2026-01-01T00:00:00Z"),
        pool("new", "203.0.113.2-203.0.113.5", created="2026-01-02T00:00:00Z"),
        pool("pods", "10.244.0.0/16", created="2026-01-03T00:00:00Z", auto_assign=False),
        b.node("n", pod_cidrs=("10.244.0.0/17",)),
        balanced("a", annotations=asks(of="new")),
        balanced("b", annotations=asks(of="pods")),
    ).write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.4"], ["10.244.128.0"])
    told = [str(finding) for finding in world.allocator.pool_findings]
    assert (
        "LoadBalancerPool new: spec.ranges[0]: 203.0.113.2-203.0.113.5 overlaps with LoadBalancerPool old"
        in told[0]
    )
    assert "overlaps with Node n: spec.podCIDRs" in told[1]


def test_addresses_by_which_pods_leave_are_nobody_elses():
    world = World(
        pool("p", "203.0.113.0/31"),
        EgressGateway(metadata=b.meta("out"), spec=EgressGatewaySpec(addresses=("203.0.113.0", "x"))),
        balanced("a"),
        balanced("b", annotations=asks("203.0.113.0")),
    ).write()
    assert (world.has("a"), world.has("b")) == (["203.0.113.1"], [])
    assert "is reserved, or a node or an EgressGateway has it" in world.lack("b")
    world.drop("egress", "out")
    assert world.write().has("b") == ["203.0.113.0"]


def test_counts():
    world = World(
        pool("p", POOL, "2001:db8::/64", reserved=("203.0.113.7",)),
        balanced("a", annotations=asks(share="k")),
        balanced("b", ports=[443], annotations=asks(share="k")),
        balanced("c", families=("IPv6",)),
        b.service("shop/plain", "10.96.0.1", external_ips=("203.0.113.6",)),
    ).write()
    count = world.allocator.counts()["p"]
    assert (count.assigned.ipv4, count.assigned.ipv6) == (1, 1)
    assert (count.available.ipv4, count.available.ipv6) == (5, (1 << 53) - 1)


def test_two_thousand_services_get_their_addresses_in_one_look():
    services = {}
    for number in range(2_000):
        one = balanced(f"s{number}")
        services[one.key] = one
    world = World(pool("p", "10.200.0.0/18"))
    world.allocator.update(Inputs(services=services))
    assert len({d.addresses for d in world.allocator.decisions.values()}) == 2_000
    assert world.allocator.decisions[ObjectKey("shop", "s0")].is_complete
