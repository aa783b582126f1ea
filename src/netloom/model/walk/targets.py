"""What the user typed, as origin and destination.

Comes in: text such as ``shop/web``, ``deploy/web``, ``svc/cart:http``, ``cart.shop:80``, ``10.1.2.3:53/udp``, ``[::1]:80``,
``node/node-1:22``, ``internet``. Goes out: Origin, Destination. Not here: addresses of names and Services (``resolve.py``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import msgspec

from netloom.api.core import Pod
from netloom.errors import NotFound, UsageError
from netloom.model.names.records import is_domain_name
from netloom.model.routes.local_pods import given_addresses, is_finished
from netloom.model.walk.cluster import ClusterModel
from netloom.model.walk.packet import (
    AddressTarget,
    Destination,
    InternetTarget,
    NameTarget,
    NodeTarget,
    Origin,
    OriginKind,
    PodTarget,
    ServiceTarget,
    Target,
    UrlTarget,
)
from netloom.model.walk.urls import Asked, is_url, read_url
from netloom.units import Addr, ObjectKey, Protocol, parse_addr

INTERNET = "internet"
_KINDS = {
    "po": "pod", "pod": "pod", "pods": "pod",
    "svc": "service", "service": "service", "services": "service",
    "no": "node", "node": "node", "nodes": "node",
    "deploy": "Deployment", "deployment": "Deployment", "deployments": "Deployment",
    "rs": "ReplicaSet", "replicaset": "ReplicaSet",
    "sts": "StatefulSet", "statefulset": "StatefulSet",
    "ds": "DaemonSet", "daemonset": "DaemonSet",
    "job": "Job",
}  # fmt: skip
_PROTOCOL = re.compile(r"(?P<rest>.+)/(?P<protocol>tcp|udp|sctp)", re.IGNORECASE)
_PORT_NAME = re.compile(r"(?=.{1,15}$)[a-z0-9]+(-[a-z0-9]+)*")
_FORMS = "write namespace/name, svc/name, pod/name, deploy/name, node/name, a DNS name, an address, a URL, or internet"


class Written(msgspec.Struct, frozen=True):
    """A destination's text, taken apart."""

    host: str
    port: int | str | None
    protocol: Protocol | None


def read_origin(text: str, cluster: ClusterModel, namespace: str = "default") -> Origin:
    """The sender; names without a namespace are of ``namespace``.

    Raises:
        UsageError: the text is none of the forms.
        NotFound: there is no such object.
    """
    if text == INTERNET:
        return Origin(OriginKind.OUTSIDE, "a client outside of the cluster")
    address = parse_addr(text.removeprefix("[").removesuffix("]"))
    if address is not None:
        return _origin_at(address, cluster)
    kind, key = _read_reference(text, namespace)
    if kind == "node" or (
        not kind and "/" not in text and _pod_named(key, cluster) is None and key.name in cluster.nodes
    ):
        return _node_origin(key.name, cluster)
    if kind == "service":
        raise UsageError(f"{text}: a Service sends nothing", "name one of its pods: pod/name or deploy/name")
    pod, note = _find_pod(kind, key, cluster)
    if pod is None:
        raise _not_found(text, kind or "pod or workload", key, cluster)
    return _pod_origin(pod, note, cluster)


def read_destination(
    text: str, cluster: ClusterModel, namespace: str = "default", asked: Asked | None = None
) -> Destination:
    """The receiver; names of objects without a namespace are of ``namespace`` (the sender's, if it is a pod).

    Of a URL ``asked`` is the rest of the request.

    Raises:
        UsageError: the text is none of the forms, or its port is no port.
        NotFound: there is no such object.
    """
    if is_url(text):
        return Destination(text, UrlTarget(read_url(text), asked or Asked()))
    written = split(text)
    return Destination(
        text, _read_target(text, written.host, cluster, namespace), written.port, written.protocol
    )


def _read_target(text: str, host: str, cluster: ClusterModel, namespace: str) -> Target:
    if host == INTERNET:
        return InternetTarget()
    address = parse_addr(host)
    if address is not None:
        return AddressTarget(address)
    if "/" not in host:
        if not is_domain_name(host.lower().removesuffix(".")):
            raise UsageError(f"{text!r}: {host!r} is no DNS name", _FORMS)
        return NameTarget(host.lower())
    kind, key = _read_reference(host, namespace)
    if kind == "node":
        _require_node(key.name, cluster)
        return NodeTarget(key.name)
    if kind in ("", "service") and key in cluster.view.services:
        return ServiceTarget(key)
    pod, note = (None, "") if kind == "service" else _find_pod(kind, key, cluster)
    if pod is None:
        raise _not_found(text, kind or "Service, pod or workload", key, cluster)
    return PodTarget(pod.key, note)


def split(text: str) -> Written:
    """Host, port and protocol. A protocol needs a port before it, or a host that cannot be read as ``namespace/name``.

    Raises:
        UsageError: the port is none, or an IPv6 address with a port has no brackets.
    """
    rest, protocol = text, None
    match = _PROTOCOL.fullmatch(text)
    if match is not None and re.search(r"[/.:\]]", match["rest"]):
        rest, protocol = match["rest"], Protocol(match["protocol"].upper())
    if parse_addr(rest) is not None:
        return Written(rest, None, protocol)
    if rest.startswith("["):
        host, closed, port = rest[1:].partition("]")
        if not closed or parse_addr(host) is None or (port and not port.startswith(":")):
            raise UsageError(f"{text!r}: no IPv6 address in brackets", "write [2001:db8::1]:80")
        return Written(host, _read_port(text, port[1:]) if port else None, protocol)
    host, colon, port = rest.rpartition(":")
    if not colon:
        return Written(rest, None, protocol)
    if ":" in host:
        raise UsageError(
            f"{text!r}: which part is the port?", "write an IPv6 address in brackets: [2001:db8::1]:80"
        )
    if not host:
        raise UsageError(f"{text!r}: a port, but whose?", _FORMS)
    return Written(host, _read_port(text, port), protocol)


