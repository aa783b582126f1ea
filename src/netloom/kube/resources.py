"""How the kinds that we touch are addressed over REST. In: a kind; out: its URL paths. No I/O here."""

from __future__ import annotations

from urllib.parse import quote

import msgspec


class Resource(msgspec.Struct, frozen=True):
    """One kind as the API serves it: group (empty for core), version, plural of the path, kind of the body."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    is_optional: bool = False
    """A CustomResourceDefinition: an API server that does not have it answers 404."""

    @property
    def api_version(self) -> str:
        """What a body says in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of an object, or of a collection where ``name`` is empty.

        A namespaced kind without a namespace means the collection over all namespaces.
        """
        parts = [f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
PODS = Resource("", "v1", "pods", "Pod", namespaced=True)
SERVICES = Resource("", "v1", "services", "Service", namespaced=True)
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", namespaced=True)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
EVENTS = Resource("", "v1", "events", "Event", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", namespaced=True)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", namespaced=True)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", namespaced=True)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", namespaced=True)
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)
PERSISTENT_VOLUME_CLAIMS = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", namespaced=True
)
POD_TEMPLATES = Resource("", "v1", "podtemplates", "PodTemplate", namespaced=True)
REPLICATION_CONTROLLERS = Resource(
    "", "v1", "replicationcontrollers", "ReplicationController", namespaced=True
)
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange", namespaced=True)
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", namespaced=True)
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", namespaced=True)
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", namespaced=True)
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet", namespaced=True)
JOBS = Resource("batch", "v1", "jobs", "Job", namespaced=True)
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob", namespaced=True)
POD_DISRUPTION_BUDGETS = Resource(
    "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", namespaced=True
)
HORIZONTAL_POD_AUTOSCALERS = Resource(
    "autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", namespaced=True
)
IP_ADDRESSES = Resource("networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False)
SERVICE_CIDRS = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)


def _further(group: str, plural: str, kind: str, *, namespaced: bool = False) -> Resource:
    """A kind of version v1 of a group of Kubernetes' own."""
    return Resource(f"{group}.k8s.io", "v1", plural, kind, namespaced=namespaced)


ROLES = _further("rbac.authorization", "roles", "Role", namespaced=True)
ROLE_BINDINGS = _further("rbac.authorization", "rolebindings", "RoleBinding", namespaced=True)
CLUSTER_ROLES = _further("rbac.authorization", "clusterroles", "ClusterRole")
CLUSTER_ROLE_BINDINGS = _further("rbac.authorization", "clusterrolebindings", "ClusterRoleBinding")
MUTATING_WEBHOOK_CONFIGURATIONS = _further(
    "admissionregistration", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration"
)
VALIDATING_WEBHOOK_CONFIGURATIONS = _further(
    "admissionregistration", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)
VALIDATING_ADMISSION_POLICIES = _further(
    "admissionregistration", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"
)
VALIDATING_ADMISSION_POLICY_BINDINGS = _further(
    "admissionregistration", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"
)
MUTATING_ADMISSION_POLICIES = _further(
    "admissionregistration", "mutatingadmissionpolicies", "MutatingAdmissionPolicy"
)
MUTATING_ADMISSION_POLICY_BINDINGS = _further(
    "admissionregistration", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding"
)
STORAGE_CLASSES = _further("storage", "storageclasses", "StorageClass")
CSI_DRIVERS = _further("storage", "csidrivers", "CSIDriver")
CSI_NODES = _further("storage", "csinodes", "CSINode")
CSI_STORAGE_CAPACITIES = _further("storage", "csistoragecapacities", "CSIStorageCapacity", namespaced=True)
VOLUME_ATTACHMENTS = _further("storage", "volumeattachments", "VolumeAttachment")
VOLUME_ATTRIBUTES_CLASSES = _further("storage", "volumeattributesclasses", "VolumeAttributesClass")
PRIORITY_CLASSES = _further("scheduling", "priorityclasses", "PriorityClass")
RUNTIME_CLASSES = _further("node", "runtimeclasses", "RuntimeClass")
CUSTOM_RESOURCE_DEFINITIONS = _further(
    "apiextensions", "customresourcedefinitions", "CustomResourceDefinition"
)
CLUSTER_NETWORK_POLICIES = Resource(
    "policy.networking.k8s.io",
    "v1alpha2",
    "clusternetworkpolicies",
    "ClusterNetworkPolicy",
    namespaced=False,
    is_optional=True,
)
IP_POOLS = Resource("netloom.io", "v1alpha1", "ippools", "IPPool", namespaced=False, is_optional=True)
IP_BLOCKS = Resource("netloom.io", "v1alpha1", "ipblocks", "IPBlock", namespaced=False, is_optional=True)
NETWORK_ATTACHMENT_DEFINITIONS = Resource(
    "k8s.cni.cncf.io",
    "v1",
    "network-attachment-definitions",
    "NetworkAttachmentDefinition",
    namespaced=True,
    is_optional=True,
)
NETWORK_POOLS = Resource(
    "netloom.io", "v1alpha1", "networkpools", "NetworkPool", namespaced=False, is_optional=True
)
NETWORK_LEASES = Resource(
    "netloom.io", "v1alpha1", "networkleases", "NetworkLease", namespaced=False, is_optional=True
)
EGRESS_GATEWAYS = Resource(
    "netloom.io", "v1alpha1", "egressgateways", "EgressGateway", namespaced=False, is_optional=True
)
BGP_PEERS = Resource("netloom.io", "v1alpha1", "bgppeers", "BGPPeer", namespaced=False, is_optional=True)

