"""What a fresh cluster has besides what the API server makes by itself. In: addresses; out: objects.

Service kube-system/kube-dns, LoadBalancerPool default, StorageClass standard. May be repeated: what is there and right is not
written, what differs is put right. Not here: the first namespaces and Service `kubernetes` (apiserver/bootstrap.py), what every
namespace gets (controllers/namespace.py), nodes (runners register them).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from netloom.errors import AlreadyExists
from netloom.kube.client import KubeClient
from netloom.kube.resources import LOAD_BALANCER_POOLS, SERVICES, STORAGE_CLASSES
from netloom.local.controllers.storage.plan import DEFAULT_CLASS, PROVISIONER
from netloom.units import Addr, ObjectKey

DNS = ObjectKey("kube-system", "kube-dns")
POOL = "default"
STORAGE_CLASS = "standard"


async def bootstrap(client: KubeClient, *, dns: Sequence[Addr], load_balancers: Sequence[str] = ()) -> None:
    """Make Service kube-system/kube-dns, LoadBalancerPool default and StorageClass standard.

    It has no selector and no endpoints: each node's own DNS server answers its addresses.

    Args:
        client: with full rights.
        dns: its ClusterIPs, one a family.
        load_balancers: ranges of the pool; none: no pool. A pool of that name that is there stays as it is.

    Raises:
        InvalidObject: the addresses are not of the Service range, or taken.
    """
    body = dns_service(dns)
    try:
        await client.create(SERVICES, body)
    except AlreadyExists:
        there = await client.get(SERVICES, DNS)
        if there["spec"].get("ports") != body["spec"]["ports"]:
            await client.patch(SERVICES, DNS, {"spec": {"ports": body["spec"]["ports"]}})
    with contextlib.suppress(AlreadyExists):
        await client.create(STORAGE_CLASSES, storage_class())
    if load_balancers:
        with contextlib.suppress(AlreadyExists):
            await client.create(LOAD_BALANCER_POOLS, load_balancer_pool(load_balancers))


def storage_class() -> dict[str, Any]:
    """The class of claims that name none: a directory for each, which every node of the cluster has."""
    return {
        "apiVersion": STORAGE_CLASSES.api_version,
        "kind": STORAGE_CLASSES.kind,
        "metadata": {"name": STORAGE_CLASS, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def load_balancer_pool(ranges: Sequence[str]) -> dict[str, Any]:
    """The pool from which Services of type LoadBalancer get addresses without asking."""
    return {
        "apiVersion": LOAD_BALANCER_POOLS.api_version,
        "kind": LOAD_BALANCER_POOLS.kind,
        "metadata": {"name": POOL},
        "spec": {
            "cidrs": [text for text in ranges if "/" in text],
            "ranges": [text for text in ranges if "/" not in text],
        },
    }


def dns_service(addresses: Sequence[Addr]) -> dict[str, Any]:
    """Service kube-dns, named and labelled as every cluster has it."""
    texts = [str(a) for a in addresses]
    return {
        "apiVersion": SERVICES.api_version,
        "kind": SERVICES.kind,
        "metadata": {
            "namespace": DNS.namespace,
            "name": DNS.name,
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "kube-dns"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": texts[0],
            "clusterIPs": texts,
            "ipFamilyPolicy": "PreferDualStack" if len(texts) > 1 else "SingleStack",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }
