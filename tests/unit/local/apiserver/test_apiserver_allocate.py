"""ClusterIPs and node ports: given, filled in, refused, released."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from netloom.local.apiserver.allocate import Pool, ServiceAddresses
from netloom.local.apiserver.jsonvalue import Json
from netloom.local.apiserver.kinds import SERVICES
from netloom.local.apiserver.service_updates import settled
from netloom.local.apiserver.status import Cause
from netloom.local.apiserver.store import Store

V4 = ipaddress.ip_network("10.96.0.0/16")
SMALL = ipaddress.ip_network("192.0.2.0/28")
V6 = ipaddress.ip_network("2001:db8::/112")


def a_service(name: str = "cart", **spec: Json) -> dict[str, Any]:
    spec = {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}], **spec}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": spec,
    }


class Shop:
    """Services of one store, as a server would write them."""

    def __init__(self, *cidrs: Json, node_ports: tuple[int, int] = (30000, 32767)) -> None:
        self.store = Store(":memory:")
        self.addresses = ServiceAddresses(store=self.store, cidrs=cidrs or (V4,), node_ports=node_ports)

    def put(self, name: str = "cart", **spec: Json) -> dict[str, Any]:
        document = a_service(name, **spec)
        causes = self._complete(name, document)
        assert causes == []
        self.store.put(SERVICES, document)
        stored: dict[str, Any] = document["spec"]
        return stored

    def refuse(self, name: str = "cart", **spec: Json) -> Cause:
        (cause,) = self._complete(name, a_service(name, **spec))
        return cause

    def _complete(self, name: str, document: dict[str, Any]) -> list[Cause]:
        live = self.store.get(SERVICES, "shop", name)
        old = live.document() if live else None
        if old is not None:
            document["spec"] = settled(document, old)["spec"]
        return self.addresses.complete(document, old)

    def remove(self, name: str) -> None:
        record = self.store.get(SERVICES, "shop", name)
        assert record is not None
        self.store.remove(SERVICES, record.document())


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.store.close()


def test_a_service_gets_an_address_above_the_band_for_requests(shop: Shop) -> None:
    spec = shop.put()
    assert spec["clusterIP"] == "10.96.1.1"
    assert spec["clusterIPs"] == ["10.96.1.1"]
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert shop.put("other")["clusterIP"] == "10.96.1.2"


def test_a_given_address_is_kept_and_one_that_is_taken_is_refused(shop: Shop) -> None:
    assert shop.put("dns", clusterIP="10.96.0.10")["clusterIPs"] == ["10.96.0.10"]
    cause = shop.refuse("cart", clusterIP="10.96.0.10")
    assert cause.field == "spec.clusterIPs"
    assert "provided IP is already allocated" in cause.message
    shop.remove("dns")
    assert shop.put("cart", clusterIP="10.96.0.10")["clusterIP"] == "10.96.0.10"


@pytest.mark.parametrize("address", ["10.97.0.1", "10.96.0.0", "10.96.255.255", "2001:db8::1", "nonsense"])
def test_an_address_that_the_range_does_not_have_is_refused(shop: Shop, address: str) -> None:
    cause = shop.refuse(clusterIP=address)
    assert cause.reason == "FieldValueInvalid"
    assert cause.field in {"spec.clusterIPs", "spec.clusterIPs[0]"}


def test_a_released_address_is_not_handed_out_again_at_once(shop: Shop) -> None:
    first = shop.put("a")["clusterIP"]
    shop.remove("a")
    assert shop.put("b")["clusterIP"] != first
    assert shop.put("a", clusterIP=first)["clusterIP"] == first


def test_headless_and_external_names_take_no_address(shop: Shop) -> None:
    headless = shop.put("peers", clusterIP="None")
    assert (headless["clusterIP"], headless["clusterIPs"]) == ("None", ["None"])
    assert headless["ipFamilies"] == ["IPv4", "IPv6"], "whoever writes its endpoints chooses their family"
    assert shop.put("mine", clusterIP="None", selector={"app": "db"})["ipFamilies"] == ["IPv4"]
    external = shop.put("out", type="ExternalName", externalName="example.org", ports=[])
    assert "clusterIP" not in external
    assert "ipFamilies" not in external


def test_an_address_may_not_change_but_may_be_left_out(shop: Shop) -> None:
    before = shop.put()["clusterIP"]
    assert shop.put()["clusterIP"] == before
    assert shop.refuse(clusterIP="10.96.7.7").field == "spec.clusterIPs[0]"
    assert "may not change once set" in shop.refuse(clusterIP="10.96.7.7").message
    assert shop.refuse(clusterIPs=["10.96.7.8"], clusterIP="10.96.7.7").field == "spec.clusterIPs"


def test_becoming_an_external_name_releases_the_address(shop: Shop) -> None:
    address = shop.put()["clusterIP"]
    assert "clusterIP" not in shop.put(type="ExternalName", externalName="example.org")
    assert shop.put("other", clusterIP=address)["clusterIP"] == address
    assert shop.put()["clusterIP"] != address


def test_a_full_range_uses_the_band_for_requests_and_then_refuses() -> None:
    shop = Shop(SMALL)
    given = {shop.put(f"s{number}")["clusterIP"] for number in range(14)}
    assert given == {str(a) for a in SMALL.hosts()}
    assert "full" in shop.refuse("more").message
    shop.remove("s3")
    assert shop.put("more")["clusterIP"] in given
    shop.store.close()


def test_node_ports_are_given_checked_and_released(shop: Shop) -> None:
    spec = shop.put(
        "a", type="NodePort", ports=[{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]
    )
    first, second = (p["nodePort"] for p in spec["ports"])
    assert first >= 30086  # the lower ones are for requests
    assert first != second
    wanted = shop.put("b", type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"}])
    assert wanted["ports"][0]["nodePort"] == 30080
    taken = shop.refuse("c", type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"}])
    assert taken.field == "spec.ports[0].nodePort"
    assert "already allocated" in taken.message
    outside = shop.refuse("c", type="NodePort", ports=[{"port": 80, "nodePort": 80, "protocol": "TCP"}])
    assert "30000-32767" in outside.message
    shop.remove("b")
    shop.put("c", type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"}])


def test_one_port_over_two_protocols_shares_its_node_port(shop: Shop) -> None:
    both = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    udp, tcp = shop.put("dns", type="NodePort", ports=both)["ports"]
    assert udp["nodePort"] == tcp["nodePort"]


def test_node_ports_stay_over_updates_and_go_with_the_type(shop: Shop) -> None:
    (port,) = shop.put(type="NodePort")["ports"]
    assert shop.put(type="NodePort")["ports"] == [port]
    (plain,) = shop.put(type="ClusterIP", ports=[dict(port)])["ports"]
    assert "nodePort" not in plain
    other = shop.put(
        "b", type="NodePort", ports=[{"port": 80, "nodePort": port["nodePort"], "protocol": "TCP"}]
    )
    assert other["ports"][0]["nodePort"] == port["nodePort"]


def test_a_load_balancer_with_local_traffic_gets_a_health_port(shop: Shop) -> None:
    spec = shop.put(type="LoadBalancer", externalTrafficPolicy="Local")
    assert spec["healthCheckNodePort"] not in {p["nodePort"] for p in spec["ports"]}
    without = shop.put("b", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "nodePort" not in without["ports"][0]
    assert "healthCheckNodePort" not in without
    local = shop.put(
        "c", type="LoadBalancer", allocateLoadBalancerNodePorts=False, externalTrafficPolicy="Local"
    )
    assert ("nodePort" in local["ports"][0], "healthCheckNodePort" in local) == (False, True)


def test_a_health_port_is_given_kept_and_released(shop: Shop) -> None:
    local: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    assert shop.put("a", **local, healthCheckNodePort=32100)["healthCheckNodePort"] == 32100
    assert shop.put("a", **local)["healthCheckNodePort"] == 32100
    field = "spec.healthCheckNodePort"
    moved = shop.refuse("a", **local, healthCheckNodePort=32101)
    assert (moved.field, "immutable" in moved.message) == (field, True)
    assert "already allocated" in shop.refuse("b", **local, healthCheckNodePort=32100).message
    assert "30000-32767" in shop.refuse("b", **local, healthCheckNodePort=10256).message
    twice = [{"port": 80, "nodePort": 32200, "protocol": "TCP"}]
    assert shop.refuse("b", **local, healthCheckNodePort=32200, ports=twice).field == field
    assert "healthCheckNodePort" not in shop.put("a", type="LoadBalancer", externalTrafficPolicy="Cluster")
    assert shop.put("b", **local, healthCheckNodePort=32100)["healthCheckNodePort"] == 32100


def test_a_health_port_cannot_be_a_node_port_that_the_service_has(shop: Shop) -> None:
    (port,) = shop.put(type="LoadBalancer")["ports"]
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 32300}]
    local: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports}
    assert "already allocated" in shop.refuse(**local, healthCheckNodePort=port["nodePort"]).message


def test_a_second_address_comes_and_goes() -> None:
    dual = Shop(V4, V6)
    first = dual.put()["clusterIP"]
    both = dual.put(ipFamilyPolicy="RequireDualStack")["clusterIPs"]
    assert (both[0], len(both)) == (first, 2)
    assert dual.refuse("other", clusterIPs=[both[1]]).field == "spec.clusterIPs"
    changed = dual.refuse(
        clusterIP=both[0], clusterIPs=[both[0], "2001:db8::99"], ipFamilyPolicy="RequireDualStack"
    )
    assert changed.field == "spec.clusterIPs[1]"
    assert dual.put(ipFamilyPolicy="SingleStack")["clusterIPs"] == [first]
    assert dual.put("other", clusterIPs=[both[1]])["clusterIP"] == both[1]
    dual.store.close()


def test_two_families_where_the_cluster_has_them() -> None:
    shop = Shop(V4, V6)
    assert shop.put("one")["ipFamilies"] == ["IPv4"]
    both = shop.put("both", ipFamilyPolicy="RequireDualStack")
    assert both["ipFamilies"] == ["IPv4", "IPv6"]
    assert [ipaddress.ip_address(a).version for a in both["clusterIPs"]] == [4, 6]
    six = shop.put("six", ipFamilies=["IPv6"])
    assert ipaddress.ip_address(six["clusterIP"]) in V6
    shop.store.close()


def test_families_that_the_cluster_has_not_are_refused(shop: Shop) -> None:
    assert shop.refuse(ipFamilies=["IPv6"]).field == "spec.ipFamilies[0]"
    assert shop.refuse(ipFamilyPolicy="RequireDualStack").field == "spec.ipFamilyPolicy"
    assert shop.put(ipFamilyPolicy="PreferDualStack")["ipFamilies"] == ["IPv4"]


def test_what_is_stored_counts_after_a_restart(shop: Shop) -> None:
    taken = shop.put("a", type="NodePort")
    again = ServiceAddresses(store=shop.store, cidrs=(V4,))
    fresh = a_service("b", type="NodePort")
    assert again.complete(fresh, None) == []
    assert fresh["spec"]["clusterIP"] != taken["clusterIP"]
    assert fresh["spec"]["ports"][0]["nodePort"] != taken["ports"][0]["nodePort"]
    (cause,) = again.complete(a_service("b", clusterIP=taken["clusterIP"]), None)
    assert "already allocated" in cause.message


def test_a_pool_goes_round() -> None:
    pool = Pool(1, 6, 2)
    for expected in (3, 4, 5, 6):
        assert pool.free() == expected
        pool.hold(expected, ("shop", "a"))
    assert pool.free() == 1
    pool.release(4, ("shop", "b"))
    assert pool.holder(4) == ("shop", "a")
    pool.release(4, ("shop", "a"))
    assert pool.free() == 4
