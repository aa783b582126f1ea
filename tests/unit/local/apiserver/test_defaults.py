"""Defaults, kind by kind, as the API documents them; filling in twice changes nothing."""

from __future__ import annotations

import copy

import pytest

from netloom.local.apiserver import schema
from netloom.local.apiserver.defaults import set_defaults

TEMPLATE = {
    "restartPolicy": "Always",
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "terminationGracePeriodSeconds": 30,
    "securityContext": {},
}
CONTAINER = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
}


def pod(container=None, **spec):
    return {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "app:1", **(container or {})}], **spec},
    }


def container_of(document):
    return document["spec"]["containers"][0]


def test_what_is_empty_in_metadata_is_not_there():
    meta = {"name": "p", "annotations": {}, "labels": {"a": ""}, "finalizers": [], "ownerReferences": None}
    result = set_defaults("v1/ConfigMap", {"metadata": meta, "data": {}})
    assert result == {"metadata": {"name": "p", "labels": {"a": ""}}, "data": {}}


def test_a_pod():
    result = set_defaults("v1/Pod", pod())
    assert result["spec"] == {
        **TEMPLATE,
        "enableServiceLinks": True,
        "containers": [{"name": "c", "image": "app:1", "imagePullPolicy": "IfNotPresent", **CONTAINER}],
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("registry.example:5000/app", "Always"),
        ("registry.example:5000/app:2", "IfNotPresent"),
        ("app@sha256:0123", "IfNotPresent"),
        ("app:latest@sha256:0123", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image, policy):
    assert container_of(set_defaults("v1/Pod", pod({"image": image})))["imagePullPolicy"] == policy


def test_probes_and_hooks():
    value = {
        "livenessProbe": {"httpGet": {"port": 80}},
        "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 3, "timeoutSeconds": 0},
        "startupProbe": {"grpc": {"port": 80}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/bye"}}},
    }
    result = container_of(set_defaults("v1/Pod", pod(value)))
    times = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    assert result["livenessProbe"] == {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, **times}
    assert result["readinessProbe"] == {"tcpSocket": {"port": 80}, **times, "periodSeconds": 3}
    assert result["startupProbe"] == {"grpc": {"port": 80, "service": ""}, **times}
    assert result["lifecycle"]["preStop"]["httpGet"] == {"port": 80, "path": "/bye", "scheme": "HTTP"}


def test_ports_resources_and_environment():
    value = {
        "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    result = container_of(set_defaults("v1/Pod", pod(value)))
    assert [port["protocol"] for port in result["ports"]] == ["TCP", "UDP"]
    assert result["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
    assert result["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"


def test_host_network_opens_ports_on_the_node():
    result = set_defaults("v1/Pod", pod({"ports": [{"containerPort": 80}]}, hostNetwork=True))
    assert container_of(result)["ports"][0]["hostPort"] == 80


def test_volumes():
    volumes = [
        {"name": "a"},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "hostPath": {"path": "/x"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
    ]
    result = set_defaults("v1/Pod", pod(volumes=volumes))["spec"]["volumes"]
    assert result[0] == {"name": "a", "emptyDir": {}}
    assert result[1]["secret"] == {"secretName": "s", "defaultMode": 0o644}
    assert result[2]["hostPath"] == {"path": "/x", "type": ""}
    assert result[3]["projected"] == {
        "defaultMode": 0o644,
        "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}],
    }


def test_single_and_several_addresses_of_a_pod_agree():
    assert set_defaults("v1/Pod", {**pod(), "status": {"podIP": "10.1.0.7"}})["status"]["podIPs"] == [
        {"ip": "10.1.0.7"}
    ]
    assert (
        set_defaults("v1/Pod", {**pod(), "status": {"hostIPs": [{"ip": "192.0.2.7"}]}})["status"]["hostIP"]
        == "192.0.2.7"
    )


def test_a_deployment():
    template = {"spec": {"containers": [{"name": "c", "image": "app:1"}], "serviceAccountName": "robot"}}
    result = set_defaults("apps/v1/Deployment", {"spec": {"selector": {}, "template": template}})["spec"]
    assert (result["replicas"], result["revisionHistoryLimit"], result["progressDeadlineSeconds"]) == (
        1,
        10,
        600,
    )
    assert result["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    spec = result["template"]["spec"]
    assert spec["serviceAccount"] == "robot"
    assert TEMPLATE.items() <= spec.items()
    assert "enableServiceLinks" not in spec  # pods only


def test_recreate_has_no_rolling_update_and_zero_replicas_stay():
    document = {"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "template": {}}}
    result = set_defaults("apps/v1/Deployment", document)["spec"]
    assert result["strategy"] == {"type": "Recreate"}
    assert result["replicas"] == 0
    assert set_defaults("apps/v1/ReplicaSet", {"spec": {"template": {}}})["spec"]["replicas"] == 1


def test_a_service():
    result = set_defaults(
        "v1/Service",
        {"spec": {"ports": [{"port": 80}, {"port": 81, "targetPort": "http", "protocol": "UDP"}]}},
    )
    assert result["spec"] == {
        "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
        "ports": [
            {"port": 80, "targetPort": 80, "protocol": "TCP"},
            {"port": 81, "targetPort": "http", "protocol": "UDP"},
        ],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({"type": "NodePort"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        ({"type": "LoadBalancer"}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": True}),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": False},
         {"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": False}),
        ({"externalIPs": ["192.0.2.1"]}, {"externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster"}),
        ({"type": "ExternalName"}, {}),
        ({"sessionAffinity": "ClientIP"}, {"internalTrafficPolicy": "Cluster", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}),
        ({"sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}}}, {"internalTrafficPolicy": "Cluster"}),
    ],
)  # fmt: skip
def test_a_service_by_its_type(spec, fields):
    result = set_defaults("v1/Service", {"spec": spec})["spec"]
    common = {"type", "sessionAffinity", "externalIPs"}
    assert {n: v for n, v in result.items() if n not in common} == fields


def test_endpoints_and_slices():
    result = set_defaults(
        "discovery.k8s.io/v1/EndpointSlice", {"ports": [{"port": 80}, {"name": "x", "protocol": "UDP"}]}
    )
    assert result["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}, {"name": "x", "protocol": "UDP"}]
    result = set_defaults("v1/Endpoints", {"subsets": [{"ports": [{"port": 80}]}]})
    assert result["subsets"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        ({}, ["Ingress"]),
        ({"egress": []}, ["Ingress"]),
        ({"egress": [{}]}, ["Ingress", "Egress"]),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ["Egress"]),
    ],
)
def test_policy_types_follow_the_rules(spec, types):
    result = set_defaults("networking.k8s.io/v1/NetworkPolicy", {"spec": spec})["spec"]
    assert (result["policyTypes"], result["podSelector"]) == (types, {})


def test_policy_ports_are_tcp():
    spec = {"ingress": [{"ports": [{"port": 80}]}], "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]}
    result = set_defaults("networking.k8s.io/v1/NetworkPolicy", {"spec": spec})["spec"]
    assert result["ingress"][0]["ports"][0]["protocol"] == "TCP"
    assert result["egress"][0]["ports"][0]["protocol"] == "UDP"


def test_the_other_kinds():
    assert set_defaults("v1/Namespace", {"metadata": {"name": "shop"}})["metadata"]["labels"] == {
        "kubernetes.io/metadata.name": "shop"
    }
    assert set_defaults("v1/Secret", {})["type"] == "Opaque"
    assert set_defaults("v1/Node", {"spec": {"podCIDR": "10.244.1.0/24"}})["spec"]["podCIDRs"] == [
        "10.244.1.0/24"
    ]
    assert (
        set_defaults("v1/Node", {"spec": {"podCIDRs": ["10.244.1.0/24"]}})["spec"]["podCIDR"]
        == "10.244.1.0/24"
    )
    assert set_defaults("v1/ConfigMap", {"data": {"a": None, "b": "1"}}) == {"data": {"b": "1"}}


KINDS = [
    (
        "v1/Pod",
        pod(
            {"ports": [{"containerPort": 1}], "livenessProbe": {"exec": {"command": ["x"]}}},
            volumes=[{"name": "v"}],
        ),
    ),
    ("v1/Service", {"spec": {"type": "LoadBalancer", "ports": [{"port": 1}]}}),
    ("apps/v1/Deployment", {"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}),
    ("networking.k8s.io/v1/NetworkPolicy", {"spec": {"egress": [{"ports": [{}]}]}}),
]


@pytest.mark.parametrize(("gvk", "document"), KINDS, ids=[gvk for gvk, _ in KINDS])
def test_defaults_are_filled_in_once_fit_their_types_and_leave_the_given_document_alone(gvk, document):
    before = copy.deepcopy(document)
    once = set_defaults(gvk, document)
    assert document == before
    assert set_defaults(gvk, once) == once
    assert schema.type_errors(gvk, once) == []
    assert schema.unknown_fields(gvk, once) == []


def test_odd_documents_are_left_to_validation():
    for gvk in (
        "v1/Pod",
        "v1/Service",
        "apps/v1/Deployment",
        "networking.k8s.io/v1/NetworkPolicy",
        "v1/Node",
    ):
        set_defaults(
            gvk,
            {
                "spec": {
                    "containers": [None, "x"],
                    "ports": [None],
                    "template": None,
                    "ingress": [None],
                    "volumes": "x",
                }
            },
        )