def _read_port(text: str, port: str) -> int | str:
    if port.isascii() and port.isdigit():
        if 1 <= int(port) <= 65535:
            return int(port)
    elif _PORT_NAME.fullmatch(port):
        return port
    raise UsageError(f"{text!r}: {port!r} is no port", "use 1 to 65535, or the name of a port")


def _read_reference(text: str, namespace: str) -> tuple[str, ObjectKey]:
    """Kind (empty where none is said) and key."""
    parts = text.split("/")
    if not all(parts) or len(parts) > 3:
        raise UsageError(f"{text!r}: cannot be read", _FORMS)
    if len(parts) == 1:
        return "", ObjectKey(namespace, text)
    kind = _KINDS.get(parts[0].lower())
    if len(parts) == 2:
        return (kind, ObjectKey(namespace, parts[1])) if kind else ("", ObjectKey(parts[0], parts[1]))
    if kind is None:
        raise UsageError(
            f"{text!r}: {parts[0]!r} is no kind", "use pod, svc, deploy, rs, sts, ds, job or node"
        )
    return kind, ObjectKey(parts[1], parts[2])


def _find_pod(kind: str, key: ObjectKey, cluster: ClusterModel) -> tuple[Pod | None, str]:
    """The pod of this name, or one that stands for the workload of this name, with a note that says so."""
    if kind in ("", "pod"):
        pod = _pod_named(key, cluster)
        if pod is not None or kind == "pod":
            return pod, ""
    members = [p for p in cluster.view.pods.values() if key == _workload_key(p, kind)]
    if not members:
        return None, ""
    best = min(
        members, key=lambda p: (is_finished(p), not given_addresses(p), not p.is_ready, p.metadata.name)
    )
    owner = kind or workload_of(best)[0]
    of_several = f" (1 of {len(members)} pods)" if len(members) > 1 else ""
    return best, f"{best.metadata.name} stands for {owner} {key}{of_several}"


def _pod_named(key: ObjectKey, cluster: ClusterModel) -> Pod | None:
    return cluster.view.pods.get(key)


def _workload_key(pod: Pod, kind: str) -> ObjectKey | None:
    owner, name = workload_of(pod, wanted=kind)
    return ObjectKey(pod.metadata.namespace, name) if name and kind in ("", owner) else None


def workload_of(pod: Pod, wanted: str = "") -> tuple[str, str]:
    """Kind and name of what controls a pod.

    A ReplicaSet that a Deployment made stands for it: its name is the Deployment's and the label ``pod-template-hash``
    (apps/v1).
    """
    for owner in pod.metadata.owner_references:
        if not owner.controller:
            continue
        template = pod.metadata.labels.get("pod-template-hash", "")
        if (
            owner.kind == "ReplicaSet"
            and wanted != "ReplicaSet"
            and template
            and owner.name.endswith(f"-{template}")
        ):
            return "Deployment", owner.name.removesuffix(f"-{template}")
        return owner.kind, owner.name
    return "", ""


def _origin_at(address: Addr, cluster: ClusterModel) -> Origin:
    pod = cluster.pod_at(address)
    if pod is not None:
        return _pod_origin(pod, f"it has {address}", cluster)
    node = cluster.node_at(address)
    if node is not None:
        return _node_origin(node, cluster)
    return Origin(OriginKind.OUTSIDE, f"{address}, outside of the cluster", (address,))


def _node_origin(name: str, cluster: ClusterModel) -> Origin:
    _require_node(name, cluster)
    return Origin(OriginKind.NODE, f"node {name}", cluster.nodes[name].addresses, name)


def _pod_origin(pod: Pod, note: str, cluster: ClusterModel) -> Origin:
    node = pod.spec.node_name
    addresses = tuple(a for _, text in given_addresses(pod) if (a := parse_addr(text)) is not None)
    text = f"pod {pod.key}"
    if pod.spec.host_network:
        own = cluster.nodes[node].addresses if node in cluster.nodes else addresses
        return Origin(OriginKind.NODE, f"{text} (hostNetwork)", own, node, pod.key, note)
    return Origin(OriginKind.POD, text, () if is_finished(pod) else addresses, node, pod.key, note)


def _require_node(name: str, cluster: ClusterModel) -> None:
    if name not in cluster.nodes:
        raise NotFound(f"no node {name}", _near(name, cluster.nodes) or "see kubectl get nodes")


def _not_found(text: str, kind: str, key: ObjectKey, cluster: ClusterModel) -> NotFound:
    known = _known(cluster, kind)
    same_name = sorted(str(k) for k in known if k.name == key.name)
    if same_name:
        hint = f"there is {' and '.join(same_name)}"
    else:
        hint = _near(key.name, sorted({k.name for k in known if k.namespace == key.namespace}))
    return NotFound(f"{text}: no {kind} {key}", hint or f"see kubectl get pods,services -n {key.namespace}")


def _known(cluster: ClusterModel, kind: str) -> set[ObjectKey]:
    known: set[ObjectKey] = set()
    if kind in ("service", "Service, pod or workload"):
        known.update(cluster.view.services)
    if kind != "service":
        known.update(cluster.view.pods)
        known.update(key for p in cluster.view.pods.values() if (key := _workload_key(p, "")) is not None)
    return known


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
