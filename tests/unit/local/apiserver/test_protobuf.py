"""Protobuf requests: what kubectl really sends, and what must be refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.local.apiserver import schema
from netloom.local.apiserver.protobuf import Undecodable, decode
from netloom.local.apiserver.protobuf_fields import FIELDS, INLINED

# written by kubectl 1.32: create service nodeport svc1 --tcp=80:http; create deployment d0 --image=x --replicas=0 ...; drain
SERVICE = (
    "azhzAAoNCgJ2MRIHU2VydmljZRJuCiEKBHN2YzESABoAIgAqADIAOABCAFoLCgNhcHASBHN2YzESRQoeCgc4MC1odHRwEgNUQ1AYUCIKCAEQABoEaHR0"
    "cCgAEgsKA2FwcBIEc3ZjMRoAIghOb2RlUG9ydDoAQgBSAFoAYABoABoCCgAaACIA"
)
DEPLOYMENT = (
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50EscBCh0KAmQwEgAaACIAKgAyADgAQgBaCQoDYXBwEgJkMBKXAQgAEgsKCQoDYXBwEgJkMBp+ChsKABIA"
    "GgAiACoAMgA4AEIAWgkKA2FwcBICZDASXxJBCgF4EgF4GgNydW4aAml0GhAtLWRyeS1ydW49c2VydmVyKgAyCgoAEAAYUCIAKgBCAGoAcgCAAQCIAQCQ"
    "AQCiAQAaADIAQgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA="
)
DELETE_OPTIONS = "azhzAAoTCgJ2MRINRGVsZXRlT3B0aW9ucxIAGgAiAA=="


def field(number, value):
    """One field of the wire format: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value):
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def body(api_version, kind, *fields):
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, b"".join(fields))


def test_a_service_of_kubectl():
    assert decode(base64.b64decode(SERVICE)) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "svc1", "labels": {"app": "svc1"}},
        "spec": {
            "ports": [{"name": "80-http", "protocol": "TCP", "port": 80, "targetPort": "http"}],
            "selector": {"app": "svc1"},
            "type": "NodePort",
        },
        "status": {"loadBalancer": {}},
    }


def test_a_deployment_of_kubectl_keeps_its_zero():
    document = decode(base64.b64decode(DEPLOYMENT))
    container = {
        "name": "x",
        "image": "x",
        "command": ["run", "it", "--dry-run=server"],
        "ports": [{"containerPort": 80}],
        "resources": {},
    }
    assert document["spec"] == {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "d0"}},
        "template": {"metadata": {"labels": {"app": "d0"}}, "spec": {"containers": [container]}},
        "strategy": {},
    }
    assert schema.unknown_fields("apps/v1/Deployment", document) == []
    assert schema.type_errors("apps/v1/Deployment", document) == []


def test_options_are_read_whatever_resource_they_are_for():
    assert decode(base64.b64decode(DELETE_OPTIONS)) == {"apiVersion": "v1", "kind": "DeleteOptions"}
    grace = decode(body("apps/v1", "DeleteOptions", field(1, 0), field(4, "Orphan")))
    assert grace == {
        "apiVersion": "apps/v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 0,
        "propagationPolicy": "Orphan",
    }


def test_values_that_json_writes_in_its_own_way():
    quantity = field(1, "cpu") + field(2, field(1, "500m"))
    probe = field(1, field(3, field(1, field(1, 0) + field(2, 8080)))) + field(7, 0)
    reference = field(1, field(1, "map")) + field(2, "key") + field(3, 0)
    context = field(4, varint(5) + varint(6)) + field(4, 7) + field(2, -1)
    container = (
        field(1, "c")
        + field(8, field(1, quantity))
        + field(10, probe)
        + field(7, field(1, "A") + field(3, field(3, reference)))
    )
    volume = field(1, "v") + field(2, field(19, field(1, field(1, "map"))))
    document = decode(
        body("v1", "Pod", field(2, field(1, volume) + field(2, container) + field(14, context)))
    )
    assert document["spec"] == {
        "volumes": [{"name": "v", "configMap": {"name": "map"}}],
        "containers": [
            {
                "name": "c",
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"tcpSocket": {"port": 8080}, "terminationGracePeriodSeconds": 0},
                "env": [
                    {
                        "name": "A",
                        "valueFrom": {"configMapKeyRef": {"name": "map", "key": "key", "optional": False}},
                    }
                ],
            }
        ],
        "securityContext": {"supplementalGroups": [5, 6, 7], "runAsUser": -1},
    }


def test_times_bytes_and_field_sets():
    entry = field(1, "me") + field(4, field(1, 1_767_268_800)) + field(7, field(1, '{"f:data":{}}'))
    meta = field(1, "s") + field(8, b"") + field(17, entry)
    secret = decode(body("v1", "Secret", field(1, meta), field(2, field(1, "k") + field(2, b"\xff\x00"))))
    assert secret["metadata"] == {
        "name": "s",
        "managedFields": [{"manager": "me", "time": "2026-01-01T12:00:00Z", "fieldsV1": {"f:data": {}}}],
    }
    assert secret["data"] == {"k": "/wA="}
    lease = decode(
        body("coordination.k8s.io/v1", "Lease", field(2, field(4, field(1, 1_767_268_800) + field(2, 1500))))
    )
    assert lease["spec"] == {"renewTime": "2026-01-01T12:00:00.000001Z"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"{}", "no Kubernetes protobuf"),
        (body("example.com/v1", "Thing"), "kind example.com/v1/Thing is not known"),
        (body("v1", "ConfigMap", field(99, "x")), "v1/ConfigMap: protobuf field 99 is not known"),
        (
            body("v1", "Pod", field(2, field(2, field(26, "x")))),
            r"v1/Pod\.spec\.containers: protobuf field 26 is not known",
        ),
        (body("v1", "ConfigMap", field(1, 7)), "a number stands where a text or message is due"),
        (body("v1", "ConfigMap", field(4, "x")), "a text stands where a number is due"),
        (body("v1", "ConfigMap", field(1, field(1, b"\xff"))), "not UTF-8"),
        (body("v1", "ConfigMap", field(1, "x" * 9))[:-3], "ends in the middle of a field"),
        (b"k8s\0\xff", "ends in the middle of a number"),
        (b"k8s\0\x0b", "wire type 3 is not in use"),
        (body("v1", "Secret", field(1, field(8, field(1, 2**62)))), "is no time"),
        (body("v1", "Secret", field(1, field(17, field(7, field(1, "spam"))))), "fieldsV1 is no JSON"),
    ],
)
def test_what_cannot_be_read_is_refused(data, told):
    with pytest.raises(Undecodable, match=told):
        decode(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for start in (b"k8s\0", body("v1", "Pod")[:-1], b"k8s\0" + field(1, field(1, "v1") + field(2, "Pod"))):
        try:
            decode(start + data)
        except Undecodable:
            continue


def test_the_numbers_name_fields_of_the_schema():
    types = schema.data().types
    for key, words in FIELDS.items():
        names = [word for word in words.split() if not word.startswith(("@", "+"))]
        names += [
            name for word in words.split() if word.startswith("+") for name in INLINED[word[1:]].split()
        ]
        assert set(names) - {"resize"} <= types[key].fields.keys(), key
        assert len(names) == len(set(names)), key
