"""Requests of users who are not administrators: what they may, what they are told, and what they cannot give themselves."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.local.apiserver.conftest import Api, config_map, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEW = "/apis/authorization.k8s.io/v1"
ISSUER = "https://kubernetes.default.svc.cluster.local"


def role(name: str, *rules: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "rules": list(rules),
    }


def binding(name: str, kind: str, to: str, *users: str) -> dict[str, Any]:
    group = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{group}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": kind, "name": to},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user} for user in users],
    }


def rule(*verbs: str, groups=("",), resources=("configmaps",), **more) -> dict[str, Any]:
    return {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources), **more}


AS_ANN = {"Impersonate_User": "ann"}


@pytest.fixture
async def granted(api: Api) -> Api:
    """``ann`` may edit what is in the namespace shop; ``eve`` is its admin."""
    await api.create(f"{RBAC}/namespaces/shop/rolebindings", binding("ann", "ClusterRole", "edit", "ann"))
    await api.create(f"{RBAC}/namespaces/shop/rolebindings", binding("eve", "ClusterRole", "admin", "eve"))
    return api


async def test_a_role_holds_in_its_namespace_and_nowhere_else(granted: Api) -> None:
    assert (await granted("POST", "configmaps", config_map("a"), **AS_ANN)).code == 201
    refused = (await granted("GET", "/api/v1/namespaces/default/configmaps", **AS_ANN)).refused(
        403, "Forbidden"
    )
    assert refused["message"] == (
        'configmaps is forbidden: User "ann" cannot list resource "configmaps" in API group "" '
        'in the namespace "default"'
    )
    refused = (await granted("DELETE", "/api/v1/nodes/node-1", **AS_ANN)).refused(403, "Forbidden")
    assert refused["details"] == {"name": "node-1", "kind": "nodes"}
    assert "at the cluster scope" in refused["message"]


async def test_a_binding_that_goes_takes_its_rights_along(granted: Api) -> None:
    assert (await granted("GET", "configmaps", **AS_ANN)).code == 200
    await granted("DELETE", f"{RBAC}/namespaces/shop/rolebindings/ann")
    (await granted("GET", "configmaps", **AS_ANN)).refused(403, "Forbidden")


async def test_paths_of_no_resource(api: Api) -> None:
    assert (await api("GET", "/version", Impersonate_User="system:anonymous")).code == 200
    assert (await api("GET", "/apis", **AS_ANN)).code == 200
    refused = (await api("GET", "/apis", Impersonate_User="system:anonymous")).refused(403, "Forbidden")
    assert refused["message"] == 'forbidden: User "system:anonymous" cannot get path "/apis"'


async def test_names_limit_a_role(api: Api) -> None:
    await api.create("configmaps", config_map("mine"))
    await api.create("configmaps", config_map("yours"))
    await api.create(f"{RBAC}/namespaces/shop/roles", role("one", rule("get", resourceNames=["mine"])))
    await api.create(f"{RBAC}/namespaces/shop/rolebindings", binding("one", "Role", "one", "ann"))
    assert (await api("GET", "configmaps/mine", **AS_ANN)).code == 200
    (await api("GET", "configmaps/yours", **AS_ANN)).refused(403, "Forbidden")
    (await api("GET", "configmaps", **AS_ANN)).refused(403, "Forbidden")


async def test_a_role_that_is_not_there_is_named(api: Api) -> None:
    await api.create(f"{RBAC}/namespaces/shop/rolebindings", binding("x", "ClusterRole", "gone", "ann"))
    refused = (await api("GET", "configmaps", **AS_ANN)).refused(403, "Forbidden")
    assert refused["message"].endswith('RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found')


async def test_nobody_gives_what_they_do_not_have(granted: Api) -> None:
    as_eve = {"Impersonate_User": "eve"}
    roles = f"{RBAC}/namespaces/shop/roles"
    bindings = f"{RBAC}/namespaces/shop/rolebindings"
    assert (await granted("POST", roles, role("fine", rule("get", "list")), **as_eve)).code == 201
    too_much = role("much", rule("escalate", groups=["rbac.authorization.k8s.io"], resources=["roles"]))
    refused = (await granted("POST", roles, too_much, **as_eve)).refused(403, "Forbidden")
    assert "is attempting to grant RBAC permissions not currently held:" in refused["message"]
    assert (
        '{APIGroups:["rbac.authorization.k8s.io"], Resources:["roles"], Verbs:["escalate"]}'
        in refused["message"]
    )
    (
        await granted("POST", bindings, binding("all", "ClusterRole", "cluster-admin", "eve"), **as_eve)
    ).refused(403, "Forbidden")
    assert (await granted("POST", bindings, binding("v", "ClusterRole", "view", "bob"), **as_eve)).code == 201
    # the verb bind is the permission to give a role that one has not
    may_bind = rule("bind", groups=["rbac.authorization.k8s.io"], resources=["clusterroles"])
    await granted.create(roles, role("binder", may_bind))
    await granted.create(bindings, binding("binder", "Role", "binder", "eve"))
    assert (
        await granted("POST", bindings, binding("all", "ClusterRole", "cluster-admin", "eve"), **as_eve)
    ).code == 201


async def test_a_refusal_names_some_of_what_is_missing(granted: Api) -> None:
    much = rule(*(f"verb-{number}" for number in range(100)), resources=[f"r{n}" for n in range(100)])
    path = f"{RBAC}/namespaces/shop/roles"
    refused = (await granted("POST", path, role("much", much), Impersonate_User="eve")).refused(
        403, "Forbidden"
    )
    assert 1_000 < len(refused["message"]) < 50_000


async def test_to_make_by_a_patch_is_to_create(api: Api) -> None:
    await api.create(f"{RBAC}/namespaces/shop/roles", role("patcher", rule("patch")))
    await api.create(f"{RBAC}/namespaces/shop/rolebindings", binding("p", "Role", "patcher", "ann"))
    sent = config_map("new", a="1")
    path = "configmaps/new?fieldManager=test"
    told = await api("PATCH", path, sent, Content_Type="application/apply-patch+yaml", **AS_ANN)
    assert 'cannot create resource "configmaps"' in told.refused(403, "Forbidden")["message"]


async def test_acting_for_others_is_a_right_of_its_own(granted: Api) -> None:
    token = await token_of(granted, "default")
    as_web = {"Authorization": f"Bearer {token}"}
    refused = (await granted("GET", "configmaps", Impersonate_User="eve", **as_web)).refused(403, "Forbidden")
    assert 'cannot impersonate resource "users"' in refused["message"]
    (await granted("GET", "configmaps", Impersonate_Group="x")).refused(400, "BadRequest")
    who = await granted(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {},
        Impersonate_User="ann",
        Impersonate_Group="team",
    )
    assert who.json["status"]["userInfo"] == {"username": "ann", "groups": ["team", "system:authenticated"]}


async def token_of(api: Api, account: str, **spec: Any) -> str:
    made = await api("POST", f"serviceaccounts/{account}/token", {"spec": spec})
    return made.ok()["status"]["token"]


async def test_a_token_is_its_account_while_that_is_there(api: Api) -> None:
    await api.create("serviceaccounts", {"metadata": {"name": "web"}})
    bound = {"Authorization": f"Bearer {await token_of(api, 'web')}"}
    review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    info = (await api("POST", review, {}, **bound)).ok()["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:shop:web"
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]
    await api("DELETE", "serviceaccounts/web")
    await api.create("serviceaccounts", {"metadata": {"name": "web"}})  # a namesake is another one
    (await api("POST", review, {}, **bound)).refused(401, "Unauthorized")


async def test_a_token_of_a_pod_goes_with_it_and_with_time(api: Api) -> None:
    made = await api.create("pods", pod("a"))
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "a", "uid": made["metadata"]["uid"]}
    token = await token_of(api, "default", boundObjectRef=ref, expirationSeconds=600)
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    found = (await api("POST", reviews, {"spec": {"token": token}})).ok()["status"]
    assert found["authenticated"]
    assert found["audiences"] == [ISSUER]
    assert found["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["a"]
    other = {"spec": {"token": token, "audiences": ["https://other.example.org"]}}
    assert "another audience" in (await api("POST", reviews, other)).ok()["status"]["error"]
    api.clock.now += 700
    assert "expired" in (await api("POST", reviews, {"spec": {"token": token}})).ok()["status"]["error"]
    api.clock.now -= 700
    await api("DELETE", "pods/a")
    assert "gone" in (await api("POST", reviews, {"spec": {"token": token}})).ok()["status"]["error"]
    wrong = {"spec": {"boundObjectRef": ref | {"uid": "other"}}}
    (await api("POST", "serviceaccounts/default/token", wrong)).refused(404, "NotFound")
    (await api("POST", "serviceaccounts/default/token", {"spec": {"expirationSeconds": 1}})).refused(
        422, "Invalid"
    )
    (await api("POST", "serviceaccounts/none/token", {})).refused(404, "NotFound")


async def test_a_node_has_what_its_pods_name_and_no_more(api: Api) -> None:
    node = {"Impersonate_User": "system:node:node-1", "Impersonate_Group": "system:nodes"}
    await api.create("secrets", {"metadata": {"name": "named"}})
    await api.create("secrets", {"metadata": {"name": "other"}})
    await api.create(
        "pods", pod("a", nodeName="node-1", volumes=[{"name": "v", "secret": {"secretName": "named"}}])
    )
    await api.create("pods", pod("b", nodeName="node-2"))
    assert (await api("GET", "secrets/named", **node)).code == 200
    refused = (await api("GET", "secrets/other", **node)).refused(403, "Forbidden")
    assert "no relationship found between node 'node-1' and this object" in refused["message"]
    (await api("GET", "secrets", **node)).refused(403, "Forbidden")
    assert (await api("GET", "/api/v1/pods?fieldSelector=spec.nodeName=node-1", **node)).code == 200
    (await api("GET", "/api/v1/pods", **node)).refused(403, "Forbidden")
    (await api("GET", "pods/b", **node)).refused(403, "Forbidden")
    (await api("GET", "/api/v1/nodes/node-2", **node)).refused(403, "Forbidden")
    own = {"metadata": {"name": "node-1", "labels": {"node-role.kubernetes.io/control-plane": ""}}}
    refused = (await api("POST", "/api/v1/nodes", own, **node)).refused(403, "Forbidden")
    assert "not allowed to modify labels" in refused["message"]
    own["metadata"]["labels"] = {"kubernetes.io/hostname": "node-1"}
    assert (await api("POST", "/api/v1/nodes", own, **node)).code == 201
    (await api("POST", "pods", pod("c", nodeName="node-1"), **node)).refused(403, "Forbidden")
    (await api("POST", "serviceaccounts/default/token", {}, **node)).refused(403, "Forbidden")


async def test_reviews_answer_for_others(granted: Api) -> None:
    def asked(user: str, verb: str, resource: str, namespace: str = "shop") -> dict[str, Any]:
        attributes = {"verb": verb, "resource": resource, "namespace": namespace}
        return {"spec": {"user": user, "resourceAttributes": attributes}}

    path = f"{REVIEW}/subjectaccessreviews"
    yes = (await granted("POST", path, asked("ann", "create", "pods"))).ok()["status"]
    assert yes == {
        "allowed": True,
        "reason": 'RBAC: allowed by RoleBinding "ann/shop" of ClusterRole "edit" to User "ann"',
    }
    assert (await granted("POST", path, asked("ann", "create", "pods", "default"))).ok()["status"] == {
        "allowed": False
    }
    local = f"{REVIEW}/namespaces/shop/localsubjectaccessreviews"
    assert (await granted("POST", local, asked("ann", "list", "secrets"))).ok()["status"]["allowed"]
    (await granted("POST", local, asked("ann", "list", "secrets", "default"))).refused(400, "BadRequest")
    (await granted("POST", path, {"spec": {"user": "ann"}})).refused(422, "Invalid")
    (await granted("POST", path, asked("ann", "list", "pods"), **AS_ANN)).refused(403, "Forbidden")


async def test_who_checks_tokens_by_themselves_is_told_how(api: Api) -> None:
    told = (await api("GET", "/.well-known/openid-configuration")).ok()
    assert told["issuer"] == ISSUER
    assert told["jwks_uri"] == f"{ISSUER}/openid/v1/jwks"
    (key,) = (await api("GET", "/openid/v1/jwks")).ok()["keys"]
    assert (key["kty"], key["alg"]) == ("EC", "ES256")
    (await api("GET", "/openid/v1/jwks", Impersonate_User="system:anonymous")).refused(403, "Forbidden")


async def test_pods_have_an_account_its_token_and_a_priority(api: Api) -> None:
    made = await api.create("pods", pod("a"))
    (volume,) = made["spec"]["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    (mount,) = made["spec"]["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert made["spec"]["priority"] == 0
    without = await api.create("pods", pod("b", automountServiceAccountToken=False))
    assert "volumes" not in without["spec"]
    refused = (await api("POST", "pods", pod("c", serviceAccountName="none"))).refused(403, "Forbidden")
    assert 'serviceaccount "none" not found' in refused["message"]
    refused = (await api("POST", "pods", pod("d", priorityClassName="none"))).refused(403, "Forbidden")
    assert "no PriorityClass with name none was found" in refused["message"]


@pytest.mark.parametrize("what", ["Bearer x", "Bearer a.b.c", "bearer  y"])
async def test_a_credential_that_is_not_good_is_no_anonymous_one(api: Api, what) -> None:
    (await api("GET", "/version", Authorization=what)).refused(401, "Unauthorized")
