"""Rules of the API on values: which documents of a kind can be stored. Pure.

Comes in: kind, a document with defaults (types were checked before), and the one it replaces. Goes out: FieldErrors with
paths, none where all is well. Not here: types (schema.py), what is free (allocate.py). One module for each family of kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver import (
    kinds,
    structural,
    validate_batch,
    validate_bgp,
    validate_cluster_policies,
    validate_egress,
    validate_ingresses,
    validate_limits,
    validate_load_balancers,
    validate_names,
    validate_networks,
    validate_objects,
    validate_pods,
    validate_policies,
    validate_pools,
    validate_ranges,
    validate_roles,
    validate_services,
    validate_storage,
    validate_webhooks,
    validate_workloads,
)
from netloom.local.apiserver.custom.definition import errors as definition_errors
from netloom.local.apiserver.definitions import definition
from netloom.local.apiserver.fielderrors import FieldError, mapping
from netloom.local.apiserver.validate_names import Errors

__all__ = ["FieldError", "validate"]

Document = Mapping[str, Any]
_CLUSTER_SCOPED = {kind.gvk for kind in kinds.ALL if not kind.namespaced}
_NAMES: Mapping[str, Callable[[str], str]] = {
    "v1/Namespace": validate_names.label_problem,
    "v1/Service": validate_names.label_1035_problem,
    "networking.k8s.io/v1/IPAddress": validate_ranges.address_name_problem,
    **{
        f"{validate_roles.GROUP}/v1/{kind}": validate_roles.path_segment_problem
        for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    },
}


def validate(gvk: str, document: Document, old: Document | None) -> list[FieldError]:
    """What is wrong with a document, field by field, in the document's order; kinds without rules get those of metadata.

    ``old`` is the stored document on an update: fields that may not change are compared with it.
    """
    meta = mapping(document.get("metadata"))
    name_problem = _NAMES.get(gvk, validate_names.subdomain_problem)
    found = list(
        validate_names.metadata(meta, namespaced=gvk not in _CLUSTER_SCOPED, name_problem=name_problem)
    )
    if defined := definition(gvk):
        found.extend(structural.errors(defined.schema, document, old))
    if rules := _RULES.get(gvk):
        found.extend(rules(document, old))
    # two rules may see the same fault of the same field
    unique: dict[tuple[str, str, bytes], FieldError] = {}
    for error in found:
        unique.setdefault((error.field, error.type, msgspec.json.encode(error.value)), error)
    return list(unique.values())


def _alone(rules: Callable[[Document], Errors]) -> Callable[[Document, Document | None], Errors]:
    """Rules that do not compare with the stored document."""
    return lambda document, _old: rules(document)


_RULES: Mapping[str, Callable[[Document, Document | None], Errors]] = {
    "v1/Pod": validate_pods.pod,
    "v1/Service": validate_services.service,
    "v1/Endpoints": _alone(validate_services.endpoints),
    "discovery.k8s.io/v1/EndpointSlice": validate_services.endpoint_slice,
    "apiextensions.k8s.io/v1/CustomResourceDefinition": definition_errors,
    "v1/ConfigMap": validate_objects.config_map,
    "v1/Secret": validate_objects.secret,
    "v1/Node": validate_objects.node,
    "v1/Event": _alone(validate_objects.event),
    "events.k8s.io/v1/Event": validate_objects.new_event,
    "coordination.k8s.io/v1/Lease": _alone(validate_objects.lease),
    "apps/v1/Deployment": validate_workloads.deployment,
    "apps/v1/ReplicaSet": validate_workloads.replica_set,
    "apps/v1/StatefulSet": validate_workloads.stateful_set,
    "apps/v1/DaemonSet": validate_workloads.daemon_set,
    "apps/v1/ControllerRevision": validate_workloads.controller_revision,
    "v1/ReplicationController": _alone(validate_workloads.replication_controller),
    "v1/PodTemplate": _alone(validate_workloads.pod_template),
    "batch/v1/Job": validate_batch.job,
    "batch/v1/CronJob": validate_batch.cron_job,
    "autoscaling/v2/HorizontalPodAutoscaler": _alone(validate_limits.horizontal_pod_autoscaler),
    "policy/v1/PodDisruptionBudget": _alone(validate_limits.pod_disruption_budget),
    "v1/LimitRange": _alone(validate_limits.limit_range),
    "v1/ResourceQuota": validate_limits.resource_quota,
    "scheduling.k8s.io/v1/PriorityClass": validate_limits.priority_class,
    "node.k8s.io/v1/RuntimeClass": validate_limits.runtime_class,
    "networking.k8s.io/v1/IPAddress": validate_ranges.ip_address,
    "networking.k8s.io/v1/ServiceCIDR": validate_ranges.service_cidr,
    f"{validate_roles.GROUP}/v1/Role": _alone(validate_roles.role),
    f"{validate_roles.GROUP}/v1/ClusterRole": _alone(validate_roles.cluster_role),
    f"{validate_roles.GROUP}/v1/RoleBinding": validate_roles.role_binding,
    f"{validate_roles.GROUP}/v1/ClusterRoleBinding": validate_roles.cluster_role_binding,
    "v1/PersistentVolume": validate_storage.persistent_volume,
    "v1/PersistentVolumeClaim": validate_storage.persistent_volume_claim,
    "storage.k8s.io/v1/StorageClass": validate_storage.storage_class,
    "storage.k8s.io/v1/CSIDriver": validate_storage.csi_driver,
    "storage.k8s.io/v1/VolumeAttachment": validate_storage.volume_attachment,
    "admissionregistration.k8s.io/v1/MutatingWebhookConfiguration": _alone(validate_webhooks.webhooks),
    "admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration": _alone(validate_webhooks.webhooks),
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy": _alone(validate_webhooks.admission_policy),
    "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding": _alone(
        validate_webhooks.admission_policy_binding
    ),
    "autoscaling/v1/HorizontalPodAutoscaler": _alone(validate_limits.horizontal_pod_autoscaler),
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy": _alone(
        validate_webhooks.mutating_admission_policy
    ),
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicyBinding": _alone(
        validate_webhooks.mutating_admission_policy_binding
    ),
    "autoscaling/v1/Scale": _alone(validate_workloads.scale),
    "networking.k8s.io/v1/Ingress": validate_ingresses.ingress,
    "networking.k8s.io/v1/IngressClass": validate_ingresses.ingress_class,
    "networking.k8s.io/v1/NetworkPolicy": _alone(validate_policies.network_policy),
    "policy.networking.k8s.io/v1alpha2/ClusterNetworkPolicy": _alone(
        validate_cluster_policies.cluster_network_policy
    ),
    "netloom.io/v1alpha1/BGPPeer": _alone(validate_bgp.bgp_peer),
    "netloom.io/v1alpha1/EgressGateway": _alone(validate_egress.egress_gateway),
    "netloom.io/v1alpha1/IPPool": _alone(validate_pools.ip_pool),
    "netloom.io/v1alpha1/IPBlock": validate_pools.ip_block,
    "netloom.io/v1alpha1/LoadBalancerPool": _alone(validate_load_balancers.load_balancer_pool),
    "k8s.cni.cncf.io/v1/NetworkAttachmentDefinition": _alone(validate_networks.network_attachment_definition),
    "netloom.io/v1alpha1/NetworkPool": _alone(validate_networks.network_pool),
    "netloom.io/v1alpha1/NetworkLease": validate_networks.network_lease,
}
