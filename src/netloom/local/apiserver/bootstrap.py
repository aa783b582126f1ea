"""What every cluster has from the start: the system namespaces, and the ``kubernetes`` Service in ``default``.

Comes in: an empty or an older store. Goes out: the missing objects, made like any client would make them.
Source: kube-apiserver creates the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from netloom.local.apiserver import kinds
from netloom.local.apiserver.kinds import Kind
from netloom.local.apiserver.objects import Objects
from netloom.local.apiserver.queries import WriteOptions
from netloom.units import Addr, Cidr

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_OPTIONS = WriteOptions(manager="kube-apiserver", validation="Ignore")


class Advertised(msgspec.Struct, frozen=True):
    """Where pods and nodes reach this server: endpoints of the ``kubernetes`` Service."""

    address: Addr
    port: int


def ensure(objects: Objects, *, cidrs: Sequence[Cidr], advertised: Advertised | None) -> None:
    """Create what is missing; bring the endpoint of ``kubernetes`` up to date.

    Raises:
        StorageError: the store cannot be written.
    """
    for name in NAMESPACES:
        _ensure(objects, kinds.NAMESPACES, "", {"metadata": {"name": name}})
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
            "spec": {"clusterIP": str(cidrs[0].network_address + 1), "ports": [port]},
        },
    )
    address = str(advertised.address)
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
    _ensure(
        objects,
        kinds.ENDPOINT_SLICES,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": f"IPv{advertised.address.version}",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [endpoint_port],
        },
        refresh=True,
    )


def _ensure(
    objects: Objects, kind: Kind, namespace: str, body: dict[str, Any], *, refresh: bool = False
) -> None:
    document = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
    live = objects.store.get(kind, namespace, body["metadata"]["name"])
    if live is None:
        objects.create(kind, namespace, document, _OPTIONS)
    elif refresh:
        objects.update(live, document, _OPTIONS)
