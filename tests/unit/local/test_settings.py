import pytest

from netloom.errors import UsageError
from netloom.local.settings import ClusterSettings, checked, parse_upstream


def test_the_defaults_make_a_cluster():
    settings = checked(ClusterSettings())
    assert settings.node_names == ("node-1", "node-2", "node-3")
    assert str(settings.gateway) == "172.30.0.1"
    assert [str(settings.node_address(i)) for i in range(3)] == ["172.30.0.11", "172.30.0.12", "172.30.0.13"]
    assert [str(a) for a in settings.kubernetes_addresses] == ["10.96.0.1"]
    assert [str(a) for a in settings.dns_addresses] == ["10.96.0.10"]


@pytest.mark.parametrize(
    ("changes", "names", "says"),
    [
        ({"name": "Shop_1"}, "--name", "no usable cluster name"),
        ({"name": "-x"}, "--name", "no usable cluster name"),
        ({"name": "a" * 33}, "--name", "no usable cluster name"),
        ({"nodes": 0}, "--nodes", "out of range"),
        ({"nodes": 51}, "--nodes", "out of range"),
        ({"zones": 4}, "--zones", "out of range"),
        ({"zones": -1}, "--zones", "out of range"),
        ({"api_port": 70000}, "--api-port", "out of range"),
        ({"pod_cidrs": ("10.244.0.0/33",)}, "--pod-cidr", "no CIDR"),
        ({"pod_cidrs": ("ten",)}, "--pod-cidr", "no CIDR"),
        ({"pod_cidrs": ("10.244.1.0/16",)}, "--pod-cidr", "the range would be 10.244.0.0/16"),
        ({"pod_cidrs": ("10.244.0.0/23",)}, "--pod-cidr", "too small"),
        ({"pod_cidrs": ("127.0.0.0/8",)}, "--pod-cidr", "cannot be routed"),
        ({"service_cidrs": ("10.96.0.0/28",)}, "--service-cidr", "too small"),
        ({"service_cidrs": ("10.0.0.0/8",)}, "--service-cidr", "too large"),
        ({"underlay_cidr": "172.30.0.0/27"}, "--underlay-cidr", "too small"),
        ({"service_cidrs": ("10.244.128.0/20",)}, "--pod-cidr", "overlaps --service-cidr 10.244.128.0/20"),
        ({"underlay_cidr": "10.96.0.0/24"}, "--service-cidr", "overlaps --underlay-cidr 10.96.0.0/24"),
        ({"dns_upstreams": ("resolver.example.org",)}, "--dns-upstream", "no address of a resolver"),
        ({"dns_upstreams": ("192.0.2.53:0",)}, "--dns-upstream", "no address of a resolver"),
    ],
)
def test_what_cannot_be_names_its_flag_and_says_what_would_be_right(changes, names, says):
    with pytest.raises(UsageError) as caught:
        checked(ClusterSettings(**changes))
    assert caught.value.problem.startswith(names)
    assert says in caught.value.problem
    assert caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
        ("[2001:db8::53]", ("2001:db8::53", 53)),
        ("2001:db8::53", ("2001:db8::53", 53)),
    ],
)
def test_a_resolver_is_an_address_with_or_without_a_port(text, means):
    assert parse_upstream(text) == means


def test_more_nodes_need_a_larger_pod_range():
    checked(ClusterSettings(nodes=4, pod_cidrs=("10.244.0.0/22",)))
    with pytest.raises(UsageError, match="too small"):
        checked(ClusterSettings(nodes=5, pod_cidrs=("10.244.0.0/22",)))


def test_nodes_are_spread_over_zones_in_turn():
    assert checked(ClusterSettings()).node_labels("node-1") == {}
    settings = checked(ClusterSettings(zones=2))
    zones = [settings.node_labels(name)["topology.kubernetes.io/zone"] for name in settings.node_names]
    assert zones == ["zone-a", "zone-b", "zone-a"]
    assert settings.node_labels("node-2")["topology.kubernetes.io/region"] == "local"
