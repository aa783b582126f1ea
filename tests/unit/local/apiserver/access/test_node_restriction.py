"""What a node may write: its own pods and Leases, and no pod that would open to it what is not its own."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, pod

from netloom.local.apiserver.admission.node_restriction import pod_problem
from netloom.local.apiserver.admission.service_accounts import mirror_problem

NODE = {"Impersonate_User": "system:node:node-1", "Impersonate_Group": "system:nodes"}
RBAC = "/apis/rbac.authorization.k8s.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "b"}}
SECRET = {"name": "v", "secret": {"secretName": "key"}}
TOKEN = {"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}


def mirror(**spec: Any) -> dict[str, Any]:
    made = pod("m", nodeName="node-1", **spec)
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    return made


@pytest.fixture
async def two(api: Api) -> Api:
    """A pod of this node, one of another."""
    await api.create("pods", pod("a", nodeName="node-1"))
    await api.create("pods", pod("b", nodeName="node-2"))
    return api


async def test_a_node_makes_no_pods(api: Api) -> None:
    refused = (await api("POST", "pods", mirror(), **NODE)).refused(403, "Forbidden")
    assert "node 'node-1' cannot create pods" in refused["message"]


async def test_a_node_that_is_given_the_right_makes_no_pods_that_name_what_it_may_not_read(api: Api) -> None:
    group = "rbac.authorization.k8s.io"
    rules = [{"verbs": ["create"], "apiGroups": [""], "resources": ["pods"]}]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "maker"}, "rules": rules}
    await api.create(f"{RBAC}/clusterroles", role)
    given = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "maker"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "maker"},
        "subjects": [{"kind": "Group", "apiGroup": group, "name": "system:nodes"}],
    }
    await api.create(f"{RBAC}/clusterrolebindings", given)
    await api.create("secrets", {"metadata": {"name": "key"}})
    named = mirror(serviceAccountName="default", volumes=[SECRET])
    refused = (await api("POST", "pods", named, **NODE)).refused(403, "Forbidden")
    assert "can not create pods that reference a service account" in refused["message"]
    (await api("GET", "secrets/key", **NODE)).refused(403, "Forbidden")
    assert (await api("POST", "pods", mirror(), **NODE)).code == 201


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"serviceAccount": "web"}, "a service account"),
        ({"volumes": [SECRET]}, "secrets"),
        ({"imagePullSecrets": [{"name": "key"}]}, "secrets"),
        ({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}, "configmaps"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}, "persistentvolumeclaims"),
        ({}, ""),
    ],
)
def test_what_a_nodes_pods_may_not_name(spec, what) -> None:
    expected = f'node "node-1" can not create pods that reference {what}' if what else ""
    assert pod_problem("node-1", mirror(**spec)) == expected


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"serviceAccountName": "web"}, "a mirror pod may not reference service accounts"),
        ({"volumes": [SECRET]}, "a mirror pod may not reference secrets"),
        ({"volumes": [TOKEN]}, "a mirror pod may not use ServiceAccountToken volume projections"),
        ({"volumes": [{"name": "v", "configMap": {"name": "c"}}]}, ""),
    ],
)
async def test_mirror_pods_of_whomever_name_no_account_and_no_secret(api: Api, spec, problem) -> None:
    assert mirror_problem(mirror(**spec)) == problem
    answer = await api("POST", "pods", mirror(**spec))
    if problem:
        assert problem in answer.refused(403, "Forbidden")["message"]
    else:
        assert answer.code == 201


async def test_a_node_writes_its_own_pods_only(two: Api) -> None:
    document = (await two("GET", "pods/b")).ok()
    requests = [
        ("PUT", "pods/b/status", document),
        ("PATCH", "pods/b/status", {"status": {"phase": "Failed"}}),
        ("POST", "pods/b/eviction", EVICTION),
        ("DELETE", "pods/b", None),
    ]
    for method, path, body in requests:
        headers = {"Content_Type": "application/merge-patch+json"} if method == "PATCH" else {}
        refused = (await two(method, path, body, **NODE, **headers)).refused(403, "Forbidden")
        assert "can only write pods with spec.nodeName set to itself" in refused["message"]
    assert (await two("GET", "pods/b")).ok() == document


async def test_what_a_runner_does_with_its_pods(two: Api) -> None:
    said = {"status": {"phase": "Running"}}
    merge = {"Content_Type": "application/strategic-merge-patch+json"}
    assert (await two("PATCH", "pods/a/status", said, **NODE, **merge)).code == 200
    uid = (await two("GET", "pods/a")).ok()["metadata"]["uid"]
    options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
    assert (await two("DELETE", "pods/a", options, **NODE)).code == 200
    # what is gone meanwhile is said to be gone, not forbidden: runners go on by that
    (await two("DELETE", "pods/a", options, **NODE)).refused(404, "NotFound")
    (await two("PATCH", "pods/a/status", said, **NODE, **merge)).refused(404, "NotFound")


async def test_a_node_makes_its_own_lease_only(api: Api) -> None:
    made = await api("POST", "/api/v1/namespaces", {"metadata": {"name": "kube-node-lease"}})
    assert made.code in {201, 409}
    other = {"metadata": {"name": "node-2"}, "spec": {"holderIdentity": "node-1"}}
    refused = (await api("POST", LEASES, other, **NODE)).refused(403, "Forbidden")
    assert "with the same name as itself" in refused["message"]
    assert (await api("POST", LEASES, {"metadata": {"name": "node-1"}}, **NODE)).code == 201