_GATEWAY_GROUP = "gateway.networking.k8s.io"


def _gateway_kind(version: str, plural: str, kind: str, *, namespaced: bool = True) -> Resource:
    """In the version that every installation of the last years serves."""
    return Resource(_GATEWAY_GROUP, version, plural, kind, namespaced=namespaced, is_optional=True)


GATEWAY_CLASSES = _gateway_kind("v1", "gatewayclasses", "GatewayClass", namespaced=False)
GATEWAYS = _gateway_kind("v1", "gateways", "Gateway")
LISTENER_SETS = _gateway_kind("v1", "listenersets", "ListenerSet")
HTTP_ROUTES = _gateway_kind("v1", "httproutes", "HTTPRoute")
GRPC_ROUTES = _gateway_kind("v1", "grpcroutes", "GRPCRoute")
TLS_ROUTES = _gateway_kind("v1", "tlsroutes", "TLSRoute")
TCP_ROUTES = _gateway_kind("v1alpha2", "tcproutes", "TCPRoute")
UDP_ROUTES = _gateway_kind("v1alpha2", "udproutes", "UDPRoute")
REFERENCE_GRANTS = _gateway_kind("v1beta1", "referencegrants", "ReferenceGrant")
BACKEND_TLS_POLICIES = _gateway_kind("v1", "backendtlspolicies", "BackendTLSPolicy")

GATEWAY_API = (
    GATEWAY_CLASSES,
    GATEWAYS,
    LISTENER_SETS,
    HTTP_ROUTES,
    GRPC_ROUTES,
    TLS_ROUTES,
    TCP_ROUTES,
    UDP_ROUTES,
    REFERENCE_GRANTS,
    BACKEND_TLS_POLICIES,
)
"""Every kind of Gateway API, standard channel."""
LOAD_BALANCER_POOLS = Resource(
    "netloom.io", "v1alpha1", "loadbalancerpools", "LoadBalancerPool", namespaced=False, is_optional=True
)
TRAFFIC_POLICIES = Resource(
    "netloom.io", "v1alpha1", "trafficpolicies", "TrafficPolicy", namespaced=True, is_optional=True
)

ALL = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    ENDPOINT_SLICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    EVENTS,
    LEASES,
    DEPLOYMENTS,
    REPLICA_SETS,
    INGRESSES,
    INGRESS_CLASSES,
    NETWORK_POLICIES,
    PERSISTENT_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    POD_TEMPLATES,
    REPLICATION_CONTROLLERS,
    LIMIT_RANGES,
    RESOURCE_QUOTAS,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    STATEFUL_SETS,
    JOBS,
    CRON_JOBS,
    POD_DISRUPTION_BUDGETS,
    HORIZONTAL_POD_AUTOSCALERS,
    IP_ADDRESSES,
    SERVICE_CIDRS,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    MUTATING_ADMISSION_POLICIES,
    MUTATING_ADMISSION_POLICY_BINDINGS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_ADMISSION_POLICIES,
    VALIDATING_ADMISSION_POLICY_BINDINGS,
    STORAGE_CLASSES,
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    CUSTOM_RESOURCE_DEFINITIONS,
    CLUSTER_NETWORK_POLICIES,
    IP_POOLS,
    IP_BLOCKS,
    NETWORK_ATTACHMENT_DEFINITIONS,
    NETWORK_POOLS,
    NETWORK_LEASES,
    BGP_PEERS,
    LOAD_BALANCER_POOLS,
    EGRESS_GATEWAYS,
    TRAFFIC_POLICIES,
    *GATEWAY_API,
)
"""Every kind of the embedded cluster; emptying a namespace goes over the namespaced ones."""
