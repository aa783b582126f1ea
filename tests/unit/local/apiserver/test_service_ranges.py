"""ServiceCIDR and IPAddress objects beside the Services that they are about."""

from __future__ import annotations

from typing import Any

from tests.unit.local.apiserver.conftest import Api, service

from netloom.local.apiserver.service_ranges import FINALIZER

ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
RANGES = "/apis/networking.k8s.io/v1/servicecidrs"


async def addresses(api: Api) -> dict[str, str]:
    """IPAddresses and whose they are."""
    items = (await api("GET", ADDRESSES)).ok()["items"]
    return {i["metadata"]["name"]: i["spec"]["parentRef"]["name"] for i in items}


def a_range(name: str, *cidrs: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs)},
    }


async def test_each_cluster_ip_has_its_object(api: Api) -> None:
    made = await api.create("services", service("cart"))
    ip = made["spec"]["clusterIP"]
    assert (await addresses(api))[ip] == "cart"
    record = (await api("GET", f"{ADDRESSES}/{ip}")).ok()
    assert record["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    parent = {k: v for k, v in record["spec"]["parentRef"].items() if v}
    assert parent == {"resource": "services", "namespace": "shop", "name": "cart"}
    (await api("DELETE", f"{ADDRESSES}/{ip}")).ok()
    assert (await addresses(api))[ip] == "cart", "it comes back: the Service has the address"
    alias = {
        "spec": {"type": "ExternalName", "externalName": "example.org", "clusterIP": None, "clusterIPs": None}
    }
    (await api.patch("services/cart", alias)).ok()
    assert ip not in await addresses(api)
    back = (await api.patch("services/cart", {"spec": {"type": "ClusterIP", "externalName": None}})).ok()
    assert (await addresses(api))[back["spec"]["clusterIP"]] == "cart"
    await api("DELETE", "services/cart")
    assert back["spec"]["clusterIP"] not in await addresses(api)


async def test_an_address_that_somebody_else_wrote_down_is_not_given(api: Api) -> None:
    taken = "10.96.7.7"
    parent = {"group": "example.org", "resource": "things", "name": "mine"}
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {"name": taken},
        "spec": {"parentRef": parent},
    }
    await api.create(ADDRESSES, body)
    wish = service("cart")
    wish["spec"]["clusterIP"] = taken
    (await api("POST", "services", wish)).refused(422, "Invalid")
    (await api("DELETE", f"{ADDRESSES}/{taken}")).ok()
    assert (await api.create("services", wish))["spec"]["clusterIP"] == taken


async def test_a_further_range_serves_and_stays_while_it_is_needed(api: Api) -> None:
    first = (await api("GET", f"{RANGES}/kubernetes")).ok()
    assert first["spec"]["cidrs"] == ["10.96.0.0/16"]
    await api.create(RANGES, a_range("more", "192.0.2.0/28"))
    more = (await api("GET", f"{RANGES}/more")).ok()
    assert more["metadata"]["finalizers"] == [FINALIZER]
    assert [(c["type"], c["status"]) for c in more["status"]["conditions"]] == [("Ready", "True")]
    wish = service("cart")
    wish["spec"]["clusterIP"] = "192.0.2.5"
    await api.create("services", wish)
    assert (await addresses(api))["192.0.2.5"] == "cart"
    await api("DELETE", f"{RANGES}/more")
    more = (await api("GET", f"{RANGES}/more")).ok()
    assert [(c["status"], c["reason"]) for c in more["status"]["conditions"]] == [("False", "Terminating")]
    other = service("late")
    other["spec"]["clusterIP"] = "192.0.2.6"
    (await api("POST", "services", other)).refused(422, "Invalid")
    await api("DELETE", "services/cart")
    await addresses(api)
    (await api("GET", f"{RANGES}/more")).refused(404, "NotFound")


async def test_type_changes_in_every_direction_keep_what_both_have(api: Api) -> None:
    kinds = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    for start in kinds:
        for end in kinds:
            body = service("turn")
            body["spec"]["type"] = start
            if start == "ExternalName":
                body["spec"]["externalName"] = "example.org"
            before = (await api.create("services", body))["spec"]
            change: dict[str, Any] = {
                "type": end,
                "externalName": "example.org" if end == "ExternalName" else None,
            }
            if end == "ExternalName":
                change |= {"clusterIP": None, "clusterIPs": None}
            after = (await api.patch("services/turn", {"spec": change})).ok()["spec"]
            assert ("clusterIP" in after) is (end != "ExternalName"), (start, end)
            if "ExternalName" not in {start, end}:
                assert after["clusterIP"] == before["clusterIP"]
            has_port = "nodePort" in after["ports"][0]
            assert has_port is (end in {"NodePort", "LoadBalancer"}), (start, end)
            if has_port and "nodePort" in before["ports"][0]:
                assert after["ports"][0]["nodePort"] == before["ports"][0]["nodePort"]
            held = await addresses(api)
            expected = [after["clusterIP"]] if end != "ExternalName" else []
            assert [ip for ip, name in held.items() if name == "turn"] == expected
            await api("DELETE", "services/turn")
