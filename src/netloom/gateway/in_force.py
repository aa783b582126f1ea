"""How a node says what its gateway has in force: one Lease. In: numbers, ports, problems; out: the object, and back again. Pure.

One small object for each node that serves gateways, ``netloom-gateway-<node>`` in namespace kube-system, owned by the Node, so that it
goes with it. It is beside the agent's (``netloom-<node>``): the two are processes of their own. Not here: writing and watching.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from netloom.api.meta import KubeObject
from netloom.kube.resources import LEASES, NODES
from netloom.kube.versions import reached
from netloom.units import ObjectKey

NAMESPACE = "kube-system"
LABEL = "netloom.io/gateway-acks"
SELECTOR = f"{LABEL}=in-force"
_PREFIX = "netloom.io/"
_DOORS = "netloom.io/doors"
_PROBLEMS = "netloom.io/problems"
_LONGEST_NAME = 253
_MOST_PROBLEMS = 20
_LONGEST_PROBLEM = 300

TOLD = (
    "classes", "gateways", "listener_sets", "http_routes", "grpc_routes", "tls_routes", "tcp_routes", "udp_routes", "grants",
    "backend_tls", "ingress_classes", "ingresses", "traffic", "secrets",
)  # fmt: skip
"""Kinds that a node tells of. Not of endpoints and Services: they change all the time, and each change would be a write of each node."""

Versions = Mapping[str, str]
"""By kind (field names of ``GatewayView``): the resourceVersion up to which every event is in force."""


class Problem(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """Something that this node cannot do as it should."""

    problem: str
    kind: str = ""
    """Of the object that it is about, as namespace and name are; empty: it is about all gateways."""
    namespace: str = ""
    name: str = ""


class Told(msgspec.Struct, frozen=True):
    """What a node's gateway says of itself."""

    versions: Versions = {}
    doors: frozenset[int] = frozenset()
    """Ports at which it listens."""
    problems: tuple[Problem, ...] = ()

    def has(self, kind: str, version: str) -> bool:
        """Whether an object of this kind is in force as it was at this resourceVersion."""
        return reached(self.versions.get(kind, ""), version)


class GatewayLease(KubeObject, frozen=True):
    """coordination/v1 Lease, as far as it is read."""


def name_of(node: str) -> str:
    """Name of a node's Lease."""
    name = f"netloom-gateway-{node}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"netloom-gateway-{hashlib.sha256(node.encode()).hexdigest()}"


def key_of(node: str) -> ObjectKey:
    """Where a node's Lease is."""
    return ObjectKey(NAMESPACE, name_of(node))


def body(node: str, uid: str, told: Told, *, kinds: Iterable[str], renewed: str) -> dict[str, Any]:
    """The whole Lease; as a merge patch it changes one that is there to this.

    Args:
        node: name of the Node.
        uid: of the Node, which owns it.
        told: what is in force.
        kinds: all there are; those that are not told of are taken out.
        renewed: now, as RFC 3339 with microseconds (meta/v1 MicroTime).
    """
    key = key_of(node)
    problems = [
        msgspec.structs.replace(one, problem=one.problem[:_LONGEST_PROBLEM])
        for one in told.problems[:_MOST_PROBLEMS]
    ]
    annotations: dict[str, str | None] = {
        **{f"{_PREFIX}{kind}": told.versions.get(kind) or None for kind in kinds},
        _DOORS: " ".join(map(str, sorted(told.doors))),
        _PROBLEMS: msgspec.json.encode(problems).decode(),
    }
    return {
        "apiVersion": LEASES.api_version,
        "kind": LEASES.kind,
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "labels": {LABEL: "in-force"},
            "annotations": annotations,
            "ownerReferences": [
                {"apiVersion": NODES.api_version, "kind": NODES.kind, "name": node, "uid": uid}
            ],
        },
        "spec": {"holderIdentity": node, "renewTime": renewed},
    }


def without_nulls(lease: Mapping[str, Any]) -> dict[str, Any]:
    """The same to be created: what is not there yet need not be taken out."""
    metadata = dict(lease["metadata"])
    metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if v is not None}
    return {**lease, "metadata": metadata}


def node_of(lease: GatewayLease) -> str:
    """Whose it is: its owner's name; empty where its own name is not the one of its owner (somebody's copy), which is not believed."""
    owners = [owner.name for owner in lease.metadata.owner_references if owner.kind == NODES.kind]
    return owners[0] if len(owners) == 1 and lease.key == key_of(owners[0]) else ""


def told_by(lease: GatewayLease, kinds: Iterable[str]) -> Told:
    """What a Lease tells; what cannot be read counts as not said."""
    notes = lease.metadata.annotations
    versions = {kind: notes[f"{_PREFIX}{kind}"] for kind in kinds if notes.get(f"{_PREFIX}{kind}")}
    doors = frozenset(int(word) for word in notes.get(_DOORS, "").split() if word.isdecimal())
    return Told(versions, doors, _problems(notes.get(_PROBLEMS, "[]")))


def _problems(text: str) -> tuple[Problem, ...]:
    try:
        return msgspec.json.decode(text, type=tuple[Problem, ...])
    except msgspec.DecodeError:
        return ()


def lacking(
    told: Mapping[str, Told],
    *,
    nodes: Iterable[str],
    wanted: Sequence[tuple[str, str]],
    doors: Iterable[int] = (),
    subject: ObjectKey | None = None,
) -> tuple[str, ...]:
    """Which of these nodes have not what is wanted, each with what it lacks, in words; empty where all have it.

    Args:
        told: by node, what its gateway says.
        nodes: who is asked; one that has told nothing lacks everything.
        wanted: kinds and resourceVersions.
        doors: ports that must be open.
        subject: the Gateway; problems with others do not count.
    """
    ports = frozenset(doors)
    found = []
    for node in nodes:
        if (says := told.get(node)) is None:
            found.append(f"{node} has not told anything yet")
        elif problems := [p.problem for p in says.problems if not p.kind or _is_about(p, subject)]:
            found.append(f"{node}: {problems[0]}")
        elif behind := [kind for kind, version in wanted if not says.has(kind, version)]:
            found.append(f"{node} has not {behind[0].replace('_', ' ')} of this version in force yet")
        elif shut := sorted(ports - says.doors):
            found.append(f"{node} does not listen at port {shut[0]} yet")
    return tuple(found)


def _is_about(problem: Problem, subject: ObjectKey | None) -> bool:
    return subject is not None and ObjectKey(problem.namespace, problem.name) == subject
