"""The kinds that are served: Kubernetes' own here, with those of kinds_custom.py in one table; and how they are found.

Pure data. What a kind's fields mean is elsewhere (defaults, validation, columns). Source: Kubernetes API reference 1.37.
"""

from __future__ import annotations

from collections.abc import Iterable

from netloom.local.apiserver import kinds_custom
from netloom.local.apiserver.kind import SCALE, Face, Kind, Subresource, status_of

NAMESPACES = Kind(
    "", "v1", "Namespace", "namespaces", "namespace", namespaced=False, short_names=("ns",),
    subresources=(Subresource("finalize", "Namespace", ("update",)), status_of("Namespace")),
    selectable=("status.phase",),
)  # fmt: skip
NODES = Kind(
    "", "v1", "Node", "nodes", "node", namespaced=False, short_names=("no",),
    subresources=(status_of("Node"),),
    selectable=("spec.unschedulable",),
)  # fmt: skip
PODS = Kind(
    "", "v1", "Pod", "pods", "pod", short_names=("po",), categories=("all",),
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", ("get", "patch", "update")),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        status_of("Pod"),
    ),
    selectable=(
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    counts_generations=True,
)  # fmt: skip
SERVICES = Kind(
    "", "v1", "Service", "services", "service", short_names=("svc",), categories=("all",),
    subresources=(status_of("Service"),),
    selectable=("spec.clusterIP", "spec.type"),
)  # fmt: skip
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", short_names=("ep",))
CONFIG_MAPS = Kind("", "v1", "ConfigMap", "configmaps", "configmap", short_names=("cm",))
SECRETS = Kind("", "v1", "Secret", "secrets", "secret", selectable=("type",))
SERVICE_ACCOUNTS = Kind(
    "", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", short_names=("sa",),
    subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1"),),
)  # fmt: skip
EVENTS = Kind(
    "", "v1", "Event", "events", "event", short_names=("ev",),
    selectable=(
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    ),
)  # fmt: skip
_ABOUT = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
NEW_EVENTS = Face(
    group="events.k8s.io", version="v1", kind="Event", plural="events", singular="event", short_names=("ev",),
    selectable=("reason", "reportingController", "type", *(f"regarding.{field}" for field in _ABOUT)),
    kept=EVENTS,
    renamed=(
        ("reportingController", "reportingComponent"),
        *((f"regarding.{field}", f"involvedObject.{field}") for field in _ABOUT),
    ),
)  # fmt: skip
"""The same objects as EVENTS."""
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease")
DEPLOYMENTS = Kind(
    "apps", "v1", "Deployment", "deployments", "deployment", short_names=("deploy",), categories=("all",),
    subresources=(SCALE, status_of("Deployment")),
    counts_generations=True,
)  # fmt: skip
REPLICA_SETS = Kind(
    "apps", "v1", "ReplicaSet", "replicasets", "replicaset", short_names=("rs",), categories=("all",),
    subresources=(SCALE, status_of("ReplicaSet")),
    selectable=("status.replicas",),
    counts_generations=True,
)  # fmt: skip
ENDPOINT_SLICES = Kind(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", counts_generations=True
)
NETWORK_POLICIES = Kind(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", short_names=("netpol",),
    counts_generations=True,
)  # fmt: skip
INGRESSES = Kind(
    "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", short_names=("ing",),
    subresources=(status_of("Ingress"),),
    counts_generations=True,
)  # fmt: skip
INGRESS_CLASSES = Kind(
    "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", namespaced=False,
    counts_generations=True,
)  # fmt: skip

