"""Protobuf requests: what kubectl really sends, and what must be refused."""

from __future__ import annotations

import base64
import calendar
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netloom.local.apiserver import schema
from netloom.local.apiserver.protobuf import Slot, Undecodable, decode, slots
from netloom.local.apiserver.schema import Node

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


@pytest.mark.parametrize(
    ("recorded", "document"),
    [
        (
            "azhzAAoPCgJ2MRIJTmFtZXNwYWNlEhsKEwoDcmVjEgAaACIAKgAyADgAQgASABoCCgAaACIA",
            {"kind": "Namespace", "metadata": {"name": "rec"}, "spec": {}, "status": {}},
        ),
        (
            "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEiwKFwoEY29uZhIAGgNyZWMiACoAMgA4AEIAEgYKAWESAWISCQoFZW1wdHkSABoAIgA=",
            {
                "kind": "ConfigMap",
                "metadata": {"name": "conf", "namespace": "rec"},
                "data": {"a": "b", "empty": ""},
            },
        ),
        (
            "azhzAAoMCgJ2MRIGU2VjcmV0EiIKFgoDa2V5EgAaA3JlYyIAKgAyADgAQgASBgoBaxIBdhoAGgAiAA==",
            {"kind": "Secret", "metadata": {"name": "key", "namespace": "rec"}, "data": {"k": "dg=="}},
        ),
        (
            "azhzAAoUCgJ2MRIOU2VydmljZUFjY291bnQSGgoYCgVyb2JvdBIAGgNyZWMiACoAMgA4AEIAGgAiAA==",
            {"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "rec"}},
        ),
        (
            "azhzAAoNCgJ2MRIHU2VydmljZRJgCiQKBGF3YXkSABoDcmVjIgAqADIAOABCAFoLCgNhcHASBGF3YXkSNBILCgNhcHASBGF3"
            "YXkaACIMRXh0ZXJuYWxOYW1lOgBCAFILZXhhbXBsZS5vcmdaAGAAaAAaAgoAGgAiAA==",
            {
                "kind": "Service",
                "metadata": {"name": "away", "namespace": "rec", "labels": {"app": "away"}},
                "spec": {"selector": {"app": "away"}, "type": "ExternalName", "externalName": "example.org"},
                "status": {"loadBalancer": {}},
            },
        ),
        (
            "azhzAAoNCgJ2MRIHU2VydmljZRJWCiQKBGhlYWQSABoDcmVjIgAqADIAOABCAFoLCgNhcHASBGhlYWQSKhILCgNhcHASBGhl"
            "YWQaBE5vbmUiCUNsdXN0ZXJJUDoAQgBSAFoAYABoABoCCgAaACIA",
            {
                "kind": "Service",
                "metadata": {"name": "head", "namespace": "rec", "labels": {"app": "head"}},
                "spec": {"selector": {"app": "head"}, "type": "ClusterIP", "clusterIP": "None"},
                "status": {"loadBalancer": {}},
            },
        ),
    ],
)
def test_bodies_of_kubectl_1_33(recorded, document):
    assert decode(base64.b64decode(recorded)) == {"apiVersion": "v1", **document}


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
        (body("v1", "ConfigMap") + field(3, "gzip"), "content encoding 'gzip' is not in use"),
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


def test_numbers_of_newer_clients_are_skipped():
    document = decode(
        body("v1", "ConfigMap", field(99, "x"), field(98, 0), field(2, field(1, "k") + field(2, "v")))
    )
    assert document == {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}}


def test_zeros_of_pointers_count_and_zeros_of_values_do_not():
    zero = field(2, 0)
    surge = decode(
        body("apps/v1", "Deployment", field(2, field(4, field(2, field(1, zero) + field(2, zero)))))
    )
    assert surge["spec"]["strategy"] == {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0}}
    port = decode(
        body("v1", "Service", field(2, field(1, field(1, "") + field(3, 80) + field(4, zero) + field(5, 0))))
    )
    assert port["spec"]["ports"] == [{"port": 80}]
    scale = decode(body("autoscaling/v1", "Scale", field(2, field(1, 0))))
    assert scale["spec"] == {}


def test_the_numbers_name_fields_of_the_schema():
    for key, described in schema.data().types.items():
        names = list(named(key))
        assert len(names) == len(set(names)), key
        # what has no number is younger than the kubectl that the numbers are from
        assert set(names) <= described.fields.keys(), key
        if not names:
            # kinds of our own have no protobuf, as custom resources have none
            ours = (
                "admissionregistration.",
                "apiextensions.",
                "authorization.FieldSelectorRequirement",
                "batch.",
                "bgp.",
                "core.",
                "clusterpolicy.",
                "egress.",
                "gateways.",
                "loadbalancers.",
                "meta.ShardInfo",
                "nad.",
                "networks.",
                "pools.",
                "storage.",
                "traffic.",
            )
            assert key.startswith(ours), key


