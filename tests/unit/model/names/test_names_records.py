"""The Kubernetes DNS specification 1.1 as text: manifests in, zone file out."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import msgspec
import pytest

from netloom.api.core import Namespace
from netloom.api.discovery import Endpoint, EndpointPort, EndpointSlice
from netloom.model.inputs import Changes, ClusterFacts, ClusterView
from netloom.model.names.names import Names
from netloom.model.names.records import NameSettings, RecordSet, RecordType, merge, zone_file
from netloom.model.names.reverse import reverse_name, reverse_zones
from netloom.testing import builders as b
from netloom.units import ObjectKey

SETTINGS = NameSettings(
    reverse_cidrs=(ip_network("10.96.0.0/16"), ip_network("10.244.0.0/16"), ip_network("2001:db8:96::/112")),
    dns_addresses=(ip_address("10.96.0.10"),),
)
BASE = set(zone_file(Names.compute(ClusterView(), SETTINGS).names).splitlines())


def named(hostname: str, endpoint: Endpoint) -> Endpoint:
    return msgspec.structs.replace(endpoint, hostname=hostname)


def without_zonal(text: str) -> str:
    """What a headless Service has besides its zonal names, which have tests of their own."""
    return "\n".join(line for line in text.splitlines() if "_zone." not in line)


def records(*objects: object) -> str:
    """What the objects add to an empty cluster, comments (names without records) last."""
    text = zone_file(Names.compute(b.view(*objects), SETTINGS).names)
    lines = [line for line in text.splitlines() if line not in BASE]
    return "\n".join(sorted(lines, key=lambda line: line.startswith(";")))


def expected(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def headless(name: str = "shop/db", **spec: object):
    return b.service(name, "None", ports=(b.port(5432, "pg"),), **spec)


def test_the_empty_cluster_has_its_zones_and_the_schema_version():
    lines = zone_file(Names.compute(ClusterView(), SETTINGS).names)
    assert "cluster.local. 5 IN NS ns.dns.cluster.local\n" in lines
    assert (
        "cluster.local. 5 IN SOA ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 0\n" in lines
    )
    assert "ns.dns.cluster.local. 5 IN A 10.96.0.10\n" in lines
    assert "dns-version.cluster.local. 5 IN TXT 1.1.0\n" in lines
    assert "96.10.in-addr.arpa. 5 IN NS ns.dns.cluster.local\n" in lines
    assert "; svc.cluster.local.\n" in lines
    assert "; pod.cluster.local.\n" in lines
    assert "; dns.cluster.local.\n" in lines


def test_a_cluster_ip_service_has_address_named_ports_and_reverse_name():
    web = b.service(
        "shop/web", "10.96.0.5", ports=(b.port(80, "http"), b.port(53, "dns", protocol="UDP"), b.port(443))
    )
    assert records(web) == expected(
        """
        5.0.96.10.in-addr.arpa. 5 IN PTR web.shop.svc.cluster.local
        web.shop.svc.cluster.local. 5 IN A 10.96.0.5
        _http._tcp.web.shop.svc.cluster.local. 5 IN SRV 0 100 80 web.shop.svc.cluster.local
        _dns._udp.web.shop.svc.cluster.local. 5 IN SRV 0 100 53 web.shop.svc.cluster.local
        ; 0.96.10.in-addr.arpa.
        ; shop.svc.cluster.local.
        ; _tcp.web.shop.svc.cluster.local.
        ; _udp.web.shop.svc.cluster.local.
        """
    )


def test_dual_stack_gives_both_families():
    lines = records(b.service("shop/web", "10.96.0.5", "2001:db8:96::5"))
    assert "web.shop.svc.cluster.local. 5 IN A 10.96.0.5" in lines
    assert "web.shop.svc.cluster.local. 5 IN AAAA 2001:db8:96::5" in lines
    pointer = reverse_name(ip_address("2001:db8:96::5"))
    assert f"{pointer}. 5 IN PTR web.shop.svc.cluster.local" in lines


def test_a_service_without_an_address_yet_has_no_name():
    assert records(b.service("shop/web", "", ports=(b.port(80, "http"),))) == ""


def test_a_headless_service_names_its_ready_endpoints_by_hostname_or_address():
    piece = b.endpoint_slice(
        "shop/db-1",
        "db",
        named("db-0", b.endpoint("10.244.1.3")),
        b.endpoint("10.244.2.4"),
        named("db-2", b.endpoint("10.244.1.9", ready=False)),
        ports=(("pg", 15432),),
    )
    assert without_zonal(records(headless(), piece)) == expected(
        """
        3.1.244.10.in-addr.arpa. 5 IN PTR db-0.db.shop.svc.cluster.local
        4.2.244.10.in-addr.arpa. 5 IN PTR 10-244-2-4.db.shop.svc.cluster.local
        db.shop.svc.cluster.local. 5 IN A 10.244.1.3
        db.shop.svc.cluster.local. 5 IN A 10.244.2.4
        10-244-2-4.db.shop.svc.cluster.local. 5 IN A 10.244.2.4
        _pg._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 15432 10-244-2-4.db.shop.svc.cluster.local
        _pg._tcp.db.shop.svc.cluster.local. 5 IN SRV 0 100 15432 db-0.db.shop.svc.cluster.local
        db-0.db.shop.svc.cluster.local. 5 IN A 10.244.1.3
        ; 1.244.10.in-addr.arpa.
        ; 2.244.10.in-addr.arpa.
        ; shop.svc.cluster.local.
        ; _tcp.db.shop.svc.cluster.local.
        """
    )


def test_zonal_names_lead_to_the_endpoints_of_a_zone_or_rather_to_them():
    def placed(address: str, zone: str | None):
        return msgspec.structs.replace(b.endpoint(address), zone=zone)

    piece = b.endpoint_slice(
        "shop/db-1",
        "db",
        placed("10.244.1.3", "eu.West-1a"),
        placed("10.244.2.4", "b"),
        placed("10.244.2.5", None),
        placed("10.244.2.6", "bad..zone"),
        ports=(("pg", 5432),),
    )
    lines = [
        line for line in records(headless(), piece).splitlines() if "_zone." in line and "SRV" not in line
    ]
    zone = "_zone.db.shop.svc.cluster.local."
    assert sorted(lines) == sorted([
        *(f"*.prefer.{zone} 5 IN A 10.244.{i}" for i in ("1.3", "2.4", "2.5", "2.6")),
        f"b.pin.{zone} 5 IN A 10.244.2.4",
        f"b.prefer.{zone} 5 IN A 10.244.2.4",
        f"eu.west-1a.pin.{zone} 5 IN A 10.244.1.3",
        f"eu.west-1a.prefer.{zone} 5 IN A 10.244.1.3",
        *(f"; {name}{zone}" for name in ("*.pin.", "", "pin.", "prefer.", "west-1a.pin.", "west-1a.prefer.")),
    ])  # fmt: skip
    servers = [line for line in records(headless(), piece).splitlines() if line.startswith("b.pin")]
    assert servers[-1] == f"b.pin.{zone} 5 IN SRV 0 100 5432 10-244-2-4.db.shop.svc.cluster.local"
    assert "_zone" not in records(b.service("shop/web", "10.96.0.5"), piece)
    assert "_zone" not in records(headless()), "no endpoint, no name"


def test_publish_not_ready_addresses_shows_all_endpoints():
    piece = b.endpoint_slice("shop/db-1", "db", named("db-2", b.endpoint("10.244.1.9", ready=False)))
    assert "10.244.1.9" not in records(headless(), piece)
    assert "db-2.db.shop.svc.cluster.local. 5 IN A 10.244.1.9" in records(
        headless(publish_not_ready_addresses=True), piece
    )


def test_a_headless_service_without_ready_endpoints_has_no_name():
    names = Names.compute(b.view(headless()), SETTINGS).names
    assert "db.shop.svc.cluster.local" not in names


def test_several_endpoints_may_share_a_hostname():
    piece = b.endpoint_slice(
        "shop/db-1", "db", named("db-0", b.endpoint("10.244.1.3")), named("DB-0", b.endpoint("10.244.1.4"))
    )
    lines = records(headless(), piece)
    assert "db-0.db.shop.svc.cluster.local. 5 IN A 10.244.1.3" in lines
    assert "db-0.db.shop.svc.cluster.local. 5 IN A 10.244.1.4" in lines


def test_an_ipv6_endpoint_is_named_by_its_short_form():
    piece = b.endpoint_slice("shop/db-1", "db", b.endpoint("2001:db8::1:3"), address_type="IPv6")
    assert "2001-db8--1-3.db.shop.svc.cluster.local. 5 IN AAAA 2001:db8::1:3" in records(headless(), piece)


def test_endpoints_of_a_cluster_ip_service_are_named_only_by_hostname():
    piece = b.endpoint_slice(
        "shop/web-1", "web", named("web-0", b.endpoint("10.244.1.3")), b.endpoint("10.244.1.4")
    )
    lines = records(b.service("shop/web", "10.96.0.5"), piece)
    assert "web-0.web.shop.svc.cluster.local. 5 IN A 10.244.1.3" in lines
    assert "3.1.244.10.in-addr.arpa. 5 IN PTR web-0.web.shop.svc.cluster.local" in lines
    assert "10.244.1.4" not in lines
    assert [line for line in lines.splitlines() if line.startswith("web.shop")] == [
        "web.shop.svc.cluster.local. 5 IN A 10.96.0.5"
    ]


def test_a_slice_of_another_service_or_none_adds_nothing():
    piece = b.endpoint_slice("shop/db-1", "other", b.endpoint("10.244.1.3"))
    orphan = b.endpoint_slice("shop/db-2", "", b.endpoint("10.244.1.3"))
    assert records(headless(), piece, orphan) == ""


def test_external_name_is_an_alias():
    alias = b.service("shop/api", type="ExternalName", external_name="API.Example.org.")
    assert records(alias) == expected(
        """
        api.shop.svc.cluster.local. 5 IN CNAME api.example.org
        ; shop.svc.cluster.local.
        """
    )


@pytest.mark.parametrize(
    "target", ["192.0.2.7", "2001:db8::7", "no name", "a..b", "", "x" * 64 + ".example.org"]
)
def test_external_name_that_is_no_name_is_found_and_left_out(target: str):
    state = Names.compute(b.view(b.service("shop/api", type="ExternalName", external_name=target)), SETTINGS)
    assert "api.shop.svc.cluster.local" not in state.names
    assert [f.source.field for f in state.findings] == ["spec.externalName"]


def test_bad_ports_hostnames_and_addresses_are_found_and_the_rest_stays():
    web = b.service("shop/web", "10.96.0.5", "nonsense", ports=(b.port(80, "no_label"), b.port(81, "ok")))
    piece = b.endpoint_slice("shop/db-1", "db", named("under_score", b.endpoint("10.244.1.3")))
    state = Names.compute(b.view(web, headless(), piece), SETTINGS)
    assert [f.source.field for f in state.findings] == [
        "endpoints.hostname",
        "spec.clusterIPs[1]",
        "spec.ports[0].name",
    ]
    assert "_ok._tcp.web.shop.svc.cluster.local" in state.names
    assert "10-244-1-3.db.shop.svc.cluster.local" in state.names


def test_a_service_whose_name_is_no_label_is_found_and_left_out():
    state = Names.compute(b.view(b.service("shop/we.b", "10.96.0.5")), SETTINGS)
    assert [str(f.source) for f in state.findings] == ["Service shop/we.b: metadata.name"]


def test_a_pod_has_a_name_while_it_has_not_ended():
    assert records(b.pod("shop/web-1", "10.244.1.3", "2001:db8::3")) == expected(
        """
        10-244-1-3.shop.pod.cluster.local. 5 IN A 10.244.1.3
        2001-db8--3.shop.pod.cluster.local. 5 IN AAAA 2001:db8::3
        ; shop.pod.cluster.local.
        """
    )
    assert records(b.pod("shop/web-1", "10.244.1.3", phase="Succeeded")) == ""


def test_a_namespace_exists_without_anything_in_it():
    assert records(Namespace(metadata=b.meta("empty"))) == expected(
        """
        ; empty.pod.cluster.local.
        ; empty.svc.cluster.local.
        """
    )


def test_services_that_share_an_endpoint_share_its_reverse_name():
    slices = [b.endpoint_slice(f"shop/{n}-1", n, named("p", b.endpoint("10.244.1.3"))) for n in ("db", "all")]
    names = Names.compute(b.view(headless(), headless("shop/all"), *slices), SETTINGS).names
    assert names["3.1.244.10.in-addr.arpa"] == (
        RecordSet(RecordType.PTR, ("p.all.shop.svc.cluster.local", "p.db.shop.svc.cluster.local"), 5),
    )


def test_a_reverse_name_outside_of_our_zones_claims_nothing_around_it():
    piece = b.endpoint_slice("shop/db-1", "db", named("far", b.endpoint("192.0.2.9")))
    names = Names.compute(b.view(headless(), piece), SETTINGS).names
    assert "9.2.0.192.in-addr.arpa" in names
    assert "2.0.192.in-addr.arpa" not in names


@pytest.mark.parametrize(
    ("cidr", "first", "count"),
    [
        ("10.96.0.0/16", "96.10.in-addr.arpa", 1),
        ("10.96.0.0/12", "96.10.in-addr.arpa", 16),
        ("10.244.3.0/24", "3.244.10.in-addr.arpa", 1),
        ("192.0.2.128/25", "128.2.0.192.in-addr.arpa", 128),
        ("0.0.0.0/0", "in-addr.arpa", 1),
        ("2001:db8::/32", "8.b.d.0.1.0.0.2.ip6.arpa", 1),
        ("2001:db8::/30", "8.b.d.0.1.0.0.2.ip6.arpa", 4),
    ],
)
def test_reverse_zones_hold_exactly_the_network(cidr: str, first: str, count: int):
    zones = reverse_zones(ip_network(cidr))
    assert zones[0] == first
    assert len(zones) == len(set(zones)) == count
    inside = ip_network(cidr)[-1]
    assert sum(reverse_name(inside).endswith("." + z) or reverse_name(inside) == z for z in zones) == 1


def test_settings_come_from_the_facts_of_the_cluster():
    facts = ClusterFacts(
        cluster_cidrs=(ip_network("10.244.0.0/16"),),
        service_cidrs=(ip_network("10.96.0.0/16"),),
        dns_addresses=(ip_address("10.96.0.10"),),
        cluster_domain="Corp.Example.",
    )
    settings = NameSettings.from_facts(facts)
    assert settings.cluster_domain == "corp.example"
    assert settings.reverse_cidrs == (ip_network("10.244.0.0/16"), ip_network("10.96.0.0/16"))
    names = Names.compute(b.view(b.service("shop/web", "10.96.0.5")), settings).names
    assert "web.shop.svc.corp.example" in names


def test_merge_is_a_union_with_the_smallest_ttl():
    one = (RecordSet(RecordType.A, ("10.0.0.2",), 30),)
    two = (
        RecordSet(RecordType.A, ("10.0.0.1", "10.0.0.2"), 5),
        RecordSet(RecordType.AAAA, ("2001:db8::1",), 5),
    )
    assert (
        merge([one, two])
        == merge([two, one])
        == (
            RecordSet(RecordType.A, ("10.0.0.1", "10.0.0.2"), 5),
            RecordSet(RecordType.AAAA, ("2001:db8::1",), 5),
        )
    )


def test_one_endpoint_more_touches_only_its_service():
    names = Names(SETTINGS)
    first = b.endpoint_slice("shop/db-1", "db", named("db-0", b.endpoint("10.244.1.3")))
    others = [b.service(f"shop/web-{i}", f"10.96.1.{i}") for i in range(50)]
    names.update(b.changes(headless(), first, *others))
    both = b.endpoint_slice(
        "shop/db-1", "db", named("db-0", b.endpoint("10.244.1.3")), named("db-1", b.endpoint("10.244.1.4"))
    )
    delta = names.update(b.changes(both))
    assert set(delta.upserts) == {
        "*.prefer._zone.db.shop.svc.cluster.local",
        "db.shop.svc.cluster.local",
        "db-1.db.shop.svc.cluster.local",
        "4.1.244.10.in-addr.arpa",
    }
    assert delta.removals == ()
    back = names.update(b.changes(first))
    assert set(back.upserts) == {"*.prefer._zone.db.shop.svc.cluster.local", "db.shop.svc.cluster.local"}
    assert back.removals == ("4.1.244.10.in-addr.arpa", "db-1.db.shop.svc.cluster.local")


def test_the_last_object_takes_the_names_above_it_along():
    names = Names(SETTINGS)
    empty = names.state
    names.update(b.changes(b.service("shop/web", "10.96.0.5", ports=(b.port(80, "http"),))))
    delta = names.update(Changes(services={ObjectKey("shop", "web"): None}))
    assert "shop.svc.cluster.local" in delta.removals
    assert names.state == empty


def test_sources_name_the_objects_behind_a_name():
    names = Names(SETTINGS)
    slices: list[EndpointSlice] = [
        b.endpoint_slice(f"shop/{n}-1", n, named("p", b.endpoint("10.244.1.3")), ports=(EndpointPort(),))
        for n in ("db", "all")
    ]
    names.update(b.changes(headless(), headless("shop/all"), *slices))
    assert [s.subject for s in names.sources("3.1.244.10.in-addr.arpa")] == [
        "Service shop/all",
        "Service shop/db",
    ]
    assert [s.subject for s in names.sources("db.shop.svc.cluster.local")] == ["Service shop/db"]
    assert names.sources("shop.svc.cluster.local") == ()
    assert names.sources("nowhere.example.org") == ()
