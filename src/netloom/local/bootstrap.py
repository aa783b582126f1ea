"""What a fresh cluster has: its first namespaces, and the Services `kubernetes` and `kube-dns`. In: addresses; out: objects.

May be repeated: what is there and right is not written, what is there and differs is put right. Not here: what every
namespace gets (controllers/namespace.py), and nodes (their runners register them).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from netloom.api.discovery import SERVICE_NAME_LABEL
from netloom.errors import AlreadyExists
from netloom.kube.client import KubeClient
from netloom.kube.resources import ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, SERVICES, Resource
from netloom.units import Addr, ObjectKey, family_of

FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_NO_MIRROR = "endpointslice.kubernetes.io/skip-mirror"


async def bootstrap(
    client: KubeClient,
    *,
    kubernetes: Sequence[Addr],
    dns: Sequence[Addr],
    api_addresses: Sequence[Addr],
    api_port: int = 6443,
) -> None:
    """Make what a fresh cluster has.

    Args:
        client: with full rights.
        kubernetes: ClusterIPs of Service default/kubernetes, one a family.
        dns: ClusterIPs of Service kube-system/kube-dns, one a family. It has no endpoints: each node answers itself.
        api_addresses: where nodes and pods reach the API server.
        api_port: its port there.
    """
    for name in FIRST_NAMESPACES:
        await _ensure(client, NAMESPACES, _body(NAMESPACES, "", name))
    first = kubernetes[0].version
    near = [a for a in api_addresses if a.version == first]
    by_family = {
        family: [a for a in api_addresses if family_of(a) is family]
        for family in dict.fromkeys(family_of(a) for a in api_addresses)
    }
    await asyncio.gather(
        _ensure(client, SERVICES, _kubernetes_service(kubernetes, api_port), fields=("spec",)),
        _ensure(client, SERVICES, _dns_service(dns), fields=("spec",)),
        _ensure(client, ENDPOINTS, _kubernetes_endpoints(near, api_port), fields=("subsets",)),
        *(
            _ensure(
                client,
                ENDPOINT_SLICES,
                _kubernetes_slice(family.address_type, addresses, api_port),
                fields=("endpoints", "ports"),
            )
            for family, addresses in by_family.items()
        ),
    )


async def _ensure(
    client: KubeClient, resource: Resource, body: dict[str, Any], *, fields: tuple[str, ...] = ()
) -> None:
    """Create the object; one that is there gets those ``fields`` that differ."""
    try:
        await client.create(resource, body)
    except AlreadyExists:
        metadata = body["metadata"]
        key = ObjectKey(metadata.get("namespace", ""), metadata["name"])
        there = await client.get(resource, key)
        wrong = {f: body[f] for f in fields if not _says(there.get(f), body[f])}
        if wrong:
            await client.patch(resource, key, wrong)


def _says(there: object, wish: object) -> bool:
    """What is there contains the wish: the server adds defaults."""
    if isinstance(wish, dict):
        return isinstance(there, dict) and all(_says(there.get(k), v) for k, v in wish.items())
    if isinstance(wish, list):
        return (
            isinstance(there, list)
            and len(there) == len(wish)
            and all(_says(t, w) for t, w in zip(there, wish, strict=True))
        )
    return there == wish


def _body(resource: Resource, namespace: str, name: str) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _service(
    namespace: str, name: str, addresses: Sequence[Addr], labels: dict[str, str], ports: list[dict[str, Any]]
) -> dict[str, Any]:
    body = _body(SERVICES, namespace, name)
    body["metadata"]["labels"] = labels
    texts = [str(a) for a in addresses]
    body["spec"] = {"type": "ClusterIP", "clusterIP": texts[0], "clusterIPs": texts, "ports": ports}
    return body


def _kubernetes_service(addresses: Sequence[Addr], api_port: int) -> dict[str, Any]:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": api_port}
    return _service("default", "kubernetes", addresses, labels, [port])


def _dns_service(addresses: Sequence[Addr]) -> dict[str, Any]:
    labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "kube-dns"}
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]
    return _service("kube-system", "kube-dns", addresses, labels, ports)


def _kubernetes_endpoints(addresses: Sequence[Addr], port: int) -> dict[str, Any]:
    body = _body(ENDPOINTS, "default", "kubernetes")
    body["metadata"]["labels"] = {_NO_MIRROR: "true"}
    body["subsets"] = [
        {
            "addresses": [{"ip": str(a)} for a in addresses],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        }
    ]
    return body


def _kubernetes_slice(address_type: str, addresses: Sequence[Addr], port: int) -> dict[str, Any]:
    body = _body(ENDPOINT_SLICES, "default", "kubernetes" if address_type == "IPv4" else "kubernetes-ipv6")
    body["metadata"]["labels"] = {SERVICE_NAME_LABEL: "kubernetes"}
    body["addressType"] = address_type
    body["endpoints"] = [{"addresses": [str(a)], "conditions": {"ready": True}} for a in addresses]
    body["ports"] = [{"name": "https", "port": port, "protocol": "TCP"}]
    return body
