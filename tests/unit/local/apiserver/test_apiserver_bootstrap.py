"""What a fresh cluster has of its own: the `kubernetes` Service, in one family or in both."""

import ipaddress

import pytest

from netloom.clock import SystemClock
from netloom.local.apiserver import bootstrap, kinds
from netloom.local.apiserver.allocate import ServiceAddresses
from netloom.local.apiserver.bootstrap import Advertised
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.store import Store

V4, V6 = ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("fd00:10:96::/112")
GATEWAYS = {4: ipaddress.ip_address("172.30.0.1"), 6: ipaddress.ip_address("fd00:172:30::1")}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store.db")
    yield store
    store.close()


def made(store, cidrs, families):
    services = ServiceAddresses(store=store, cidrs=cidrs)
    objects = Objects(store=store, clock=SystemClock(), services=services)
    advertised = Advertised(tuple(GATEWAYS[f] for f in families), 6443)
    for _ in range(2):  # a cluster that is started again
        bootstrap.ensure(objects, cidrs=cidrs, advertised=advertised)
    spec = store.get(kinds.SERVICES, "default", "kubernetes").document()["spec"]
    slices = [r.document() for r in store.scan(kinds.ENDPOINT_SLICES)]
    endpoints = store.get(kinds.ENDPOINTS, "default", "kubernetes").document()
    told = sorted((s["addressType"], s["endpoints"][0]["addresses"]) for s in slices)
    return spec, told, endpoints["subsets"][0]["addresses"]


def test_one_family(store):
    spec, slices, endpoints = made(store, [V4], [4])
    assert (spec["clusterIPs"], spec["ipFamilies"]) == (["10.96.0.1"], ["IPv4"])
    assert spec["ipFamilyPolicy"] == "SingleStack"
    assert slices == [("IPv4", ["172.30.0.1"])]
    assert endpoints == [{"ip": "172.30.0.1"}]


def test_both_families_the_first_one_first(store):
    spec, slices, endpoints = made(store, [V6, V4], [6, 4])
    assert spec["clusterIPs"] == ["fd00:10:96::1", "10.96.0.1"]
    assert spec["ipFamilies"] == ["IPv6", "IPv4"]
    assert slices == [("IPv4", ["172.30.0.1"]), ("IPv6", ["fd00:172:30::1"])]
    assert endpoints == [{"ip": "fd00:172:30::1"}]


def test_a_family_in_which_the_server_is_not_reached_is_not_promised(store):
    spec, slices, _ = made(store, [V4, V6], [4])
    assert spec["clusterIPs"] == ["10.96.0.1"]
    assert slices == [("IPv4", ["172.30.0.1"])]
