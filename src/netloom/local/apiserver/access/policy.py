"""The roles that every cluster has, and whom they are given to. Pure data.

Source: Kubernetes docs, "Using RBAC Authorization: default roles and role bindings", 1.34. What users have and what they may give
is Kubernetes' own; what the parts of our control plane and of a node have is in ours.py.
"""

from __future__ import annotations

from typing import Any

from netloom.local.apiserver.access.written import (
    AGGREGATE,
    aggregated,
    binding,
    cluster_binding,
    cluster_role,
    role,
)

LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_EVENTS = "create patch update @,events.k8s.io: events"
_REVIEWS = (
    "create @authentication.k8s.io: tokenreviews",
    "create @authorization.k8s.io: subjectaccessreviews",
)
_HEALTH = "/healthz /livez /readyz /version /version/"
_LEGACY = "daemonsets deployments {} ingresses networkpolicies replicasets replicasets/scale replicationcontrollers/scale"

_VIEW = (
    f"{_READ}: configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
    "replicationcontrollers/scale serviceaccounts services services/status",
    f"{_READ}: bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
    "resourcequotas resourcequotas/status",
    f"{_READ}: namespaces",
    f"{_READ} @discovery.k8s.io: endpointslices",
    f"{_READ} @apps: controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
    "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
    f"{_READ} @autoscaling: horizontalpodautoscalers horizontalpodautoscalers/status",
    f"{_READ} @batch: cronjobs cronjobs/status jobs jobs/status",
    f"{_READ} @extensions: {_LEGACY.format('daemonsets/status deployments/scale deployments/status ingresses/status replicasets/status')}",
    f"{_READ} @policy: poddisruptionbudgets poddisruptionbudgets/status",
    f"{_READ} @networking.k8s.io: ingresses ingresses/status networkpolicies",
)
_EDIT = (
    f"{_READ}: pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
    "impersonate: serviceaccounts",
    f"{_WRITE}: pods pods/attach pods/exec pods/portforward pods/proxy",
    "create: pods/eviction",
    f"{_WRITE}: configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
    "serviceaccounts services services/proxy",
    "create: serviceaccounts/token",
    f"{_WRITE} @apps: daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
    "statefulsets statefulsets/scale",
    f"{_WRITE} @autoscaling: horizontalpodautoscalers",
    f"{_WRITE} @batch: cronjobs jobs",
    f"{_WRITE} @extensions: {_LEGACY.format('deployments/rollback deployments/scale')}",
    f"{_WRITE} @policy: poddisruptionbudgets",
    f"{_WRITE} @networking.k8s.io: ingresses networkpolicies",
    f"{_WRITE} {_READ} @coordination.k8s.io: leases",
)
_ADMIN = (
    "create @authorization.k8s.io: localsubjectaccessreviews",
    f"{_WRITE} {_READ} @rbac.authorization.k8s.io: rolebindings roles",
)
_SCHEDULER = (
    _EVENTS,
    "create @coordination.k8s.io: leases",
    "get update @coordination.k8s.io: leases =kube-scheduler",
    f"{_READ}: nodes namespaces replicationcontrollers services persistentvolumeclaims persistentvolumes",
    f"delete {_READ}: pods",
    "create: bindings pods/binding",
    "patch update: pods/status",
    f"{_READ} @apps,extensions: replicasets",
    f"{_READ} @apps: statefulsets",
    f"{_READ} @policy: poddisruptionbudgets",
    f"{_READ} @storage.k8s.io: csinodes csidrivers csistoragecapacities",
    *_REVIEWS,
)
NODE = (
    "create @authentication.k8s.io: tokenreviews",
    "create @authorization.k8s.io: localsubjectaccessreviews subjectaccessreviews",
    f"{_READ}: services",
    f"create patch update {_READ}: nodes",
    "patch update: nodes/status pods/status",
    "create patch update: events",
    f"delete {_READ}: pods",
    "create: pods/eviction",
    f"{_READ}: configmaps secrets",
    "get: persistentvolumeclaims persistentvolumes endpoints",
    f"create {_READ} @certificates.k8s.io: certificatesigningrequests",
    "create delete get patch update @coordination.k8s.io: leases",
    "get @storage.k8s.io: volumeattachments",
    "create: serviceaccounts/token",
    "get patch update: persistentvolumeclaims/status",
    f"{_READ} @storage.k8s.io: csidrivers",
    "create delete get patch update @storage.k8s.io: csinodes",
    f"{_READ} @node.k8s.io: runtimeclasses",
)
"""What a kubelet may ask for; which objects of these, says the node authorizer (nodes.py). Pods are not made: no node has static ones."""

