"""Field numbers of the API's protobuf encoding: facts of the wire, by type. Pure data.

Comes in: nothing. Goes out: for each type, its fields in the order of their numbers. Source: the API's generated.proto
files, whose numbers never change. Not here: the types of the fields, which are those of schema.json.

Notation: names count from 1; ``@7`` goes on at 7; ``+Inlined`` is a message whose fields belong to the object around it.
"""

from __future__ import annotations

_CONTAINER = (
    "name image command args workingDir ports env resources volumeMounts livenessProbe readinessProbe lifecycle "
    "terminationMessagePath imagePullPolicy securityContext stdin stdinOnce tty envFrom terminationMessagePolicy "
    "volumeDevices startupProbe resizePolicy restartPolicy restartPolicyRules"
)
_OPTIONAL_REFERENCE = "+LocalObjectReference optional"
_KEY_REFERENCE = "+LocalObjectReference key optional"
_PROJECTION = "+LocalObjectReference items @4 optional"
_CONDITION = "type status lastProbeTime lastTransitionTime reason message"
_AFFINITY = "requiredDuringSchedulingIgnoredDuringExecution preferredDuringSchedulingIgnoredDuringExecution"
_OBJECT = "metadata spec status"
_PROFILE = "type localhostProfile"

INLINED: dict[str, str] = {
    "LocalObjectReference": "name",
    "ProbeHandler": "exec httpGet tcpSocket grpc",
    "EphemeralContainerCommon": _CONTAINER,
    "VolumeSource": (
        "hostPath emptyDir gcePersistentDisk awsElasticBlockStore gitRepo secret nfs iscsi glusterfs persistentVolumeClaim "
        "rbd flexVolume cinder cephfs flocker downwardAPI fc azureFile configMap vsphereVolume quobyte azureDisk "
        "photonPersistentDisk portworxVolume scaleIO projected storageos csi ephemeral image"
    ),
}

