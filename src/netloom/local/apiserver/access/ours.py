"""The roles of our own processes: each has an identity of its own, and what it needs. Pure data.

Comes in: nothing. Goes out: ClusterRoles and bindings beside Kubernetes' own (policy.py), and the names by which processes are
known. A process of a node is ``netloom:PART:NODE``, of the group of its part; a runner is what a kubelet is, ``system:node:NODE``.
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver.access.identity import Identity, authenticated
from netloom.local.apiserver.access.written import binding, cluster_binding, cluster_role, role

PREFIX = "netloom:"
LABELS = {"netloom.io/bootstrapping": "local-cluster"}
CONTROLLERS = authenticated("system:kube-controller-manager", ())
SCHEDULER = authenticated("system:kube-scheduler", ())
CLIENT = authenticated(f"{PREFIX}client", ())
"""The place outside: finds the Services that are published."""
PARTS = ("agent", "speaker", "gateway")
"""Processes of each node with credentials of their own."""

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_EVENTS = "create get patch update @,events.k8s.io: events"
_LEASES = f"create delete patch update {_READ} @coordination.k8s.io: leases"
_ATTACHED = "@k8s.cni.cncf.io: network-attachment-definitions"
_GATEWAY_STATUS = (
    "gatewayclasses/status gateways/status listenersets/status httproutes/status grpcroutes/status tlsroutes/status "
    "tcproutes/status udproutes/status backendtlspolicies/status"
)
_ROLES: dict[str, tuple[str, ...]] = {
    f"{PREFIX}agents": (
        f"{_READ}: endpoints namespaces nodes pods services",
        f"{_READ} @discovery.k8s.io: endpointslices",
        f"{_READ} @networking.k8s.io: ingresses networkpolicies servicecidrs",
        f"{_READ} @policy.networking.k8s.io: *",
        f"{_READ} @gateway.networking.k8s.io: *",
        f"{_READ} @netloom.io: *",
        f"{_READ} {_ATTACHED}",
        f"{_WRITE} @netloom.io: ipblocks ipblocks/status networkleases",
        "patch update @netloom.io: egressgateways/status",
        "patch: nodes pods/status",  # notes on the own Node; readiness gates, what networks a pod has
        _LEASES,
        _EVENTS,
    ),
    f"{PREFIX}speakers": (
        f"{_READ}: namespaces nodes pods services",
        f"{_READ} @discovery.k8s.io: endpointslices",
        f"{_READ} @netloom.io: *",
        "patch update @netloom.io: bgppeers/status egressgateways/status loadbalancerpools/status",
        "patch update: services/status",
        "get list watch: secrets",  # passwords of peers stand in Secrets that BGPPeers name
        _LEASES,
        _EVENTS,
    ),
    f"{PREFIX}gateways": (
        f"{_READ}: configmaps namespaces nodes pods secrets services",
        f"{_READ} @discovery.k8s.io: endpointslices",
        f"{_READ} @networking.k8s.io: ingresses ingressclasses",
        f"{_READ} @gateway.networking.k8s.io: *",
        f"{_READ} @netloom.io: *",
        f"patch update @gateway.networking.k8s.io: {_GATEWAY_STATUS}",
        "patch update @networking.k8s.io: ingresses/status",
        "patch update @netloom.io: trafficpolicies/status",
        _LEASES,
        _EVENTS,
    ),
    f"{PREFIX}client": (f"{_READ}: services",),
    f"{PREFIX}controllers": (
        # emptying namespaces and collecting garbage is about every kind, custom ones too
        f"delete deletecollection patch update {_READ} @*: *",
        "create: bindings configmaps endpoints events namespaces persistentvolumes pods pods/binding pods/eviction secrets "
        "serviceaccounts serviceaccounts/token services",
        "create: persistentvolumeclaims replicationcontrollers",
        "create @events.k8s.io: events",
        "create @storage.k8s.io: storageclasses",
        "create @apps: controllerrevisions replicasets",
        "create @batch: jobs cronjobs",
        "create @coordination.k8s.io: leases",
        "create @discovery.k8s.io: endpointslices",
        "create @networking.k8s.io: ipaddresses servicecidrs",
        "create @netloom.io: *",
        "create @authentication.k8s.io: tokenreviews",
        "create @authorization.k8s.io: subjectaccessreviews",
        "escalate @rbac.authorization.k8s.io: clusterroles",  # adds up aggregated ones
        "get @/: /healthz /livez /readyz /metrics /openapi/* /version",
    ),
}


def cluster_roles() -> list[dict[str, Any]]:
    """What our processes may do."""
    return [cluster_role(name, lines, LABELS) for name, lines in sorted(_ROLES.items())]


def cluster_bindings() -> list[dict[str, Any]]:
    """Which of them."""
    found = [
        *(cluster_binding(group_of(part), f"group:{group_of(part)}") for part in PARTS),
        cluster_binding(f"{PREFIX}client", f"user:{CLIENT.user}"),
        cluster_binding(f"{PREFIX}controllers", f"user:{CONTROLLERS.user}"),
        cluster_binding(f"{PREFIX}scheduler", f"user:{CONTROLLERS.user}", role_name="system:kube-scheduler"),
    ]
    return [_labelled(one) for one in found]


def roles() -> list[dict[str, Any]]:
    """What speakers share: a key, which the first of them makes."""
    return [_labelled(role("kube-system", f"{PREFIX}speakers", ("create: secrets",)))]


def bindings() -> list[dict[str, Any]]:
    """Which of them."""
    return [_labelled(binding("kube-system", f"{PREFIX}speakers", f"group:{group_of('speaker')}"))]


def group_of(part: str) -> str:
    """The group of the processes of this part."""
    return f"{PREFIX}{part}s"


def user_of(part: str, node: str) -> str:
    """The user that a part of a node is."""
    return f"{PREFIX}{part}:{node}"


def sockets(local: dict[str, str]) -> dict[str, Identity]:
    """Who opens which unix socket; ``local`` has the paths by the name of the part."""
    known = {"controllers": CONTROLLERS, "scheduler": SCHEDULER, "client": CLIENT}
    return {path: known[part] for part, path in local.items()}


def _labelled(document: dict[str, Any]) -> dict[str, Any]:
    document["metadata"]["labels"] = dict(LABELS)
    return document
