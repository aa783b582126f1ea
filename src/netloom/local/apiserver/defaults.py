"""Defaults of the API: what a field means when it is left out, written into the document. Pure.

Comes in: a document of known types (schema.type_errors was asked before). Goes out: a copy without nulls and with defaults;
doing it twice changes nothing. Not here: what the server decides (addresses, node ports, uid), admission. Source: the API
reference, field by field. Further kinds: defaults_pods.py, defaults_workloads.py, defaults_others.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from netloom.api.nulls import without_nulls
from netloom.local.apiserver import defaults_others, defaults_workloads, schema
from netloom.local.apiserver.custom.definition import fill as fill_definition
from netloom.local.apiserver.defaults_pods import Document, fill, member, object_at, objects, pod
from netloom.local.apiserver.definitions import definition
from netloom.local.apiserver.service_updates import is_reached_from_outside
from netloom.local.apiserver.structural import fill_defaults

_AFFINITY_SECONDS = 10800


def set_defaults(gvk: str, document: Document) -> Document:
    """The document with its defaults; unknown kinds only lose their nulls and what is empty in their metadata."""
    result: Document = without_nulls(document)
    if isinstance(metadata := result.get("metadata"), dict):
        # lists and maps of ObjectMeta that are empty are not there: kubectl diff compares them with what it left out
        result["metadata"] = {name: value for name, value in metadata.items() if value not in ({}, [])}
    if defined := definition(gvk):
        fill_defaults(defined.schema, result)
    elif rule := _KINDS.get(gvk):
        rule(result)
    count_from_zero(gvk, result)
    return result


def count_from_zero(gvk: str, document: Document) -> None:
    """Numbers that a status must have are 0 before anybody counted: clients with types refuse a status without them."""
    described = schema.root(gvk).fields.get("status")
    if described is not None and isinstance(status := document.get("status"), dict):
        for name in described.required:
            shape = described.fields[name].shape
            if shape in ("int32", "int64", "bool"):
                status.setdefault(name, False if shape == "bool" else 0)


# Services and their endpoints


def _service(service: Document) -> None:
    spec = object_at(service, "spec")
    fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = object_at(object_at(spec, "sessionAffinityConfig"), "clientIP")
        client.setdefault("timeoutSeconds", _AFFINITY_SECONDS)
    for port in objects(spec.get("ports")):
        fill(port, {"protocol": "TCP"})
        if port.get("targetPort") in (None, 0, "") and "port" in port:
            port["targetPort"] = port["port"]
    if spec["type"] in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill(spec, {"internalTrafficPolicy": "Cluster"})
    if is_reached_from_outside(spec):
        fill(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
        for ingress in objects(member(member(service, "status"), "loadBalancer").get("ingress")):
            if ingress.get("ip"):
                ingress.setdefault("ipMode", "VIP")


def _endpoint_slice(endpoints: Document) -> None:
    for port in objects(endpoints.get("ports")):
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _endpoints(endpoints: Document) -> None:
    for subset in objects(endpoints.get("subsets")):
        for port in objects(subset.get("ports")):
            fill(port, {"protocol": "TCP"})


# the others


def _network_policy(policy: Document) -> None:
    spec = object_at(policy, "spec")
    spec.setdefault("podSelector", {})
    if not spec.get("policyTypes"):
        # left out, the policy restricts ingress, and egress only where it has rules for it
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction in ("ingress", "egress"):
        for rule in objects(spec.get(direction)):
            for port in objects(rule.get("ports")):
                port.setdefault("protocol", "TCP")


def _namespace(namespace: Document) -> None:
    metadata = object_at(namespace, "metadata")
    if name := metadata.get("name"):
        object_at(metadata, "labels")["kubernetes.io/metadata.name"] = name


def _node(node: Document) -> None:
    spec = member(node, "spec")
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif not spec.get("podCIDR") and spec.get("podCIDRs"):
        spec["podCIDR"] = spec["podCIDRs"][0]


def _secret(secret: Document) -> None:
    fill(secret, {"type": "Opaque"})


def _ingress_class(ingress_class: Document) -> None:
    if parameters := member(member(ingress_class, "spec"), "parameters"):
        fill(parameters, {"scope": "Cluster"})


def _ip_pool(pool: Document) -> None:
    if pool.get("spec"):
        fill(object_at(object_at(pool, "spec"), "blockSize"), {"ipv4": 26, "ipv6": 122})


def _bgp_peer(peer: Document) -> None:
    if not peer.get("spec"):
        return
    spec = object_at(peer, "spec")
    fill(spec, {"peerPort": 179, "myASN": 64512, "holdTimeSeconds": 90, "gracefulRestart": True})
    if spec.get("bfd") is not None:
        fill(object_at(spec, "bfd"), {"minRxMs": 100, "minTxMs": 100, "multiplier": 3})
    if spec.get("passwordSecretRef") is not None:
        fill(object_at(spec, "passwordSecretRef"), {"key": "password"})


def _load_balancer_pool(pool: Document) -> None:
    if pool.get("spec"):
        spec = object_at(pool, "spec")
        fill(spec, {"autoAssign": True, "announce": ["Layer2", "BGP"]})
        if spec.get("bgp"):
            fill(object_at(object_at(spec, "bgp"), "aggregationLength"), {"ipv4": 32, "ipv6": 128})


def _egress_gateway(gateway: Document) -> None:
    if gateway.get("spec"):
        fill(object_at(gateway, "spec"), {"whenUnavailable": "Drop"})


_KINDS: Mapping[str, Callable[[Document], None]] = {
    "apiextensions.k8s.io/v1/CustomResourceDefinition": fill_definition,
    "v1/Namespace": _namespace,
    "v1/Node": _node,
    "v1/Pod": pod,
    "v1/Service": _service,
    "v1/Endpoints": _endpoints,
    "v1/Secret": _secret,
    "discovery.k8s.io/v1/EndpointSlice": _endpoint_slice,
    "v1/LimitRange": defaults_others.limit_range,
    "v1/PersistentVolume": defaults_others.persistent_volume,
    "v1/PersistentVolumeClaim": defaults_others.persistent_volume_claim,
    "v1/PodTemplate": defaults_workloads.pod_template,
    "v1/ReplicationController": defaults_workloads.replication_controller,
    "apps/v1/DaemonSet": defaults_workloads.daemon_set,
    "apps/v1/StatefulSet": defaults_workloads.stateful_set,
    "batch/v1/Job": defaults_workloads.job,
    "batch/v1/CronJob": defaults_workloads.cron_job,
    "autoscaling/v1/HorizontalPodAutoscaler": defaults_workloads.horizontal_pod_autoscaler_v1,
    "autoscaling/v2/HorizontalPodAutoscaler": defaults_workloads.horizontal_pod_autoscaler,
    "rbac.authorization.k8s.io/v1/RoleBinding": defaults_others.role_binding,
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": defaults_others.role_binding,
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": defaults_others.mutating_webhooks,
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": defaults_others.validating_webhooks,
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy": defaults_others.admission_policy,
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": defaults_others.admission_policy_binding,
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy": defaults_others.mutating_admission_policy,
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding": defaults_others.admission_policy_binding,
    "storage.k8s.io/v1/StorageClass": defaults_others.storage_class,
    "storage.k8s.io/v1/CSINode": defaults_others.csi_node,
    "storage.k8s.io/v1/CSIDriver": defaults_others.csi_driver,
    "scheduling.k8s.io/v1/PriorityClass": defaults_others.priority_class,
    "apps/v1/Deployment": defaults_workloads.deployment,
    "apps/v1/ReplicaSet": defaults_workloads.replica_set,
    "networking.k8s.io/v1/NetworkPolicy": _network_policy,
    "networking.k8s.io/v1/IngressClass": _ingress_class,
    "netloom.io/v1alpha1/BGPPeer": _bgp_peer,
    "netloom.io/v1alpha1/EgressGateway": _egress_gateway,
    "netloom.io/v1alpha1/IPPool": _ip_pool,
    "netloom.io/v1alpha1/LoadBalancerPool": _load_balancer_pool,
}
