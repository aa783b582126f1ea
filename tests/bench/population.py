"""N ClusterIP Services with endpoints that nobody has: documents for a store, and the same as the model reads them.

Service ``svc-I`` in namespace ``load`` has an address of its own, one TCP port, and one EndpointSlice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.api.core import Node, Service
from netloom.api.discovery import EndpointSlice
from netloom.local.apiserver import kinds
from netloom.local.apiserver.store import Store
from netloom.local.bootstrap import dns_service
from netloom.local.settings import ClusterSettings
from netloom.model.inputs import ClusterView
from netloom.units import ObjectKey

NAMESPACE = "load"
ENDPOINTS = 5
PORT = 80
TARGET_PORT = 8080
_CREATED = "2024-01-01T00:00:00Z"
_FIRST_SERVICE = int(ipaddress.IPv4Address("10.96.16.0"))
_FIRST_POD = int(ipaddress.IPv4Address("10.244.64.0"))
_POD_ADDRESSES = 40_000


def cluster_ip(number: int) -> str:
    """Address of a Service."""
    return str(ipaddress.IPv4Address(_FIRST_SERVICE + number))


def number_at(packed: bytes) -> int:
    """The Service that has this address."""
    return int.from_bytes(packed) - _FIRST_SERVICE


def pod_address(number: int) -> str:
    """Address of an endpoint; they repeat where there are more than a cluster's range holds, on other Services."""
    return str(ipaddress.IPv4Address(_FIRST_POD + number % _POD_ADDRESSES))


def endpoints_of(number: int) -> list[str]:
    """Addresses of the endpoints of a Service."""
    return [pod_address(number * ENDPOINTS + i) for i in range(ENDPOINTS)]


def endpoint(address: str, pod: str) -> dict[str, Any]:
    """One entry of a slice, with all that the EndpointSlice controller writes."""
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "node-2",
        "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": pod, "uid": f"uid-{pod}"},
    }


def endpoints(number: int, addresses: Sequence[str]) -> list[dict[str, Any]]:
    """``endpoints`` of the slice of a Service."""
    return [endpoint(address, f"svc-{number}-{i}") for i, address in enumerate(addresses)]


def _meta(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "creationTimestamp": _CREATED,
        "labels": {"app": name},
        **more,
    }


def service(number: int) -> dict[str, Any]:
    """Service ``svc-NUMBER`` as the API server stores it."""
    name = f"svc-{number}"
    address = cluster_ip(number)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(name),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": name},
            "ports": [{"name": "http", "protocol": "TCP", "port": PORT, "targetPort": TARGET_PORT}],
        },
        "status": {"loadBalancer": {}},
    }


def slice_(number: int) -> dict[str, Any]:
    """Its EndpointSlice."""
    name = f"svc-{number}"
    labels = {
        "app": name,
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": f"uid-{name}", "controller": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            **_meta(f"{name}-abcde", generateName=f"{name}-", generation=1, ownerReferences=[owner]),
            "labels": labels,
        },
        "addressType": "IPv4",
        "endpoints": endpoints(number, endpoints_of(number)),
        "ports": [{"name": "http", "protocol": "TCP", "port": TARGET_PORT}],
    }


def node(name: str, address: str, pod_cidr: str) -> dict[str, Any]:
    """A Node that is up."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "uid": f"uid-{name}", "creationTimestamp": _CREATED, "labels": {}},
        "spec": {"podCIDR": pod_cidr, "podCIDRs": [pod_cidr]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def namespace() -> dict[str, Any]:
    """The namespace of all Services."""
    meta = {"name": NAMESPACE, "uid": "uid-namespace", "creationTimestamp": _CREATED, "labels": {}}
    spec: dict[str, Any] = {"finalizers": ["kubernetes"]}
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta, "spec": spec}
    return document | {"status": {"phase": "Active"}}


NODES = (("node-1", "172.30.0.11", "10.244.0.0/24"), ("node-2", "172.30.0.12", "10.244.1.0/24"))


def pod(name: str) -> dict[str, Any]:
    """A Pod that has been scheduled to the first node and has no network yet."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _meta(name),
        "spec": {"nodeName": NODES[0][0], "containers": [{"name": "app", "image": "app:1"}]},
        "status": {"phase": "Pending"},
    }


def fill(path: Path, count: int, pods: Iterable[str] = ()) -> None:
    """A store file with two nodes, this many Services, and pods by these names on the first node."""
    store = Store(path)
    try:
        store.put(kinds.NAMESPACES, namespace())
        for one in NODES:
            store.put(kinds.NODES, node(*one))
        store.put(kinds.SERVICES, dns())
        for number in range(count):
            store.put(kinds.SERVICES, service(number))
            store.put(kinds.ENDPOINT_SLICES, slice_(number))
        for name in pods:
            store.put(kinds.PODS, pod(name))
    finally:
        store.close()


def dns() -> dict[str, Any]:
    """Service kube-dns, without which its address would belong to no Service and be refused."""
    document = dns_service(ClusterSettings().dns_addresses)
    document["metadata"] |= {"uid": "uid-dns", "creationTimestamp": _CREATED}
    return document


class Turns:
    """Changes, each of another Service until all have had one: one endpoint more, or the former ones again.

    Of all changes of an endpoint these ask most of the kernel: the Service changes its class.
    """

    def __init__(self, services: int) -> None:
        self._services = services
        self._larger = [False] * services
        self._turn = 0

    def next(self) -> tuple[int, list[str]]:
        """Number of the Service, and its endpoints from now on."""
        number = self._turn * 7919 % self._services  # a prime that divides none of our sizes
        self._turn += 1
        addresses = endpoints_of(number)
        self._larger[number] = not self._larger[number]
        if self._larger[number]:
            addresses.append(str(ipaddress.IPv4Address("10.244.8.0") + number % 4096))
        return number, addresses


def typed_service(number: int) -> Service:
    """As the agent reads it."""
    return msgspec.convert(service(number), Service)


def typed_slice(number: int, addresses: Sequence[str] | None = None) -> EndpointSlice:
    """As the agent reads it; with other endpoints where they are given."""
    document = slice_(number)
    if addresses is not None:
        document["endpoints"] = endpoints(number, addresses)
    return msgspec.convert(document, EndpointSlice)


def view(count: int) -> ClusterView:
    """The whole, as the agent reads it."""
    services = [typed_service(number) for number in range(count)]
    slices = [typed_slice(number) for number in range(count)]
    nodes = [msgspec.convert(node(*one), Node) for one in NODES]
    return ClusterView(
        services={one.key: one for one in services},
        slices={one.key: one for one in slices},
        nodes={ObjectKey("", one.metadata.name): one for one in nodes},
    )
