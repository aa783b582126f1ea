"""What the Kubernetes API documents about its fields and the model classes of the ``kubernetes`` package do not carry.

Keys are ``Type.field``, with the type's name as the API reference writes it. Read by tools/generate_schema.py only.
"""

from __future__ import annotations

# kind -> (apiVersion, package of the type). A further kind is one further line here, besides its merge keys and list
# types below, and one line in local/apiserver/kinds.py, which says under which paths it is served. Kinds that have no model
# classes are in schema_custom.py.
KINDS: dict[str, tuple[str, str]] = {
    "Namespace": ("v1", "core"),
    "Node": ("v1", "core"),
    "Pod": ("v1", "core"),
    "Service": ("v1", "core"),
    "Endpoints": ("v1", "core"),
    "ConfigMap": ("v1", "core"),
    "Secret": ("v1", "core"),
    "ServiceAccount": ("v1", "core"),
    "Event": ("v1", "core"),
    "Binding": ("v1", "core"),
    "EndpointSlice": ("discovery.k8s.io/v1", "discovery"),
    "Lease": ("coordination.k8s.io/v1", "coordination"),
    "Deployment": ("apps/v1", "apps"),
    "ReplicaSet": ("apps/v1", "apps"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networking"),
    "Ingress": ("networking.k8s.io/v1", "networking"),
    "IngressClass": ("networking.k8s.io/v1", "networking"),
    "Scale": ("autoscaling/v1", "autoscaling"),
    "Eviction": ("policy/v1", "policy"),
    "DeleteOptions": ("v1", "meta"),
    "Status": ("v1", "meta"),
}

# model class, where it is not "V1" + kind
CLASSES = {"Event": "CoreV1Event"}

PACKAGES = {
    "core": "io.k8s.api.core.v1",
    "apps": "io.k8s.api.apps.v1",
    "discovery": "io.k8s.api.discovery.v1",
    "networking": "io.k8s.api.networking.v1",
    "coordination": "io.k8s.api.coordination.v1",
    "autoscaling": "io.k8s.api.autoscaling.v1",
    "policy": "io.k8s.api.policy.v1",
    "meta": "io.k8s.apimachinery.pkg.apis.meta.v1",
}

META_TYPES = {
    "Condition",
    "DeleteOptions",
    "LabelSelector",
    "LabelSelectorRequirement",
    "ListMeta",
    "ManagedFieldsEntry",
    "ObjectMeta",
    "OwnerReference",
    "Preconditions",
    "Status",
    "StatusCause",
    "StatusDetails",
}

# types that a kind of another package leads to first
ELSEWHERE = {"PodTemplateSpec": "core"}

INT64 = {
    "Condition.observedGeneration",
    "ContainerImage.sizeBytes",
    "DeleteOptions.gracePeriodSeconds",
    "DeploymentStatus.observedGeneration",
    "ListMeta.remainingItemCount",
    "LinuxContainerUser.gid",
    "LinuxContainerUser.supplementalGroups",
    "LinuxContainerUser.uid",
    "NodeSwapStatus.capacity",
    "ObjectMeta.deletionGracePeriodSeconds",
    "ObjectMeta.generation",
    "PodCondition.observedGeneration",
    "PodSecurityContext.fsGroup",
    "PodSecurityContext.runAsGroup",
    "PodSecurityContext.runAsUser",
    "PodSecurityContext.supplementalGroups",
    "PodSpec.activeDeadlineSeconds",
    "PodSpec.terminationGracePeriodSeconds",
    "PodStatus.observedGeneration",
    "Probe.terminationGracePeriodSeconds",
    "ReplicaSetStatus.observedGeneration",
    "SecurityContext.runAsGroup",
    "SecurityContext.runAsUser",
    "ServiceAccountTokenProjection.expirationSeconds",
    "SleepAction.seconds",
    "Toleration.tolerationSeconds",
}

QUANTITY = {
    "ContainerStatus.allocatedResources",
    "EmptyDirVolumeSource.sizeLimit",
    "NodeStatus.allocatable",
    "NodeStatus.capacity",
    "PodSpec.overhead",
    "ResourceFieldSelector.divisor",
    "ResourceRequirements.limits",
    "ResourceRequirements.requests",
    "VolumeResourceRequirements.limits",
    "VolumeResourceRequirements.requests",
}

BYTES = {"ConfigMap.binaryData", "Secret.data"}

INT_OR_STRING = {
    "HTTPGetAction.port",
    "NetworkPolicyPort.port",
    "RollingUpdateDeployment.maxSurge",
    "RollingUpdateDeployment.maxUnavailable",
    "ServicePort.targetPort",
    "TCPSocketAction.port",
}

MICROTIME = {
    "Event.eventTime",
    "EventSeries.lastObservedTime",
    "LeaseSpec.acquireTime",
    "LeaseSpec.renewTime",
}

# Lists that are maps by key: Type.field -> keys of server-side apply
LIST_MAPS: dict[str, tuple[str, ...]] = {
    "Container.env": ("name",),
    "Container.ports": ("containerPort", "protocol"),
    "Container.volumeDevices": ("devicePath",),
    "Container.volumeMounts": ("mountPath",),
    "ContainerStatus.allocatedResourcesStatus": ("name",),
    "ContainerStatus.volumeMounts": ("mountPath",),
    "DeploymentStatus.conditions": ("type",),
    "EphemeralContainer.env": ("name",),
    "EphemeralContainer.ports": ("containerPort", "protocol"),
    "EphemeralContainer.volumeDevices": ("devicePath",),
    "EphemeralContainer.volumeMounts": ("mountPath",),
    "NamespaceStatus.conditions": ("type",),
    "NodeStatus.addresses": ("type",),
    "NodeStatus.conditions": ("type",),
    "ObjectMeta.ownerReferences": ("uid",),
    "PodSpec.containers": ("name",),
    "PodSpec.ephemeralContainers": ("name",),
    "PodSpec.hostAliases": ("ip",),
    "PodSpec.imagePullSecrets": ("name",),
    "PodSpec.initContainers": ("name",),
    "PodSpec.resourceClaims": ("name",),
    "PodSpec.schedulingGates": ("name",),
    "PodSpec.topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "PodSpec.volumes": ("name",),
    "PodStatus.conditions": ("type",),
    "PodStatus.podIPs": ("ip",),
    "PodStatus.resourceClaimStatuses": ("name",),
    "ReplicaSetStatus.conditions": ("type",),
    "ResourceRequirements.claims": ("name",),
    "ResourceStatus.resources": ("resourceID",),
    "ServiceAccount.secrets": ("name",),
    "ServiceSpec.ports": ("port", "protocol"),
    "ServiceStatus.conditions": ("type",),
}

# Lists of scalars that are sets
LIST_SETS = {"Endpoint.addresses", "NodeSpec.podCIDRs", "ObjectMeta.finalizers"}

# A key that a list item may leave out, and what it then means
KEY_DEFAULTS = {
    "Container.ports": {"protocol": "TCP"},
    "EphemeralContainer.ports": {"protocol": "TCP"},
    "ServiceSpec.ports": {"protocol": "TCP"},
}

# Strategic merge patch: Type.field -> merge key; the empty key is a list of scalars
MERGE_KEYS: dict[str, str] = {
    "Container.env": "name",
    "Container.ports": "containerPort",
    "Container.volumeDevices": "devicePath",
    "Container.volumeMounts": "mountPath",
    "ContainerStatus.allocatedResourcesStatus": "name",
    "ContainerStatus.volumeMounts": "mountPath",
    "DeploymentStatus.conditions": "type",
    "EphemeralContainer.env": "name",
    "EphemeralContainer.ports": "containerPort",
    "EphemeralContainer.volumeDevices": "devicePath",
    "EphemeralContainer.volumeMounts": "mountPath",
    "NamespaceStatus.conditions": "type",
    "NodeSpec.podCIDRs": "",
    "NodeStatus.addresses": "type",
    "NodeStatus.conditions": "type",
    "ObjectMeta.finalizers": "",
    "ObjectMeta.ownerReferences": "uid",
    "PodSpec.containers": "name",
    "PodSpec.ephemeralContainers": "name",
    "PodSpec.hostAliases": "ip",
    "PodSpec.imagePullSecrets": "name",
    "PodSpec.initContainers": "name",
    "PodSpec.resourceClaims": "name",
    "PodSpec.schedulingGates": "name",
    "PodSpec.topologySpreadConstraints": "topologyKey",
    "PodSpec.volumes": "name",
    "PodStatus.conditions": "type",
    "PodStatus.hostIPs": "ip",
    "PodStatus.podIPs": "ip",
    "PodStatus.resourceClaimStatuses": "name",
    "ReplicaSetStatus.conditions": "type",
    "ServiceAccount.secrets": "name",
    "ServiceSpec.ports": "port",
    "ServiceStatus.conditions": "type",
}

# Strategic merge patch: union-like objects whose patch says which members stay
RETAIN_KEYS = {
    "DeploymentSpec.strategy",
    "PodSpec.resourceClaims",
    "PodSpec.volumes",
    "PodStatus.resourceClaimStatuses",
}

# Objects and maps that one owner owns as a whole
ATOMIC_TYPES = {
    "ConfigMapKeySelector",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "TypedLocalObjectReference",
}
ATOMIC_MAPS = {"PodSpec.nodeSelector", "ServiceSpec.selector"}