_CLUSTER_ROLES: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("* @*: *", "* @/: *"),
    "system:auth-delegator": _REVIEWS,
    "system:basic-user": (
        "create @authorization.k8s.io: selfsubjectaccessreviews selfsubjectrulesreviews",
        "create @authentication.k8s.io: selfsubjectreviews",
    ),
    "system:discovery": (
        "get @/: /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    ),
    "system:heapster": (f"{_READ}: events namespaces nodes pods", f"{_READ} @extensions: deployments"),
    "system:kube-aggregator": (f"{_READ}: endpoints services",),
    "system:kube-dns": ("list watch: endpoints services",),
    "system:kube-scheduler": _SCHEDULER,
    "system:kubelet-api-admin": (
        f"{_READ}: nodes",
        "proxy: nodes",
        "*: nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats",
    ),
    "system:monitoring": (
        "get @/: /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
    ),
    "system:node": NODE,
    "system:node-bootstrapper": (f"create {_READ} @certificates.k8s.io: certificatesigningrequests",),
    "system:node-problem-detector": ("get: nodes", "patch: nodes/status", _EVENTS),
    "system:node-proxier": (
        "list watch: endpoints services",
        f"{_READ}: nodes",
        _EVENTS,
        "list watch @discovery.k8s.io: endpointslices",
        "list watch @networking.k8s.io: servicecidrs",
    ),
    "system:persistent-volume-provisioner": (
        f"create delete {_READ}: persistentvolumes",
        f"update {_READ}: persistentvolumeclaims",
        f"{_READ} @storage.k8s.io: storageclasses",
        "watch: events",
        _EVENTS,
    ),
    "system:public-info-viewer": (f"get @/: {_HEALTH}",),
    "system:service-account-issuer-discovery": ("get @/: /.well-known/openid-configuration /openid/v1/jwks",),
    "system:volume-scheduler": (
        f"patch update {_READ}: persistentvolumeclaims persistentvolumes",
        f"{_READ} @storage.k8s.io: storageclasses",
    ),
}


def cluster_roles() -> list[dict[str, Any]]:
    """Kubernetes' own ClusterRoles."""
    plain = [cluster_role(name, lines, LABELS) for name, lines in sorted(_CLUSTER_ROLES.items())]
    return [
        aggregated("admin", LABELS),
        aggregated("edit", LABELS | {f"{AGGREGATE}admin": "true"}),
        aggregated("view", LABELS | {f"{AGGREGATE}edit": "true"}),
        cluster_role("system:aggregate-to-admin", _ADMIN, LABELS | {f"{AGGREGATE}admin": "true"}),
        cluster_role("system:aggregate-to-edit", _EDIT, LABELS | {f"{AGGREGATE}edit": "true"}),
        cluster_role("system:aggregate-to-view", _VIEW, LABELS | {f"{AGGREGATE}view": "true"}),
        *plain,
    ]


def cluster_bindings() -> list[dict[str, Any]]:
    """Whom Kubernetes gives them to."""
    everybody = ("group:system:authenticated", "group:system:unauthenticated")
    found = [
        cluster_binding("cluster-admin", "group:system:masters"),
        cluster_binding("system:basic-user", "group:system:authenticated"),
        cluster_binding("system:discovery", "group:system:authenticated"),
        cluster_binding("system:kube-dns", "account:kube-system:kube-dns"),
        cluster_binding("system:kube-scheduler", "user:system:kube-scheduler"),
        cluster_binding("system:monitoring", "group:system:monitoring"),
        cluster_binding("system:node"),  # nobody: nodes are known by the node authorizer
        cluster_binding("system:node-proxier", "user:system:kube-proxy"),
        cluster_binding("system:public-info-viewer", *everybody),
        cluster_binding("system:service-account-issuer-discovery", "group:system:serviceaccounts"),
        cluster_binding("system:volume-scheduler", "user:system:kube-scheduler"),
    ]
    return [_labelled(one) for one in found]


def roles() -> list[dict[str, Any]]:
    """Kubernetes' own Roles."""
    return [
        _labelled(role("kube-system", "extension-apiserver-authentication-reader", (
            f"{_READ}: configmaps =extension-apiserver-authentication",
        ))),
    ]  # fmt: skip


def bindings() -> list[dict[str, Any]]:
    """Whom they are given to: parts of the control plane."""
    readers = ("user:system:kube-controller-manager", "user:system:kube-scheduler")
    written = binding("kube-system", "system::extension-apiserver-authentication-reader", *readers)
    written["roleRef"]["name"] = "extension-apiserver-authentication-reader"
    return [_labelled(written)]


def _labelled(document: dict[str, Any]) -> dict[str, Any]:
    document["metadata"]["labels"] = document["metadata"].get("labels") or dict(LABELS)
    return document