PERSISTENT_VOLUMES = Kind(
    "", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", namespaced=False, short_names=("pv",),
    subresources=(status_of("PersistentVolume"),),
)  # fmt: skip
PERSISTENT_VOLUME_CLAIMS = Kind(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", short_names=("pvc",),
    subresources=(status_of("PersistentVolumeClaim"),),
)  # fmt: skip
POD_TEMPLATES = Kind("", "v1", "PodTemplate", "podtemplates", "podtemplate", counts_generations=True)
REPLICATION_CONTROLLERS = Kind(
    "", "v1", "ReplicationController", "replicationcontrollers", "replicationcontroller", short_names=("rc",),
    categories=("all",), subresources=(SCALE, status_of("ReplicationController")),
    selectable=("status.replicas",), counts_generations=True,
)  # fmt: skip
LIMIT_RANGES = Kind("", "v1", "LimitRange", "limitranges", "limitrange", short_names=("limits",))
RESOURCE_QUOTAS = Kind(
    "", "v1", "ResourceQuota", "resourcequotas", "resourcequota", short_names=("quota",),
    subresources=(status_of("ResourceQuota"),),
)  # fmt: skip
CONTROLLER_REVISIONS = Kind("apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision")
DAEMON_SETS = Kind(
    "apps", "v1", "DaemonSet", "daemonsets", "daemonset", short_names=("ds",), categories=("all",),
    subresources=(status_of("DaemonSet"),), counts_generations=True,
)  # fmt: skip
STATEFUL_SETS = Kind(
    "apps", "v1", "StatefulSet", "statefulsets", "statefulset", short_names=("sts",), categories=("all",),
    subresources=(SCALE, status_of("StatefulSet")), counts_generations=True,
)  # fmt: skip
JOBS = Kind(
    "batch", "v1", "Job", "jobs", "job", categories=("all",), subresources=(status_of("Job"),),
    selectable=("status.successful",), counts_generations=True,
)  # fmt: skip
CRON_JOBS = Kind(
    "batch", "v1", "CronJob", "cronjobs", "cronjob", short_names=("cj",), categories=("all",),
    subresources=(status_of("CronJob"),), counts_generations=True,
)  # fmt: skip
IP_ADDRESSES = Kind(
    "networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ipaddress", namespaced=False, short_names=("ip",),
    selectable=("spec.parentRef.group", "spec.parentRef.resource", "spec.parentRef.namespace", "spec.parentRef.name"),
)  # fmt: skip
SERVICE_CIDRS = Kind(
    "networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", "servicecidr", namespaced=False,
    subresources=(status_of("ServiceCIDR"),),
)  # fmt: skip
POD_DISRUPTION_BUDGETS = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", short_names=("pdb",),
    subresources=(status_of("PodDisruptionBudget"),), counts_generations=True,
)  # fmt: skip
HORIZONTAL_POD_AUTOSCALERS = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler",
    short_names=("hpa",), categories=("all",), subresources=(status_of("HorizontalPodAutoscaler"),),
)  # fmt: skip
HORIZONTAL_POD_AUTOSCALERS_V1 = Face(
    group="autoscaling", version="v1", kind="HorizontalPodAutoscaler", plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler", short_names=("hpa",), categories=("all",),
    subresources=(status_of("HorizontalPodAutoscaler"),), kept=HORIZONTAL_POD_AUTOSCALERS,
)  # fmt: skip
"""The same objects, as the first version knew them."""


def _further(
    group: str,
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = False,
    status: bool = False,
    counts: bool = False,
) -> Kind:
    """A kind of version v1 of a group of Kubernetes' own; ``status`` and ``counts``: has a status, and generations."""
    extension = group in {"admissionregistration", "apiextensions"}
    return Kind(
        f"{group}.k8s.io", "v1", kind, plural, kind.lower(), namespaced=namespaced, short_names=short,
        categories=("api-extensions",) if extension else (),
        subresources=(status_of(kind),) if status else (), counts_generations=counts,
    )  # fmt: skip


