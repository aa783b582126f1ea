"""How a node says what it has in force: one Lease. In: a node and its numbers; out: the object, and back again. Pure.

One small object for each node, `netloom-<node>` in namespace kube-system, owned by the Node, so that it goes with it. Not in
kube-node-lease: there the names of all nodes are taken (a node may well be called "netloom-a"), and who may write one of them
could keep a dead node alive. Not here: writing and watching.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.api.coordination import Lease
from netloom.api.core import Node
from netloom.kube.resources import LEASES, NODES
from netloom.kube.versions import is_number, reached
from netloom.model.inputs import Changes
from netloom.units import ObjectKey

NAMESPACE = "kube-system"
LABEL = "netloom.io/acks"
SELECTOR = f"{LABEL}=in-force"
_PREFIX = "netloom.io/"
_LONGEST_NAME = 253

KINDS = Changes.__struct_fields__
"""What is told of; the annotation is `netloom.io/<kind>`."""

Versions = Mapping[str, str]
"""By kind, the resourceVersion up to which every event is in force."""


class Wanted(msgspec.Struct, frozen=True, order=True):
    """An object that is to be in force, as it was at this resourceVersion."""

    subject: str
    """Kind, namespace and name, such as ``EndpointSlice shop/cart-x7``."""
    kind: str
    version: str


class Lack(msgspec.Struct, frozen=True, order=True):
    """A node that does not have what is wanted."""

    node: str
    wanted: Wanted
    in_force: str
    """What the node has of this kind; empty where it has told nothing yet."""

    def __str__(self) -> str:
        if not self.in_force:
            return f"{self.node} has not told that {self.wanted.subject} is in force; look whether its agent or gateway runs"
        at = f"{self.wanted.kind} up to resourceVersion {self.in_force}"
        return f"{self.node} has not {self.wanted.subject} at {self.wanted.version} in force, but {at}"


def name_of(node: str) -> str:
    """Name of a node's Lease."""
    name = f"netloom-{node}"
    return name if len(name) <= _LONGEST_NAME else f"netloom-{hashlib.sha256(node.encode()).hexdigest()}"


def key_of(node: str) -> ObjectKey:
    """Where a node's Lease is."""
    return ObjectKey(NAMESPACE, name_of(node))


def body(node: str, uid: str, versions: Versions, *, renewed: str) -> dict[str, Any]:
    """The whole Lease; as a merge patch it changes one that is there to this.

    Args:
        node: name of the Node.
        uid: of the Node, which owns it.
        versions: what is in force.
        renewed: now, as RFC 3339 with microseconds (meta/v1 MicroTime).
    """
    key = key_of(node)
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "labels": {LABEL: "in-force"},
            "annotations": {f"{_PREFIX}{kind}": versions[kind] for kind in KINDS if versions.get(kind)},
            "ownerReferences": [
                {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": node, "uid": uid}
            ],
        },
        "spec": {"holderIdentity": node, "renewTime": renewed},
    }


def versions_in(lease: Lease) -> Versions:
    """What a Lease tells."""
    told = lease.metadata.annotations
    return {kind: told[f"{_PREFIX}{kind}"] for kind in KINDS if told.get(f"{_PREFIX}{kind}")}


def node_of(lease: Lease) -> str:
    """Whose it is; empty where its name is not the one of its holder (somebody's copy), which is not believed."""
    node = lease.spec.holder_identity
    return node if node and lease.key == key_of(node) else ""


def ready_and_not(nodes: Iterable[Node]) -> tuple[list[str], list[str]]:
    """Names of the nodes that are waited for, and of those that are not: a node that is not Ready may never answer."""
    ready: list[str] = []
    unready: list[str] = []
    for node in nodes:
        (ready if node.is_ready else unready).append(node.metadata.name)
    return sorted(ready), sorted(unready)


def lacking(wanted: Iterable[Wanted], nodes: Iterable[str], told: Mapping[str, Versions]) -> tuple[Lack, ...]:
    """Which of these nodes lack what; empty where all of it is in force on all of them."""
    wants = tuple(wanted)
    return tuple(
        Lack(node, want, at)
        for node in nodes
        for want in wants
        if not reached(at := told.get(node, {}).get(want.kind, ""), want.version)
    )


def strictest(wanted: Iterable[Wanted]) -> tuple[Wanted, ...]:
    """Of each kind only the newest: who has that has the others. All of them where a version is no number."""
    newest: dict[str, Wanted] = {}
    opaque: list[Wanted] = []
    for want in wanted:
        if not is_number(want.version):
            opaque.append(want)
        elif (other := newest.get(want.kind)) is None or not reached(other.version, want.version):
            newest[want.kind] = want
    return (*newest.values(), *opaque)
