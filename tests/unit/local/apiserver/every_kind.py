"""One good document of each kind of Kubernetes' own groups, as a reference would show it."""

from __future__ import annotations

import yaml

GOOD = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: db:1}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: logs, namespace: shop}
spec:
  selector: {matchLabels: {app: logs}}
  template:
    metadata: {labels: {app: logs}}
    spec: {containers: [{name: logs, image: logs:1}]}
---
apiVersion: apps/v1
kind: ControllerRevision
metadata: {name: db-1, namespace: shop}
revision: 1
data: {spec: {}}
---
apiVersion: v1
kind: ReplicationController
metadata: {name: old, namespace: shop}
spec:
  template:
    metadata: {labels: {app: old}}
    spec: {containers: [{name: old, image: old:1}]}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: any, namespace: shop}
template: {spec: {containers: [{name: one, image: one:1}]}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: shop}
spec:
  template:
    metadata: {labels: {app: once}}
    spec: {restartPolicy: Never, containers: [{name: one, image: one:1}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: often, namespace: shop}
spec:
  schedule: "*/5 1-3 * jan,mar mon-fri"
  timeZone: Europe/Berlin
  jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: one, image: one:1}]}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: shop}
spec: {minAvailable: 50%, selector: {matchLabels: {app: web}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web, namespace: shop}
spec: {maxReplicas: 3, behavior: {}, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
---
apiVersion: networking.k8s.io/v1
kind: IPAddress
metadata: {name: 192.0.2.7}
spec: {parentRef: {resource: services, namespace: shop, name: web}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: more}
spec: {cidrs: [192.0.2.0/24, "2001:db8::/112"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: "shop:reader", namespace: shop}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:all"}
rules: [{nonResourceURLs: [/healthz], verbs: [get]}]
aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: shop}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: User, name: ann}, {kind: ServiceAccount, name: web, namespace: shop}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: Group, name: "system:authenticated"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: change}
webhooks:
- name: change.shop.example
  sideEffects: None
  admissionReviewVersions: [v1]
  clientConfig: {service: {name: hook, namespace: shop}}
  rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: refuse}
webhooks:
- {name: a.shop.example, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: "https://192.0.2.1/"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  validations: [{expression: object.spec.replicas < 5}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: few}
spec: {policyName: few, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: label}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}]
  mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[]"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: label}
spec: {policyName: label}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: disk}
provisioner: example.org/disk
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: disk.example.org}
spec: {}
---
apiVersion: storage.k8s.io/v1
kind: CSINode
metadata: {name: node-1}
spec: {drivers: []}
---
apiVersion: storage.k8s.io/v1
kind: CSIStorageCapacity
metadata: {name: much, namespace: shop}
storageClassName: disk
capacity: 1Ti
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: one}
spec: {attacher: disk.example.org, nodeName: node-1, source: {persistentVolumeName: one}}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttributesClass
metadata: {name: fast}
driverName: disk.example.org
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: one}
spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /data}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: one, namespace: shop}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: small, namespace: shop}
spec: {limits: [{type: Container, max: {cpu: "1"}, min: {cpu: 10m, memory: 1Mi}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: shop}
spec: {hard: {pods: "10", count/jobs.batch: "3"}, scopes: [NotBestEffort]}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 1000
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: sandbox}
handler: sandbox
"""
DOCUMENTS = {f"{one['apiVersion']}/{one['kind']}": one for one in yaml.safe_load_all(GOOD)}
