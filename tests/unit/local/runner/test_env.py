from __future__ import annotations

import pytest

from netloom.local.runner import env
from netloom.local.runner.env import Surroundings

CART = """
metadata: {name: my-cart, namespace: shop}
spec: {clusterIP: 10.96.0.7, ports: [{port: 80, name: web}, {port: 53, protocol: UDP, name: dns}]}
"""
KUBERNETES = """
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{port: 443, name: https}]}
"""
SPEC = """
containers:
- name: app
  envFrom: [{prefix: P_, configMapRef: {name: conf}}, {secretRef: {name: gone, optional: true}}]
  env:
  - {name: A, value: one}
  - {name: B, value: "$(A)-$$(A)-$(NOPE)"}
  - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
  - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
  - {name: PW, valueFrom: {secretKeyRef: {name: pw, key: word}}}
  - {name: LOST, valueFrom: {secretKeyRef: {name: pw, key: other, optional: true}}}
"""


@pytest.fixture
def around(service) -> Surroundings:
    return Surroundings(("10.244.1.5",), "172.30.0.11", "web-1", (service(CART),), service(KUBERNETES))


def test_the_environment_of_a_container(pod, around):
    made = pod(SPEC)
    container = made.spec.containers[0]
    assert env.needed_maps(container) == {("ConfigMap", "conf"), ("Secret", "gone"), ("Secret", "pw")}
    maps = {("ConfigMap", "conf"): {"x": "1"}, ("Secret", "pw"): {"word": "hush"}}
    got = env.environment(made, container, around, maps)
    assert {k: got[k] for k in ("A", "B", "IP", "APP", "PW", "P_x", "HOSTNAME", "HOME")} == {
        "A": "one",
        "B": "one-$(A)-$(NOPE)",
        "IP": "10.244.1.5",
        "APP": "web",
        "PW": "hush",
        "P_x": "1",
        "HOSTNAME": "web-1",
        "HOME": "/root",
    }
    assert "LOST" not in got
    assert (got["KUBERNETES_SERVICE_HOST"], got["KUBERNETES_SERVICE_PORT"]) == ("10.96.0.1", "443")
    assert (got["MY_CART_SERVICE_HOST"], got["MY_CART_SERVICE_PORT_DNS"]) == ("10.96.0.7", "53")
    assert got["MY_CART_PORT_53_UDP"] == "udp://10.96.0.7:53"


def test_service_links_can_be_switched_off_but_kubernetes_stays(pod, around):
    made = pod("{enableServiceLinks: false, containers: [{name: app}]}")
    got = env.environment(made, made.spec.containers[0], around, {})
    assert "KUBERNETES_SERVICE_HOST" in got
    assert "MY_CART_SERVICE_HOST" not in got


def test_headless_services_have_no_variables(service):
    assert (
        env.service_variables(service("{metadata: {name: db}, spec: {clusterIP: None, ports: [{port: 1}]}}"))
        == {}
    )


@pytest.mark.parametrize("one_user", [True, False])
def test_where_there_is_one_user_only_tar_keeps_no_owners(pod, one_user):
    made = pod("{containers: [{name: app}]}")
    got = env.environment(made, made.spec.containers[0], Surroundings(one_user=one_user), {})
    assert got.get("TAR_OPTIONS") == ("--no-same-owner" if one_user else None)