FIELDS: dict[str, str] = {
    "meta.Condition": "type status observedGeneration lastTransitionTime reason message",
    "meta.DeleteOptions": "gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun",
    "meta.LabelSelector": "matchLabels matchExpressions",
    "meta.LabelSelectorRequirement": "key operator values",
    "meta.ManagedFieldsEntry": "manager operation apiVersion time @6 fieldsType fieldsV1 subresource",
    "meta.ObjectMeta": (
        "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp "
        "deletionGracePeriodSeconds labels annotations ownerReferences finalizers @17 managedFields"
    ),
    "meta.OwnerReference": "kind @3 name uid apiVersion controller blockOwnerDeletion",
    "meta.Preconditions": "uid resourceVersion",
    "apps.Deployment": _OBJECT,
    "apps.DeploymentCondition": "type status @4 reason message lastUpdateTime lastTransitionTime",
    "apps.DeploymentSpec": (
        "replicas selector template strategy minReadySeconds revisionHistoryLimit paused @9 progressDeadlineSeconds"
    ),
    "apps.DeploymentStatus": (
        "observedGeneration replicas updatedReplicas availableReplicas unavailableReplicas conditions readyReplicas "
        "collisionCount terminatingReplicas"
    ),
    "apps.DeploymentStrategy": "type rollingUpdate",
    "apps.ReplicaSet": _OBJECT,
    "apps.ReplicaSetCondition": "type status lastTransitionTime reason message",
    "apps.ReplicaSetSpec": "replicas selector template minReadySeconds",
    "apps.ReplicaSetStatus": (
        "replicas fullyLabeledReplicas observedGeneration readyReplicas availableReplicas conditions terminatingReplicas"
    ),
    "apps.RollingUpdateDeployment": "maxUnavailable maxSurge",
    "autoscaling.Scale": _OBJECT,
    "autoscaling.ScaleSpec": "replicas",
    "autoscaling.ScaleStatus": "replicas selector",
    "coordination.Lease": "metadata spec",
    "coordination.LeaseSpec": (
        "holderIdentity leaseDurationSeconds acquireTime renewTime leaseTransitions strategy preferredHolder"
    ),
    "discovery.Endpoint": "addresses conditions hostname targetRef deprecatedTopology nodeName zone hints",
    "discovery.EndpointConditions": "ready serving terminating",
    "discovery.EndpointHints": "forZones forNodes",
    "discovery.EndpointPort": "name protocol port appProtocol",
    "discovery.EndpointSlice": "metadata endpoints ports addressType",
    "discovery.ForNode": "name",
    "discovery.ForZone": "name",
    "networking.IPBlock": "cidr except",
    "networking.NetworkPolicy": "metadata spec",
    "networking.NetworkPolicyEgressRule": "ports to",
    "networking.NetworkPolicyIngressRule": "ports from",
    "networking.NetworkPolicyPeer": "podSelector namespaceSelector ipBlock",
    "networking.NetworkPolicyPort": "protocol port endPort",
    "networking.NetworkPolicySpec": "podSelector ingress egress policyTypes",
    "policy.Eviction": "metadata deleteOptions",
    "core.AWSElasticBlockStoreVolumeSource": "volumeID fsType partition readOnly",
    "core.Affinity": "nodeAffinity podAffinity podAntiAffinity",
    "core.AppArmorProfile": _PROFILE,
    "core.AttachedVolume": "name devicePath",
    "core.AzureDiskVolumeSource": "diskName diskURI cachingMode fsType readOnly kind",
    "core.AzureFileVolumeSource": "secretName shareName readOnly",
    "core.Binding": "metadata target",
    "core.CSIVolumeSource": "driver readOnly fsType volumeAttributes nodePublishSecretRef",
    "core.Capabilities": "add drop",
    "core.CephFSVolumeSource": "monitors path user secretFile secretRef readOnly",
    "core.CinderVolumeSource": "volumeID fsType readOnly secretRef",
    "core.ClientIPConfig": "timeoutSeconds",
    "core.ConfigMap": "metadata data binaryData immutable",
    "core.ConfigMapEnvSource": _OPTIONAL_REFERENCE,
    "core.ConfigMapKeySelector": _KEY_REFERENCE,
    "core.ConfigMapNodeConfigSource": "namespace name uid resourceVersion kubeletConfigKey",
    "core.ConfigMapProjection": _PROJECTION,
    "core.ConfigMapVolumeSource": "+LocalObjectReference items defaultMode optional",
    "core.Container": _CONTAINER,
    "core.ContainerImage": "names sizeBytes",
    "core.ContainerPort": "name hostPort containerPort protocol hostIP",
    "core.ContainerResizePolicy": "resourceName restartPolicy",
    "core.ContainerState": "waiting running terminated",
    "core.ContainerStateRunning": "startedAt",
    "core.ContainerStateTerminated": "exitCode signal reason message startedAt finishedAt containerID",
    "core.ContainerStateWaiting": "reason message",
    "core.ContainerStatus": (
        "name state lastState ready restartCount image imageID containerID started allocatedResources resources "
        "volumeMounts user allocatedResourcesStatus stopSignal"
    ),
    "core.ContainerUser": "linux",
    "core.DaemonEndpoint": "Port",
    "core.DownwardAPIProjection": "items",
    "core.DownwardAPIVolumeFile": "path fieldRef resourceFieldRef mode",
    "core.DownwardAPIVolumeSource": "items defaultMode",
    "core.EmptyDirVolumeSource": "medium sizeLimit",
    "core.EndpointAddress": "ip targetRef hostname nodeName",
    "core.EndpointPort": "name port protocol appProtocol",
    "core.EndpointSubset": "addresses notReadyAddresses ports",
    "core.Endpoints": "metadata subsets",
    "core.EnvFromSource": "prefix configMapRef secretRef",
    "core.EnvVar": "name value valueFrom",
    "core.EnvVarSource": "fieldRef resourceFieldRef configMapKeyRef secretKeyRef",
    "core.EphemeralContainer": "+EphemeralContainerCommon targetContainerName",
    "core.Event": (
        "metadata involvedObject reason message source firstTimestamp lastTimestamp count type eventTime series action "
        "related reportingComponent reportingInstance"
    ),
    "core.EventSeries": "count lastObservedTime",
    "core.EventSource": "component host",
    "core.ExecAction": "command",
    "core.FCVolumeSource": "targetWWNs lun fsType readOnly wwids",
    "core.FlexVolumeSource": "driver fsType secretRef readOnly options",
    "core.FlockerVolumeSource": "datasetName datasetUUID",
    "core.GCEPersistentDiskVolumeSource": "pdName fsType partition readOnly",
    "core.GRPCAction": "port service",
    "core.GitRepoVolumeSource": "repository revision directory",
    "core.GlusterfsVolumeSource": "endpoints path readOnly",
    "core.HTTPGetAction": "path port host scheme httpHeaders",
    "core.HTTPHeader": "name value",
    "core.HostAlias": "ip hostnames",
    "core.HostIP": "ip",
    "core.HostPathVolumeSource": "path type",
    "core.ISCSIVolumeSource": (
        "targetPortal iqn lun iscsiInterface fsType readOnly portals chapAuthDiscovery @10 secretRef chapAuthSession "
        "initiatorName"
    ),
    "core.ImageVolumeSource": "reference pullPolicy",
    "core.KeyToPath": "key path mode",
    "core.Lifecycle": "postStart preStop stopSignal",
    "core.LifecycleHandler": "exec httpGet tcpSocket sleep",
    "core.LinuxContainerUser": "uid gid supplementalGroups",
    "core.LoadBalancerIngress": "ip hostname ipMode ports",
    "core.LoadBalancerStatus": "ingress",
    "core.LocalObjectReference": "name",
    "core.NFSVolumeSource": "server path readOnly",
    "core.Namespace": _OBJECT,
    "core.NamespaceCondition": "type status @4 lastTransitionTime reason message",
    "core.NamespaceSpec": "finalizers",
    "core.NamespaceStatus": "phase conditions",
    "core.Node": _OBJECT,
    "core.NodeAddress": "type address",
    "core.NodeAffinity": _AFFINITY,
    "core.NodeCondition": "type status lastHeartbeatTime lastTransitionTime reason message",
    "core.NodeConfigSource": "@2 configMap",
    "core.NodeConfigStatus": "assigned active lastKnownGood error",
    "core.NodeDaemonEndpoints": "kubeletEndpoint",
    "core.NodeSelector": "nodeSelectorTerms",
    "core.NodeSelectorRequirement": "key operator values",
    "core.NodeSelectorTerm": "matchExpressions matchFields",
    "core.NodeSpec": "podCIDR externalID providerID unschedulable taints configSource podCIDRs",
    "core.NodeStatus": (
        "capacity allocatable phase conditions addresses daemonEndpoints nodeInfo images volumesInUse volumesAttached config"
    ),
    "core.NodeSystemInfo": (
        "machineID systemUUID bootID kernelVersion osImage containerRuntimeVersion kubeletVersion kubeProxyVersion "
        "operatingSystem architecture"
    ),
    "core.ObjectFieldSelector": "apiVersion fieldPath",
    "core.ObjectReference": "kind namespace name uid apiVersion resourceVersion fieldPath",
    "core.PersistentVolumeClaimVolumeSource": "claimName readOnly",
    "core.PhotonPersistentDiskVolumeSource": "pdID fsType",
    "core.Pod": _OBJECT,
    "core.PodAffinity": _AFFINITY,
    "core.PodAffinityTerm": "labelSelector namespaces topologyKey namespaceSelector matchLabelKeys mismatchLabelKeys",
    "core.PodAntiAffinity": _AFFINITY,
    "core.PodCondition": f"{_CONDITION} observedGeneration",
    "core.PodDNSConfig": "nameservers searches options",
    "core.PodDNSConfigOption": "name value",
    "core.PodIP": "ip",
    "core.PodOS": "name",
    "core.PodReadinessGate": "conditionType",
    "core.PodResourceClaim": "name @3 resourceClaimName resourceClaimTemplateName",
    "core.PodResourceClaimStatus": "name resourceClaimName",
    "core.PodSchedulingGate": "name",
    "core.PodSecurityContext": (
        "seLinuxOptions runAsUser runAsNonRoot supplementalGroups fsGroup runAsGroup sysctls windowsOptions "
        "fsGroupChangePolicy seccompProfile appArmorProfile supplementalGroupsPolicy seLinuxChangePolicy"
    ),
    "core.PodSpec": (
        "volumes containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy nodeSelector "
        "serviceAccountName serviceAccount nodeName hostNetwork hostPID hostIPC securityContext imagePullSecrets hostname "
        "subdomain affinity schedulerName initContainers automountServiceAccountToken tolerations hostAliases "
        "priorityClassName priority dnsConfig shareProcessNamespace readinessGates runtimeClassName enableServiceLinks "
        "preemptionPolicy overhead topologySpreadConstraints ephemeralContainers setHostnameAsFQDN os hostUsers "
        "schedulingGates resourceClaims resources hostnameOverride"
    ),
    "core.PodStatus": (
        "phase conditions message reason hostIP podIP startTime containerStatuses qosClass initContainerStatuses "
        "nominatedNodeName podIPs ephemeralContainerStatuses resize resourceClaimStatuses hostIPs observedGeneration"
    ),
    "core.PodTemplateSpec": "metadata spec",
    "core.PortStatus": "port protocol error",
    "core.PortworxVolumeSource": "volumeID fsType readOnly",
    "core.PreferredSchedulingTerm": "weight preference",
    "core.Probe": (
        "+ProbeHandler initialDelaySeconds timeoutSeconds periodSeconds successThreshold failureThreshold "
        "terminationGracePeriodSeconds"
    ),
    "core.ProjectedVolumeSource": "sources defaultMode",
    "core.QuobyteVolumeSource": "registry volume readOnly user group tenant",
    "core.RBDVolumeSource": "monitors image fsType pool user keyring secretRef readOnly",
    "core.ResourceClaim": "name request",
    "core.ResourceFieldSelector": "containerName resource divisor",
    "core.ResourceRequirements": "limits requests claims",
    "core.SELinuxOptions": "user role type level",
    "core.ScaleIOVolumeSource": (
        "gateway system secretRef sslEnabled protectionDomain storagePool storageMode volumeName fsType readOnly"
    ),
    "core.SeccompProfile": _PROFILE,
    "core.Secret": "metadata data type stringData immutable",
    "core.SecretEnvSource": _OPTIONAL_REFERENCE,
    "core.SecretKeySelector": _KEY_REFERENCE,
    "core.SecretProjection": _PROJECTION,
    "core.SecretVolumeSource": "secretName items defaultMode optional",
    "core.SecurityContext": (
        "capabilities privileged seLinuxOptions runAsUser runAsNonRoot readOnlyRootFilesystem allowPrivilegeEscalation "
        "runAsGroup procMount windowsOptions seccompProfile appArmorProfile"
    ),
    "core.Service": _OBJECT,
    "core.ServiceAccount": "metadata secrets imagePullSecrets automountServiceAccountToken",
    "core.ServiceAccountTokenProjection": "audience expirationSeconds path",
    "core.ServicePort": "name protocol port targetPort nodePort appProtocol",
    "core.ServiceSpec": (
        "ports selector clusterIP type externalIPs @7 sessionAffinity loadBalancerIP loadBalancerSourceRanges externalName "
        "externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses sessionAffinityConfig @17 ipFamilyPolicy "
        "clusterIPs ipFamilies allocateLoadBalancerNodePorts loadBalancerClass internalTrafficPolicy trafficDistribution"
    ),
    "core.ServiceStatus": "loadBalancer conditions",
    "core.SessionAffinityConfig": "clientIP",
    "core.SleepAction": "seconds",
    "core.StorageOSVolumeSource": "volumeName volumeNamespace fsType readOnly secretRef",
    "core.Sysctl": "name value",
    "core.TCPSocketAction": "port host",
    "core.Taint": "key value effect timeAdded",
    "core.Toleration": "key operator value effect tolerationSeconds",
    "core.TopologySpreadConstraint": (
        "maxSkew topologyKey whenUnsatisfiable labelSelector minDomains nodeAffinityPolicy nodeTaintsPolicy matchLabelKeys"
    ),
    "core.TypedLocalObjectReference": "apiGroup kind name",
    "core.Volume": "name +VolumeSource",
    "core.VolumeDevice": "name devicePath",
    "core.VolumeMount": "name readOnly mountPath subPath mountPropagation subPathExpr recursiveReadOnly",
    "core.VolumeMountStatus": "name mountPath readOnly recursiveReadOnly",
    "core.VolumeProjection": "secret downwardAPI configMap serviceAccountToken",
    "core.VsphereVirtualDiskVolumeSource": "volumePath fsType storagePolicyName storagePolicyID",
    "core.WeightedPodAffinityTerm": "weight podAffinityTerm",
    "core.WindowsSecurityContextOptions": "gmsaCredentialSpecName gmsaCredentialSpec runAsUserName hostProcess",
}

ZERO_COUNTS = frozenset(
    {
        "allocateLoadBalancerNodePorts", "allowPrivilegeEscalation", "activeDeadlineSeconds", "automountServiceAccountToken",
        "blockOwnerDeletion", "collisionCount", "controller", "defaultMode", "deletionGracePeriodSeconds",
        "enableServiceLinks", "endPort", "expirationSeconds", "fsGroup", "gracePeriodSeconds", "hostProcess", "hostUsers",
        "immutable", "leaseDurationSeconds", "leaseTransitions", "lun", "minDomains", "mode", "optional", "orphanDependents",
        "priority", "privileged", "progressDeadlineSeconds", "readOnlyRootFilesystem", "ready", "replicas",
        "revisionHistoryLimit", "runAsGroup", "runAsNonRoot", "runAsUser", "serving", "setHostnameAsFQDN",
        "shareProcessNamespace", "started", "terminating", "terminatingReplicas", "terminationGracePeriodSeconds",
        "timeoutSeconds", "tolerationSeconds", "restartCount", "containerPort", "port",
    }
)  # fmt: skip
"""Fields whose zero is a value; Go writes the zero of all others even where they were not set."""
