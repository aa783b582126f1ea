"""What every cluster has from the start: the system namespaces, our classes of gateways and Ingresses, and the ``kubernetes`` Service.

Comes in: an empty or an older store. Goes out: the missing objects, made like any client would make them.
Source: kube-apiserver creates the same ones, but for the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.local.apiserver import kinds, kinds_custom, strategy
from netloom.local.apiserver.kind import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import WriteOptions
from netloom.units import Addr, Cidr

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
CLASS = "netloom"
"""Name of our GatewayClass, and of our IngressClass."""
GATEWAY_CLASS = {
    "metadata": {"name": CLASS},
    "spec": {
        "controllerName": "netloom.io/gateway",
        "description": "Gateways served by HAProxy on every node",
    },
}
INGRESS_CLASS = {
    "metadata": {"name": CLASS, "annotations": {strategy.DEFAULT_CLASS_ANNOTATION: "true"}},
    "spec": {"controller": "netloom.io/ingress"},
}
_OPTIONS = WriteOptions(manager="kube-apiserver", validation="Ignore")


class Advertised(msgspec.Struct, frozen=True):
    """Where pods and nodes reach this server: endpoints of the ``kubernetes`` Service."""

    addresses: tuple[Addr, ...]
    """One of each family of Services that this server is reached in, the default family first."""
    port: int


def ensure(objects: Objects, *, cidrs: Sequence[Cidr], advertised: Advertised | None) -> None:
    """Create what is missing; bring the endpoint of ``kubernetes`` up to date.

    Raises:
        StorageError: the store cannot be written.
    """
    for name in NAMESPACES:
        _ensure(objects, kinds.NAMESPACES, "", {"metadata": {"name": name}})
    _ensure(objects, kinds_custom.GATEWAY_CLASSES, "", GATEWAY_CLASS)
    _ensure(objects, kinds.INGRESS_CLASSES, "", INGRESS_CLASS)
    if advertised is None:
        return
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": advertised.port}
    _ensure(
        objects,
        kinds.SERVICES,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {**_cluster_ips(cidrs, advertised), "ports": [port]},
        },
    )
    address = str(advertised.addresses[0])
    endpoint_port = {"name": "https", "port": advertised.port, "protocol": "TCP"}
    _ensure(
        objects,
        kinds.ENDPOINTS,
        "default",
        {
            "metadata": {
                "name": "kubernetes",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": address}], "ports": [endpoint_port]}],
        },
        refresh=True,
    )
    for number, served in enumerate(advertised.addresses):
        _ensure(
            objects,
            kinds.ENDPOINT_SLICES,
            "default",
            {
                "metadata": {
                    "name": f"kubernetes-ipv{served.version}" if number else "kubernetes",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": f"IPv{served.version}",
                "endpoints": [{"addresses": [str(served)], "conditions": {"ready": True}}],
                "ports": [endpoint_port],
            },
            refresh=True,
        )


def _cluster_ips(cidrs: Sequence[Cidr], advertised: Advertised) -> dict[str, Any]:
    """The first address of each range in whose family this server is reached."""
    families = {address.version for address in advertised.addresses}
    texts = [str(cidr.network_address + 1) for cidr in cidrs if cidr.version in families]
    if len(texts) < 2:
        return {"clusterIP": texts[0]}
    return {"clusterIP": texts[0], "clusterIPs": texts, "ipFamilyPolicy": "PreferDualStack"}


def _ensure(
    objects: Objects, kind: Kind, namespace: str, body: dict[str, Any], *, refresh: bool = False
) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    live = objects.store.get(kind, namespace, body["metadata"]["name"])
    if live is None:
        objects.create(kind, namespace, document, _OPTIONS)
    elif refresh:
        objects.update(live, document, _OPTIONS)
