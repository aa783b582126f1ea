"""Rights in a running cluster: kubectl as somebody else, and a pod that asks the API server with what is mounted into it."""

import json

import pytest

pytestmark = pytest.mark.cluster

ASK = """
import ssl, urllib.error, urllib.request
where = "/var/run/secrets/kubernetes.io/serviceaccount/"
token, namespace = (open(where + name).read() for name in ("token", "namespace"))
context = ssl.create_default_context(cafile=where + "ca.crt")
found = []
for resource in ("pods", "secrets"):
    url = f"https://kubernetes.default.svc/api/v1/namespaces/{namespace}/{resource}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        found.append(urllib.request.urlopen(request, context=context, timeout=20).status)
    except urllib.error.HTTPError as error:
        found.append(error.code)
print(__import__("json").dumps(found))
"""


def test_a_pod_asks_the_api_server_with_its_token(place):
    place("create", "serviceaccount", "reader")
    place(
        "create", "rolebinding", "reader", "--clusterrole=view", f"--serviceaccount={place.namespace}:reader"
    )
    overrides = {"spec": {"serviceAccountName": "reader", "terminationGracePeriodSeconds": 1}}
    place("run", "asks", "--image=example/asks", "--port=8080", f"--overrides={json.dumps(overrides)}")
    place("wait", "--for=condition=Ready", "pod/asks", "--timeout=60s")
    assert place.python("asks", ASK) == [200, 403]


def test_kubectl_as_somebody_else(place):
    ann = "--as=ann"
    assert place.kubectl("auth", "can-i", "create", "deployments", ann, check=False).stdout.strip() == "no"
    place("create", "rolebinding", "ann", "--clusterrole=edit", "--user=ann")
    assert place("auth", "can-i", "create", "deployments", ann).strip() == "yes"
    assert "deployments.apps" in place("auth", "can-i", "--list", ann)
    assert "cannot list resource" in place.refused("get", "nodes", ann)
    assert "ann" in place("auth", "whoami", ann)
    place("create", "configmap", "anns", ann)
    refused = place.refused("create", "rolebinding", "more", "--clusterrole=admin", "--user=ann", ann)
    assert 'cannot create resource "rolebindings"' in refused


def test_a_token_for_whoever_runs_a_program_outside(place):
    token = place("create", "token", "default", "--duration=10m").strip()
    server = place("config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}")
    words = ["--kubeconfig=/dev/null", f"--server={server}", "--insecure-skip-tls-verify", f"--token={token}"]
    done = place.command.run([place.command.kubectl_words(place.cluster)[0], *words, "auth", "whoami"])
    assert f"system:serviceaccount:{place.namespace}:default" in done.stdout


def test_a_secret_that_asks_for_a_token_has_one_and_goes_with_its_account(place):
    place("create", "serviceaccount", "old")
    place.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "old"}},
            "type": "kubernetes.io/service-account-token",
        }
    )
    place("wait", "--for=jsonpath={.data.token}", "secret/old", "--timeout=30s")
    place("delete", "serviceaccount", "old")
    place("wait", "--for=delete", "secret/old", "--timeout=30s")


def test_roles_that_are_added_up_follow_their_parts(place):
    name = f"more-{place.namespace}"
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {f"example.org/{name}": "true"}},
        "rules": [{"apiGroups": ["example.org"], "resources": ["things"], "verbs": ["get"]}],
    }
    selector = {"matchLabels": {f"example.org/{name}": "true"}}
    whole = {
        **role,
        "metadata": {"name": f"all-{place.namespace}"},
        "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [selector]},
    }
    place.apply(role, whole)
    try:
        path = "--for=jsonpath={.rules[0].resources[0]}=things"
        place("wait", path, f"clusterrole/all-{place.namespace}", "--timeout=30s")
    finally:
        place("delete", "clusterrole", name, f"all-{place.namespace}")