def named(key: str) -> Iterator[str]:
    for slot in slots(key).values():
        if slot.inlined:
            yield from named(slot.inlined)
        else:
            yield slot.name


# ---- any document: written as Go writes it, read back


def texts(least: int = 1) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=5)


START = datetime(1970, 1, 1, tzinfo=UTC)


def times(pattern: str) -> st.SearchStrategy[str]:
    return st.integers(0, 2**52).map(lambda us: (START + timedelta(microseconds=us)).strftime(pattern))


SCALARS = {
    "string": texts(),
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bytes": st.binary(min_size=1, max_size=5).map(lambda data: base64.b64encode(data).decode()),
    "quantity": st.sampled_from(["0", "1", "500m", "2Gi"]),
    "int-or-string": st.integers(0, 2**31 - 1) | texts(),
    "time": times("%Y-%m-%dT%H:%M:%SZ"),
    "microtime": times("%Y-%m-%dT%H:%M:%S.%fZ"),
    "any": st.dictionaries(texts(), st.integers() | texts(), max_size=2),
}


def members(node: Node, inlined: str = "") -> Iterator[tuple[tuple[int, ...], Slot, Node]]:
    """The way of numbers to each field of an object, through what is inlined."""
    for number, slot in slots(inlined or node.type_key).items():
        if slot.inlined:
            for way, inner, member in members(node, slot.inlined):
                yield (number, *way), inner, member
        else:
            yield (number,), slot, node.fields[slot.name]


def values(node: Node, depth: int) -> st.SearchStrategy:
    if node.shape == "list":
        return st.lists(values(node.element, depth), min_size=1, max_size=2)
    if node.shape == "map":
        return st.dictionaries(texts(0), values(node.element, depth), min_size=1, max_size=2)
    return objects(node, depth - 1) if node.shape == "object" else SCALARS[node.shape]


@st.composite
def objects(draw, node: Node, depth: int) -> dict:
    found = {}
    fields = [each for each in members(node) if depth > 0 or each[2].shape in SCALARS]
    for _, slot, member in draw(st.lists(st.sampled_from(fields), max_size=4)) if fields else ():
        value = draw(values(member, depth))
        counts = slot.pointer or slot.name in node.required or member.shape == "quantity"
        if (
            value
            or member.shape == "object"
            or (counts and (slot.pointer or member.shape != "int-or-string"))
        ):
            found[slot.name] = value
    return found


def written(node: Node, document: dict) -> bytes:
    out = b""
    for way, slot, member in members(node):
        for piece in pieces(member, document[slot.name]) if slot.name in document else ():
            message = field(way[-1], piece)
            for number in reversed(way[:-1]):
                message = field(number, message)
            out += message
    return out


def pieces(node: Node, value) -> list[int | bytes]:
    if node.shape == "list":
        return [piece for item in value for piece in pieces(node.element, item)]
    if node.shape == "map":
        return [field(1, key) + field(2, mapped(node.element, item)) for key, item in value.items()]
    match node.shape:
        case "object":
            return [written(node, value)]
        case "string":
            return [value.encode()]
        case "bytes":
            return [base64.b64decode(value)]
        case "quantity":
            return [field(1, value)]
        case "int-or-string":
            return [field(1, 1) + field(3, value) if isinstance(value, str) else field(2, value)]
        case "time" | "microtime":
            moment = datetime.fromisoformat(value)
            return [field(1, calendar.timegm(moment.utctimetuple())) + field(2, moment.microsecond * 1000)]
        case "any":
            return [field(1, json.dumps(value))]
        case _:
            return [int(value)]


def mapped(node: Node, value) -> int | bytes:
    made = pieces(node, value)
    return b"".join(field(1, piece) for piece in made) if node.shape == "list" else made[0]


@pytest.mark.parametrize("gvk", [kind.gvk for kind in schema.data().kinds])
@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_any_document_survives(gvk, data):
    api_version, _, kind = gvk.rpartition("/")
    document = data.draw(objects(schema.root(gvk), 5))
    for name in ("apiVersion", "kind"):
        document.pop(name, None)
    found = decode(body(api_version, kind, written(schema.root(gvk), document)))
    assert found == {"apiVersion": api_version, "kind": kind, **document}
    assert schema.unknown_fields(gvk, found) == []
    assert schema.type_errors(gvk, found) == []


@given(st.data())
def test_cut_and_flipped_bodies_are_read_or_refused(data):
    whole = bytearray(base64.b64decode(data.draw(st.sampled_from([SERVICE, DEPLOYMENT, DELETE_OPTIONS]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Undecodable):
        decode(bytes(whole[: data.draw(st.integers(4, len(whole)))]))
