"""The edge of a local cluster: where the client is, which addresses are spare, what can be published."""

import re
import socket
from ipaddress import ip_address, ip_network

import pytest

from netloom.errors import UsageError
from netloom.local.outside.listeners import opened
from netloom.local.outside.place import outside_of, spare_ranges
from netloom.local.outside.publication import read_publication
from netloom.local.segments import place_of, segments_of
from netloom.local.settings import ClusterSettings, checked
from netloom.model.load_balancers.spans import read_span

V4, V6 = ip_network("172.30.0.0/24"), ip_network("fd00:172:30::/56")


def test_on_one_segment_the_client_is_beside_the_nodes():
    outside = outside_of(segments_of([V4, V6], 1), [V4, V6])
    assert [str(i) for i in outside.interfaces] == ["172.30.0.9/24", "fd00:172:30::9/64"]
    assert [str(g) for g in outside.gateways] == ["172.30.0.1", "fd00:172:30::1"]
    assert not outside.is_behind


def test_behind_a_router_it_has_a_segment_that_nobody_else_has():
    outside = outside_of(segments_of([V4, V6], 2), [V4, V6])
    assert [str(i) for i in outside.interfaces] == ["198.51.100.9/28", "2001:db8:51::9/64"]
    assert outside.is_behind
    other = outside_of(segments_of([V4], 2), [V4, ip_network("198.51.100.0/24")])
    assert [str(g) for g in other.gateways] == ["203.0.113.1"]


def test_the_last_addresses_of_each_segment_are_spare():
    assert spare_ranges(segments_of([V4, V6], 1), 3) == (
        "172.30.0.224-172.30.0.254",
        "fd00:172:30::ff00-fd00:172:30::ffff",
    )
    assert spare_ranges(segments_of([V4, V6], 2), 3) == (
        "172.30.0.96-172.30.0.126",
        "fd00:172:30::ff00-fd00:172:30::ffff",
        "172.30.0.224-172.30.0.254",
        "fd00:172:30:1::ff00-fd00:172:30:1::ffff",
    )


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("nodes", [5, 12, 50])
@pytest.mark.parametrize("cidr", [V4, V6, ip_network("10.0.0.0/22"), ip_network("fd00::/116")])
def test_what_is_spare_is_nobodys(cidr, nodes, count):
    segments = segments_of([cidr], count)
    places = [place_of(segments, index, nodes) for index in range(nodes)]
    machines = [address for place in places for address in place.addresses]
    machines += [gateway for segment in segments for gateway in segment.gateways]
    machines += [interface.ip for interface in outside_of(segments, [cidr]).interfaces]
    for text in spare_ranges(segments, nodes):
        span = read_span(text)
        assert not any(span.holds(address) for address in machines)
        assert any(
            int(s.networks[0].network_address) < span.first
            and span.last <= int(s.networks[0].broadcast_address)
            for s in segments
        )


def test_where_nodes_leave_nothing_nothing_is_spare():
    assert spare_ranges(segments_of([ip_network("192.0.2.0/28")], 1), 4) == ()
    assert spare_ranges(segments_of([ip_network("192.0.2.0/28")], 1), 3) == ("192.0.2.14-192.0.2.14",)


def test_settings_say_which_addresses_load_balancers_get():
    assert ClusterSettings().load_balancer_ranges == ("172.30.0.224-172.30.0.254",)
    assert checked(ClusterSettings(load_balancer_pool=())).load_balancer_ranges == ()
    own = checked(ClusterSettings(load_balancer_pool=("203.0.113.0/28", "172.30.0.128/25")))
    assert own.load_balancer_ranges == ("203.0.113.0/28", "172.30.0.128/25")


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (("172.30.0.0/28",), "has 172.30.0.11, which is the address of node-1"),
        (("172.30.0.1/32",), "the router"),
        (("172.30.0.8/31",), "the client outside"),
        (("10.244.7.0/24",), "overlaps"),
        (("10.96.0.0/24",), "overlaps"),
        (("203.0.113.0/28", "203.0.113.0/24"), "overlaps"),
        (("203.0.113.1/28",), "has host bits set"),
        (("none", "203.0.113.0/28"), "no CIDR"),
    ],
)
def test_a_pool_that_collides(ranges, said):
    with pytest.raises(UsageError, match="--load-balancer-pool") as caught:
        checked(ClusterSettings(load_balancer_pool=ranges))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "shown"),
    [
        ("8080:shop/web:80", "127.0.0.1", "127.0.0.1:8080 to Service shop/web port 80"),
        ("192.0.2.7:8080:shop/web:80", "192.0.2.7", "192.0.2.7:8080 to Service shop/web port 80"),
        ("[::1]:8080:shop/web:80", "::1", "[::1]:8080 to Service shop/web port 80"),
    ],
)
def test_publications(text, host, shown):
    read = read_publication(text)
    assert (read.host, str(read)) == (ip_address(host), shown)
    assert read_publication(read.text) == read


@pytest.mark.parametrize(
    "text",
    ["", "8080", "8080:web:80", "8080:shop/web", "0:shop/web:80", "80:shop/web:65536", "a:80:shop/web:80"],
)
def test_what_is_no_publication(text):
    with pytest.raises(UsageError, match="--publish"):
        checked(ClusterSettings(published=(text,)))


def test_a_port_is_published_once():
    with pytest.raises(UsageError, match="published twice"):
        checked(ClusterSettings(published=("8080:shop/web:80", "127.0.0.1:8080:shop/cart:80")))


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(UsageError, match=f"--publish {re.escape(place)}: Address already in use"),
            opened([read_publication(f"{place}:shop/web:80")]),
        ):
            pass
    with opened([read_publication(f"{place}:shop/web:80")]) as ((_, listener),):
        assert listener.getsockname()[0] == "127.0.0.1"