ROLES = _further("rbac.authorization", "Role", "roles", namespaced=True)
ROLE_BINDINGS = _further("rbac.authorization", "RoleBinding", "rolebindings", namespaced=True)
CLUSTER_ROLES = _further("rbac.authorization", "ClusterRole", "clusterroles")
CLUSTER_ROLE_BINDINGS = _further("rbac.authorization", "ClusterRoleBinding", "clusterrolebindings")
MUTATING_WEBHOOK_CONFIGURATIONS = _further(
    "admissionregistration",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    counts=True,
)
VALIDATING_WEBHOOK_CONFIGURATIONS = _further(
    "admissionregistration",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    counts=True,
)
VALIDATING_ADMISSION_POLICIES = _further(
    "admissionregistration",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    status=True,
    counts=True,
)
VALIDATING_ADMISSION_POLICY_BINDINGS = _further(
    "admissionregistration",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    counts=True,
)
MUTATING_ADMISSION_POLICIES = _further(
    "admissionregistration", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", counts=True
)
MUTATING_ADMISSION_POLICY_BINDINGS = _further(
    "admissionregistration", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", counts=True
)
STORAGE_CLASSES = _further("storage", "StorageClass", "storageclasses", "sc")
CSI_DRIVERS = _further("storage", "CSIDriver", "csidrivers", counts=True)
CSI_NODES = _further("storage", "CSINode", "csinodes")
CSI_STORAGE_CAPACITIES = _further("storage", "CSIStorageCapacity", "csistoragecapacities", namespaced=True)
VOLUME_ATTACHMENTS = _further("storage", "VolumeAttachment", "volumeattachments", status=True)
VOLUME_ATTRIBUTES_CLASSES = _further("storage", "VolumeAttributesClass", "volumeattributesclasses", "vac")
PRIORITY_CLASSES = _further("scheduling", "PriorityClass", "priorityclasses", "pc", counts=True)
RUNTIME_CLASSES = _further("node", "RuntimeClass", "runtimeclasses")
CUSTOM_RESOURCE_DEFINITIONS = _further(
    "apiextensions", "CustomResourceDefinition", "customresourcedefinitions", "crd", "crds", status=True, counts=True,
)  # fmt: skip

ALL: tuple[Kind, ...] = (
    CONFIG_MAPS, ENDPOINTS, EVENTS, LIMIT_RANGES, NAMESPACES, NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES,
    PODS, POD_TEMPLATES, REPLICATION_CONTROLLERS, RESOURCE_QUOTAS, SECRETS, SERVICE_ACCOUNTS, SERVICES,
    CONTROLLER_REVISIONS, DAEMON_SETS, DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1,
    CRON_JOBS, JOBS, LEASES, ENDPOINT_SLICES, NEW_EVENTS,
    INGRESS_CLASSES, INGRESSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS, POD_DISRUPTION_BUDGETS,
    CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, RUNTIME_CLASSES, PRIORITY_CLASSES,
    CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, STORAGE_CLASSES, VOLUME_ATTACHMENTS, VOLUME_ATTRIBUTES_CLASSES,
    MUTATING_ADMISSION_POLICIES, MUTATING_ADMISSION_POLICY_BINDINGS, MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS, CUSTOM_RESOURCE_DEFINITIONS,
    *kinds_custom.ALL,
)  # fmt: skip
"""Every kind; core first, then group by group as discovery lists them."""

BY_QUALIFIED = {kind.qualified: kind for kind in ALL if not isinstance(kind, Face)}
_BY_PATH = {(kind.api_version, kind.plural): kind for kind in ALL}
_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in ALL}


def at(api_version: str, plural: str) -> Kind | None:
    """The kind served at this group, version and plural, or None."""
    return _BY_PATH.get((api_version, plural))


def of(api_version: str, kind: str) -> Kind | None:
    """The kind that a document or an owner reference names, or None."""
    return _BY_TYPE.get((api_version, kind))


def group_versions() -> Iterable[tuple[str, str, tuple[Kind, ...]]]:
    """Group, version, and the kinds in it; the core group (empty name) first."""
    seen: dict[tuple[str, str], list[Kind]] = {}
    for kind in ALL:
        seen.setdefault((kind.group, kind.version), []).append(kind)
    for (group, version), kinds in seen.items():
        yield group, version, tuple(kinds)
