"""Which pod asks from which address: as it is now, of this node only, and nobody where two claim it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netloom.api.core import PodDNSConfig, PodDNSConfigOption
from netloom.model.names.askers import Asker, Askers, AskersDelta, asker_of
from netloom.model.names.records import NameSettings
from netloom.testing import builders as b

HERE = ip_address("10.244.1.3")
SETTINGS = NameSettings()
STANDARD = ("shop.svc.cluster.local", "svc.cluster.local", "cluster.local")


def pod(name: str = "shop/web", address: str = "10.244.1.3", **how):
    return b.pod(name, address, node="node-1", **how)


def fresh() -> Askers:
    return Askers(node="node-1", settings=SETTINGS)


@pytest.mark.parametrize(
    ("spec", "domains", "ndots"),
    [
        ({}, STANDARD, 5),
        ({"dns_policy": "ClusterFirstWithHostNet"}, STANDARD, 5),
        ({"dns_policy": "Default"}, (), 5),
        ({"dns_policy": "None"}, (), 1),
        ({"dns_policy": "None", "dns_config": PodDNSConfig(("Corp.Example.",))}, ("corp.example",), 1),
        ({"dns_config": PodDNSConfig(("corp.example", "cluster.local"))}, (*STANDARD, "corp.example"), 5),
        ({"dns_config": PodDNSConfig((), (PodDNSConfigOption("ndots", "2"),))}, STANDARD, 2),
        ({"dns_config": PodDNSConfig((), (PodDNSConfigOption("ndots", "99"),))}, STANDARD, 15),
        ({"dns_config": PodDNSConfig((), (PodDNSConfigOption("ndots"), PodDNSConfigOption("ndots", "x")))}, STANDARD, 5),
        ({"dns_config": PodDNSConfig(("no name",))}, (), 5),
    ],
)  # fmt: skip
def test_the_search_path_is_what_kubelet_writes(spec, domains, ndots):
    asker = asker_of(pod(**spec), SETTINGS)
    assert (asker.pod, asker.domains, asker.ndots) == ("shop/web", domains, ndots)


def test_pods_of_this_node_with_a_network_of_their_own():
    askers = fresh()
    delta = askers.update(
        {
            p.key: p
            for p in (
                pod(),
                b.pod("shop/far", "10.244.2.3", node="node-2"),
                pod("shop/host", "172.30.0.11", host_network=True),
                pod("shop/done", "10.244.1.9", phase="Succeeded"),
                pod("shop/new", ""),
            )
        }
    )
    assert delta.upserts == askers.state == {HERE: Asker("shop/web", STANDARD)}
    assert askers.update({}) == AskersDelta()
    assert askers.update({pod().key: pod()}).is_empty


def test_a_pod_that_leaves_or_changes_its_address_is_forgotten_there():
    askers = fresh()
    askers.update({pod().key: pod()})
    moved = askers.update({pod().key: pod(address="10.244.1.4")})
    assert (set(moved.upserts), moved.removals) == ({ip_address("10.244.1.4")}, (HERE,))
    assert askers.update({pod().key: None}).removals == (ip_address("10.244.1.4"),)
    assert askers.state == {}


def test_an_address_that_two_pods_claim_is_nobodys_until_one_has_gone():
    askers = fresh()
    old, new = pod(), pod("other/db")
    askers.update({old.key: old})
    assert askers.update({new.key: new}).upserts == {HERE: Asker("")}
    assert askers.update({old.key: None}).upserts[HERE].pod == "other/db"
    assert askers.state[HERE].domains[0] == "other.svc.cluster.local"
