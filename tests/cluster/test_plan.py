"""`netloom plan` and `netloom matrix` on a running cluster: they read, and change nothing."""

import json

import pytest

pytestmark = pytest.mark.cluster

POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: plan-cart, namespace: shop}
spec:
  podSelector: {matchLabels: {app: cart}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 7070}]}]
"""


def plan(command, shop, *words):
    done = command.netloom("plan", "--name", shop, "-o", "json", *words, check=False)
    assert done.returncode in (0, 2, 8), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_what_is_applied_already_changes_nothing(command, shop):
    code, report = plan(command, shop, "-f", "examples/shop")
    assert (code, report["objects"], report["lost"], report["gained"]) == (0, [], [], [])


def test_a_policy_is_foretold_and_not_made(command, shop, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    code, report = plan(command, shop, "-f", str(tmp_path / "policy.yaml"))
    assert code == 2
    lost = {(row["sender"], row["ports"]) for row in report["lost"] if row["receiver"] == "shop/cart"}
    assert ("shop/web", "all traffic but 7070/tcp") in lost
    assert report["gained"] == []
    (web,) = [row for row in report["lost"] if row["sender"] == "shop/web"]
    assert web["after"][0]["sources"][0]["name"] == "plan-cart"
    names = command.kubectl(shop, "get", "networkpolicies", "-A", "-o", "name").stdout
    assert "plan-cart" not in names


def test_a_service_without_its_pods(command, shop):
    code, report = plan(command, shop, "--delete", "deploy/cart", "-n", "shop", "--fail-on", "lost")
    assert code == 8
    doors = {row["door"]: row["reason"] for row in report["services_lost"]}
    assert "no endpoint any more" in doors["Service shop/cart:80/tcp"]
    assert command.netloom("plan", "--name", shop, "--delete", "deploy/ghost", check=False).returncode == 4


def test_the_matrix_of_the_shop(command, shop):
    found = json.loads(command.netloom("matrix", "--name", shop, "-n", "shop", "-o", "json").stdout)
    assert {"shop/web", "shop/cart", "nodes", "internet"} <= set(found["groups"])
    assert "shop/cart" in command.netloom("matrix", "--name", shop).stdout
