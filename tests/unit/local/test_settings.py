import pytest

from netloom.errors import UsageError
from netloom.local.settings import ClusterSettings, checked, least_underlay_mtu, parse_upstream
from netloom.model.routes.ways import FabricKind

V6 = {
    "pod_cidrs": ("fd00:10:244::/48",),
    "service_cidrs": ("fd00:10:96::/112",),
    "underlay_cidrs": ("fd00:172:30::/56",),
}
DUAL = {
    "pod_cidrs": ("10.244.0.0/16", "fd00:10:244::/48"),
    "service_cidrs": ("10.96.0.0/16", "fd00:10:96::/112"),
    "underlay_cidrs": ("172.30.0.0/24", "fd00:172:30::/56"),
}


def test_the_defaults_make_a_cluster():
    settings = checked(ClusterSettings())
    assert settings.node_names == ("node-1", "node-2", "node-3")
    assert str(settings.gateway) == "172.30.0.1"
    places = [settings.place(i) for i in range(3)]
    assert [str(a) for p in places for a in p.addresses] == ["172.30.0.11", "172.30.0.12", "172.30.0.13"]
    assert least_underlay_mtu(settings) == 1280
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
        ({"service_cidrs": ("fd00:10:96::/64",)}, "--service-cidr", "IPv6, but --pod-cidr has IPv4"),
        ({**V6, "service_cidrs": ("fd00:10:96::/64",)}, "--service-cidr", "too large"),
        ({**V6, "service_cidrs": ("fd00:10:96::/124",)}, "--service-cidr", "too small"),
        ({**V6, "pod_cidrs": ("fd00:10:244::/63",)}, "--pod-cidr", "each of 3 nodes takes a /64"),
        ({**V6, "pod_cidrs": ("fe80:1::/48",)}, "--pod-cidr", "cannot be routed"),
        ({**V6, "pod_cidrs": ("::ffff:0:0/100",)}, "--pod-cidr", "IPv4 addresses as IPv6 ones"),
        ({**DUAL, "pod_cidrs": ("10.244.0.0/16", "10.245.0.0/16")}, "--pod-cidr", "two ranges of IPv4"),
        ({**DUAL, "pod_cidrs": DUAL["pod_cidrs"][::-1]}, "--service-cidr", "has IPv6 and IPv4"),
        (
            {**DUAL, "service_cidrs": ("10.96.0.0/16",)},
            "--service-cidr",
            "IPv4, but --pod-cidr has IPv4 and IPv6",
        ),
        ({**DUAL, "underlay_cidrs": ("172.30.0.0/24",)}, "--underlay-cidr", "has no IPv6, but pods have it"),
        ({**DUAL, "underlay_cidrs": DUAL["underlay_cidrs"][::-1]}, "--underlay-cidr", "IPv6 and IPv4"),
        ({"pod_cidrs": ()}, "--pod-cidr", "is empty"),
        ({"underlay_cidrs": ("172.30.0.0/29",)}, "--underlay-cidr", "too small"),
        ({"underlay_cidrs": ("172.30.0.0/28",), "segments": 2}, "--underlay-cidr", "3 nodes on 2 segments"),
        ({"segments": 4}, "--segments", "out of range"),
        ({"segments": 0}, "--segments", "out of range"),
        ({"nodes": 1, "segments": 2}, "--segments", "out of range"),
        ({"tunnel_port": 8472}, "--tunnel-port", "hostgw has no tunnels"),
        ({"fabric": FabricKind.VXLAN, "tunnel_port": 70000}, "--tunnel-port", "out of range"),
        ({"fabric": FabricKind.VXLAN, "vni": 1 << 24}, "--vni", "out of range"),
        ({"fabric": FabricKind.UDP, "vni": 7}, "--vni", "udp has none"),
        ({"direct": False}, "--no-direct", "no other way"),
        ({"underlay_mtu": 1279}, "--underlay-mtu", "out of range"),
        (
            {"fabric": FabricKind.VXLAN, "underlay_mtu": 1329},
            "--underlay-mtu",
            "out of range for fabric vxlan",
        ),
        ({"segments": 2, "router_mtu": 1000}, "--router-mtu", "out of range"),
        ({"router_mtu": 1400}, "--router-mtu", "there is no router"),
        ({"service_cidrs": ("10.244.128.0/20",)}, "--pod-cidr", "overlaps --service-cidr 10.244.128.0/20"),
        ({"underlay_cidrs": ("10.96.0.0/24",)}, "--service-cidr", "overlaps --underlay-cidr 10.96.0.0/24"),
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


@pytest.mark.parametrize("changes", [{}, V6, DUAL, {key: texts[::-1] for key, texts in DUAL.items()}])
@pytest.mark.parametrize("segments", [1, 2, 3])
def test_one_family_the_other_or_both_in_either_order(changes, segments):
    settings = checked(ClusterSettings(**changes, segments=segments))
    addresses = [a for i in range(3) for a in settings.place(i).addresses]
    assert len(set(addresses)) == 3 * len(settings.pod_cidrs)
    assert len(settings.gateways) == len(settings.dns_addresses) == len(settings.pod_cidrs)
    assert [a.version for a in settings.gateways] == [a.version for a in settings.dns_addresses]
    assert settings.gateway == settings.gateways[0]
    assert set(settings.gateways).isdisjoint(addresses)


def test_what_encapsulates_carries_two_families_over_one():
    single = {**DUAL, "underlay_cidrs": ("172.30.0.0/24",)}
    settings = checked(ClusterSettings(**single, fabric=FabricKind.VXLAN))
    assert [a.version for a in settings.advertised] == [4]
    assert [a.version for a in settings.dns_addresses] == [4, 6]


def test_jumbo_frames_and_a_router_that_has_none():
    checked(ClusterSettings(underlay_mtu=9000, segments=2, router_mtu=1400))
    assert least_underlay_mtu(ClusterSettings(**V6, fabric=FabricKind.WIREGUARD)) == 1280 + 80


def test_a_node_may_be_silent_for_longer_where_there_are_many():
    assert ClusterSettings().silence_s == 10
    assert ClusterSettings(nodes=50).silence_s == 50
    assert ClusterSettings(nodes=50, node_grace_s=5).silence_s == 5
    for wrong in ({"node_grace_s": 1.0}, {"node_grace_s": float("nan")}, {"eviction_after_s": -1}):
        with pytest.raises(UsageError, match="out of range"):
            checked(ClusterSettings(**wrong))
