"""Kinds of Kubernetes' own groups beyond the network's: what is filled in, and what is refused with which words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from tests.unit.local.apiserver.every_kind import DOCUMENTS

from netloom.local.apiserver import columns, defaults, kinds, schema
from netloom.local.apiserver.schedules import schedule_problem
from netloom.local.apiserver.validate import validate

NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"
WANTED = "preferredDuringSchedulingIgnoredDuringExecution"


def filled(gvk: str, **changes: Any) -> dict[str, Any]:
    """The good document with values at paths such as ``spec__replicas``, and its defaults."""
    document = copy.deepcopy(DOCUMENTS[gvk])
    for path, value in changes.items():
        *way, last = path.split("__")
        at = document
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
        at[last] = value
    return defaults.set_defaults(gvk, document)


@pytest.mark.parametrize("gvk", DOCUMENTS)
def test_what_a_reference_shows_is_accepted_as_it_is(gvk):
    assert kinds.of(*gvk.rsplit("/", 1)) is not None
    document = filled(gvk)
    assert schema.unknown_fields(gvk, document) == []
    assert schema.type_errors(gvk, document) == []
    assert [error.text for error in validate(gvk, document, None)] == []
    assert [error.text for error in validate(gvk, document, document)] == []
    assert defaults.set_defaults(gvk, document) == document


@pytest.mark.parametrize(
    ("gvk", "path", "value"),
    [
        ("apps/v1/StatefulSet", "spec.podManagementPolicy", "OrderedReady"),
        ("apps/v1/StatefulSet", "spec.updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ("apps/v1/StatefulSet", "spec.persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"}),
        ("apps/v1/StatefulSet", "spec.volumeClaimTemplates.0.spec.volumeMode", "Filesystem"),
        ("apps/v1/DaemonSet", "spec.updateStrategy.rollingUpdate", {"maxUnavailable": 1, "maxSurge": 0}),
        ("v1/ReplicationController", "spec.selector", {"app": "old"}),
        ("v1/ReplicationController", "metadata.labels", {"app": "old"}),
        ("batch/v1/Job", "spec.completions", 1),
        ("batch/v1/Job", "spec.backoffLimit", 6),
        ("batch/v1/Job", "spec.podReplacementPolicy", "TerminatingOrFailed"),
        ("batch/v1/CronJob", "spec.failedJobsHistoryLimit", 1),
        ("autoscaling/v2/HorizontalPodAutoscaler", "spec.behavior.scaleUp.selectPolicy", "Max"),
        ("rbac.authorization.k8s.io/v1/RoleBinding", "subjects.0.apiGroup", "rbac.authorization.k8s.io"),
        ("admissionregistration.k8s.io/v1/MutatingWebhookConfiguration", "webhooks.0.rules.0.scope", "*"),
        ("admissionregistration.k8s.io/v1/MutatingWebhookConfiguration", "webhooks.0.clientConfig.service.port", 443),
        ("storage.k8s.io/v1/StorageClass", "volumeBindingMode", "Immediate"),
        ("v1/LimitRange", "spec.limits.0.default", {"cpu": "1"}),
        ("v1/LimitRange", "spec.limits.0.defaultRequest", {"cpu": "1", "memory": "1Mi"}),
        ("scheduling.k8s.io/v1/PriorityClass", "preemptionPolicy", "PreemptLowerPriority"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_filled_in(gvk, path, value):
    found: Any = filled(gvk)
    for step in path.split("."):
        found = found[int(step)] if isinstance(found, list) else found[step]
    assert found == value


@pytest.mark.parametrize(
    ("gvk", "changes", "told"),
    [
        ("apps/v1/StatefulSet", {"spec__podManagementPolicy": "Slow"}, "spec.podManagementPolicy: Invalid value"),
        ("apps/v1/StatefulSet", {"spec__selector": {"matchLabels": {"app": "x"}}}, "does not match template"),
        ("apps/v1/StatefulSet", {"spec__template__spec__restartPolicy": "Never"}, 'supported values: "Always"'),
        ("apps/v1/StatefulSet", {"spec__ordinals": {"start": -1}}, "spec.ordinals.start"),
        ("apps/v1/DaemonSet", {"spec__template__spec__affinity": {"podAntiAffinity": {NEEDED: [{"labelSelector": {}}]}}},
         f"spec.template.spec.affinity.podAntiAffinity.{NEEDED}[0].topologyKey: Required value"),
        ("apps/v1/DaemonSet", {"spec__template__spec__affinity": {"nodeAffinity": {NEEDED: {"nodeSelectorTerms": []}}}},
         "must have at least one node selector term"),
        ("apps/v1/DaemonSet", {"spec__template__spec__affinity": {"nodeAffinity": {WANTED: [
            {"weight": 101, "preference": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": []}]}}]}}},
         "must be in the range 1-100"),
        ("apps/v1/DaemonSet", {"spec__updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}, "may not be set when"),
        ("apps/v1/DaemonSet", {"spec__updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}, "cannot be 0"),
        ("v1/ReplicationController", {"spec__selector": {"a": "b"}}, "does not match template"),
        ("batch/v1/Job", {"spec__template__spec__restartPolicy": "Always"}, 'supported values: "Never", "OnFailure"'),
        ("batch/v1/Job", {"spec__completionMode": "Indexed", "spec__parallelism": 2}, "when completion mode is Indexed"),
        ("batch/v1/Job", {"spec__backoffLimitPerIndex": 1}, "requires indexed completion mode"),
        ("batch/v1/Job", {"spec__podFailurePolicy": {"rules": [{"action": "Wait"}]}}, "rules[0].action: Unsupported"),
        ("batch/v1/CronJob", {"spec__schedule": "every day"}, "expected exactly 5 fields"),
        ("batch/v1/CronJob", {"spec__timeZone": "Mars/Base"}, "unknown time zone Mars/Base"),
        ("batch/v1/CronJob", {"metadata__name": "x" * 53}, "must be no more than 52 characters"),
        ("policy/v1/PodDisruptionBudget", {"spec__maxUnavailable": 1}, "cannot be both set"),
        ("policy/v1/PodDisruptionBudget", {"spec__minAvailable": "150%"}, "must not be greater than 100%"),
        ("autoscaling/v2/HorizontalPodAutoscaler", {"spec__minReplicas": 5}, "greater than or equal to `minReplicas`"),
        ("networking.k8s.io/v1/IPAddress", {"metadata__name": "192.0.2.07"}, "must be a valid IP address"),
        ("networking.k8s.io/v1/IPAddress", {"metadata__name": "2001:db8::0"}, "write 2001:db8::"),
        ("networking.k8s.io/v1/ServiceCIDR", {"spec__cidrs": ["192.0.2.7/24"]}, "must be in canonical form"),
        ("networking.k8s.io/v1/ServiceCIDR", {"spec__cidrs": ["192.0.2.0/25", "192.0.2.128/25"]}, "each IP family"),
        ("rbac.authorization.k8s.io/v1/Role", {"rules": [{"verbs": []}]}, "verbs must contain at least one value"),
        ("rbac.authorization.k8s.io/v1/Role", {"metadata__name": "a/b"}, "may not contain '/'"),
        ("rbac.authorization.k8s.io/v1/RoleBinding", {"roleRef__kind": "Rule"}, "roleRef.kind: Unsupported value"),
        ("rbac.authorization.k8s.io/v1/ClusterRoleBinding", {"roleRef__kind": "Role"}, "roleRef.kind"),
        ("admissionregistration.k8s.io/v1/ValidatingWebhookConfiguration", {"webhooks__0__name": "short"}, "three segments"),
        ("admissionregistration.k8s.io/v1/ValidatingAdmissionPolicyBinding",
         {"spec__validationActions": ["Deny", "Warn"]}, "both Deny and Warn"),
        ("storage.k8s.io/v1/StorageClass", {"reclaimPolicy": "Burn"}, "reclaimPolicy: Unsupported value"),
        ("v1/PersistentVolume", {"spec__nfs": {"server": "a", "path": "/"}}, "more than 1 volume type"),
        ("v1/PersistentVolumeClaim", {"spec__resources": {}}, "spec.resources[storage]: Required value"),
        ("v1/LimitRange", {"spec__limits": [{"type": "Pod", "min": {"cpu": 2}, "max": {"cpu": 1}}]}, "greater than max"),
        ("v1/ResourceQuota", {"spec__scopes": ["Some"]}, "spec.scopes[0]: Unsupported value"),
        ("scheduling.k8s.io/v1/PriorityClass", {"value": 2_000_000_000}, "maximum allowed value"),
        ("scheduling.k8s.io/v1/PriorityClass", {"metadata__name": "system-mine"}, "reserved for system use"),
        ("node.k8s.io/v1/RuntimeClass", {"handler": "A B"}, "handler: Invalid value"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_field(gvk, changes, told):
    assert told in "; ".join(error.text for error in validate(gvk, filled(gvk, **changes), None))


@pytest.mark.parametrize(
    ("gvk", "changes", "told"),
    [
        ("apps/v1/StatefulSet", {"spec__serviceName": "other"}, "for fields other than 'replicas'"),
        ("apps/v1/StatefulSet", {"spec__replicas": 5}, ""),
        ("apps/v1/DaemonSet", {"spec__selector__matchLabels": {"app": "x"}}, "field is immutable"),
        ("apps/v1/ControllerRevision", {"data": {}}, "field is immutable"),
        ("batch/v1/Job", {"spec__template__spec__nodeSelector": {"a": "b"}}, "spec.template: Invalid value"),
        ("batch/v1/Job", {"spec__parallelism": 3, "spec__completions": 1}, ""),
        ("networking.k8s.io/v1/ServiceCIDR", {"spec__cidrs": ["192.0.2.0/24"]}, "field is immutable"),
        ("networking.k8s.io/v1/IPAddress", {"spec__parentRef__name": "other"}, "field is immutable"),
        ("rbac.authorization.k8s.io/v1/RoleBinding", {"roleRef__name": "edit"}, "cannot change roleRef"),
        ("v1/PersistentVolumeClaim", {"spec__accessModes": ["ReadWriteMany"]}, "spec is immutable after creation"),
        ("v1/PersistentVolumeClaim", {"spec__volumeName": "one"}, ""),
        ("storage.k8s.io/v1/StorageClass", {"provisioner": "example.org/other"}, "updates to provisioner are forbidden"),
        ("scheduling.k8s.io/v1/PriorityClass", {"value": 7}, "may not be changed in an update"),
    ],
)  # fmt: skip
def test_what_may_change_and_what_may_not(gvk, changes, told):
    found = "; ".join(error.text for error in validate(gvk, filled(gvk, **changes), filled(gvk)))
    assert told in found if told else not found


def test_a_suspended_job_may_still_go_elsewhere():
    before = filled("batch/v1/Job", spec__suspend=True)
    after = filled("batch/v1/Job", spec__suspend=True, spec__template__spec__nodeSelector={"a": "b"})
    assert validate("batch/v1/Job", after, before) == []


def test_numbers_that_a_status_must_have_begin_at_zero():
    document = defaults.set_defaults("apps/v1/DaemonSet", {**DOCUMENTS["apps/v1/DaemonSet"], "status": {}})
    assert document["status"]["desiredNumberScheduled"] == 0


@pytest.mark.parametrize(
    "text", ["0 0 1 * *", "@daily", "@every 1h30m", "*/15 0-5,22 ? DEC SUN", "59 23 31 12 6"]
)
def test_schedules(text):
    assert schedule_problem(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "60 * * * *",
        "* * 0 * *",
        "* * * * 7",
        "*/0 * * * *",
        "5-1 * * * *",
        "@often",
        "TZ=UTC * * * * *",
        "a * * * *",
    ],
)
def test_no_schedules(text):
    assert schedule_problem(text)


BORN = "2026-01-02T15:04:05Z"
NOW = 1767366245.0 + 3 * 3600


def shown(gvk: str, status: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """What kubectl get shows, by column."""
    document = filled(gvk, **changes)
    document["metadata"]["creationTimestamp"] = BORN
    document["status"] = status or {}
    kind = kinds.of(*gvk.rsplit("/", 1))
    sheet = columns.sheet(kind)
    cells = sheet.cells(document, NOW)
    assert len(cells) == len(sheet.columns), gvk
    return dict(zip([column.name for column in sheet.columns], cells, strict=True))


@pytest.mark.parametrize("gvk", DOCUMENTS)
def test_every_kind_has_a_cell_for_each_column(gvk):
    cells = shown(gvk)
    assert cells["Name"] == DOCUMENTS[gvk]["metadata"]["name"]
    assert cells.get("Age", "3h") == "3h"


@pytest.mark.parametrize(
    ("gvk", "status", "wanted"),
    [
        ("apps/v1/StatefulSet", {"readyReplicas": 1}, {"Ready": "1/1", "Images": "db:1"}),
        ("apps/v1/DaemonSet", {"desiredNumberScheduled": 3, "numberReady": 2}, {"Desired": 3, "Ready": 2, "Node Selector": "<none>"}),
        ("batch/v1/Job", {"succeeded": 1, "startTime": BORN, "completionTime": "2026-01-02T15:05:00Z",
                          "conditions": [{"type": "Complete", "status": "True"}]},
         {"Status": "Complete", "Completions": "1/1", "Duration": "55s"}),
        ("batch/v1/CronJob", {"lastScheduleTime": BORN}, {"Schedule": "*/5 1-3 * jan,mar mon-fri", "Suspend": "False", "Last Schedule": "3h"}),
        ("policy/v1/PodDisruptionBudget", {"disruptionsAllowed": 2}, {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 2}),
        ("autoscaling/v2/HorizontalPodAutoscaler", None, {"Reference": "Deployment/web", "Targets": "cpu: <unknown>/80%"}),
        ("rbac.authorization.k8s.io/v1/RoleBinding", None, {"Role": "ClusterRole/view", "Users": "ann", "ServiceAccounts": "shop/web"}),
        ("v1/PersistentVolume", {"phase": "Bound"}, {"Capacity": "1Gi", "Access Modes": "RWO", "Status": "Bound"}),
        ("v1/ResourceQuota", {"hard": {"pods": "10", "limits.cpu": "2"}, "used": {"pods": "3"}}, {"Request": "pods: 3/10", "Limit": "limits.cpu: 0/2"}),
        ("networking.k8s.io/v1/IPAddress", None, {"ParentRef": "services/shop/web"}),
        ("networking.k8s.io/v1/ServiceCIDR", None, {"CIDRs": "192.0.2.0/24,2001:db8::/112"}),
        ("scheduling.k8s.io/v1/PriorityClass", None, {"Value": 1000, "Global-Default": False}),
    ],
)  # fmt: skip
def test_columns_say_what_kubectls_users_know(gvk, status, wanted):
    cells = shown(gvk, status)
    assert {name: cells[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"persistentVolumeClaim": {}}, "spec.volumes[0].persistentVolumeClaim.claimName: Required value"),
        ({"configMap": {"name": "a", "items": [{"key": "k", "path": "../up"}]}}, "must not contain '..'"),
        ({"configMap": {"name": "a", "defaultMode": 0o1777}}, "between 0 and 0777"),
        ({"secret": {"secretName": "a", "items": [{"key": "k", "path": "/abs"}]}}, "must be a relative path"),
        ({"hostPath": {"path": "/a/../b"}}, "must not contain '..'"),
        ({"hostPath": {"path": "/a", "type": "Maybe"}}, "hostPath.type: Unsupported value"),
        ({"downwardAPI": {"items": [{"path": "a"}]}}, "one of fieldRef and resourceFieldRef"),
        ({"downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "spec.x"}}]}}, "Unsupported value"),
        ({"projected": {"sources": [{}]}}, "sources[0]: Required value: must specify a volume type"),
        ({"projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 5}}]}}, "10 minutes"),
        ({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, "volumeClaimTemplate.spec.accessModes: Required"),
    ],
)  # fmt: skip
def test_volumes_are_checked_by_their_source(source, told):
    container = {"name": "main", "image": "main:1"}
    pod = {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": [container]}}
    pod["spec"]["volumes"] = [{"name": "v", **source}]
    assert told in "; ".join(
        error.text for error in validate("v1/Pod", defaults.set_defaults("v1/Pod", pod), None)
    )


def test_volumes_as_the_reference_shows_them_are_accepted():
    container = {"name": "main", "image": "main:1"}
    field = {"fieldRef": {"fieldPath": "metadata.labels['app']"}}
    sources = [
        {"emptyDir": {}},
        {"configMap": {"name": "a", "items": [{"key": "k", "path": "sub/k", "mode": 0o400}]}},
        {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "ca"}},
                                   {"downwardAPI": {"items": [{"path": "app", **field}]}}]}},
        {"csi": {"driver": "disk.example.org"}},
        {"hostPath": {"path": "/data", "type": "DirectoryOrCreate"}},
    ]  # fmt: skip
    pod = {"metadata": {"name": "p", "namespace": "shop"}, "spec": {"containers": [container]}}
    pod["spec"]["volumes"] = [{"name": f"v{number}", **source} for number, source in enumerate(sources)]
    assert validate("v1/Pod", defaults.set_defaults("v1/Pod", pod), None) == []
