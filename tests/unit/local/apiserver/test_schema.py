"""The schema as data: that it is whole, and what it finds in documents."""

from __future__ import annotations

import pytest

from netloom.api import quantity
from netloom.local.apiserver import kinds, schema

DEPLOYMENT = "apps/v1/Deployment"


def deployment(**container):
    pod = {"containers": [{"name": "web", "image": "web:1", **container}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"template": {"spec": pod}},
    }


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.gvk)
def test_every_served_kind_has_a_schema(kind):
    fields = schema.root(kind.gvk).fields
    assert {"apiVersion", "kind", "metadata"} <= fields.keys()
    assert fields["metadata"].type_key == "meta.ObjectMeta"
    assert ("status" in fields) or not kind.has_status


def test_a_kind_without_schema_is_not_known_and_has_no_unknown_fields():
    assert not schema.known("example.com/v1/Thing")
    assert schema.known(schema.gvk_of({"apiVersion": "v1", "kind": "Pod"}))
    assert schema.unknown_fields("example.com/v1/Thing", {"a": {"b": 1}}) == []


def test_merge_and_list_facts_of_fields_that_clients_depend_on():
    pod = schema.root("v1/Pod").fields["spec"].fields
    ports = pod["containers"].element.fields["ports"]
    assert (pod["containers"].merge_key, pod["containers"].list_type) == ("name", "map")
    assert (ports.merge_key, ports.keys, dict(ports.key_defaults)) == (
        "containerPort",
        ("containerPort", "protocol"),
        {"protocol": "TCP"},
    )
    assert (pod["tolerations"].list_type, pod["tolerations"].merge) == ("atomic", False)
    assert pod["volumes"].retain_keys
    assert pod["nodeSelector"].atomic
    meta = schema.root("v1/Pod").fields["metadata"].fields
    assert (meta["finalizers"].list_type, meta["finalizers"].merge, meta["finalizers"].merge_key) == (
        "set",
        True,
        "",
    )
    assert meta["ownerReferences"].keys == ("uid",)
    service = schema.root("v1/Service").fields["spec"].fields
    assert service["ports"].keys == ("port", "protocol")
    assert schema.root("discovery.k8s.io/v1/EndpointSlice").fields["endpoints"].list_type == "atomic"


def test_unknown_fields_are_named_by_path():
    document = deployment(imagee="x", ports=[{"containerPort": 80}, {"containerPrt": 81}])
    document["spec"]["replica"] = {"deep": {"er": 1}}
    document["metadata"]["labels"] = {"any": "label"}
    assert schema.unknown_fields(DEPLOYMENT, document) == [
        "spec.template.spec.containers[0].imagee",
        "spec.template.spec.containers[0].ports[1].containerPrt",
        "spec.replica",
    ]
    assert schema.unknown_fields(DEPLOYMENT, deployment()) == []


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({"image": 3}, "containers[0].image: Invalid value: 3: must be a string"),
        ({"tty": "yes"}, 'containers[0].tty: Invalid value: "yes": must be true or false'),
        ({"ports": {}}, "containers[0].ports: Invalid value: {}: must be a list"),
        ({"ports": [7]}, "containers[0].ports[0]: Invalid value: 7: must be an object"),
        ({"ports": [{"containerPort": "80"}]}, 'containers[0].ports[0].containerPort: Invalid value: "80": must be an integer of 32 bits'),
        ({"ports": [{"containerPort": True}]}, "containers[0].ports[0].containerPort: Invalid value: true: must be an integer of 32 bits"),
        ({"ports": [{"containerPort": 2**31}]}, "containers[0].ports[0].containerPort: Invalid value: 2147483648: must be an integer of 32 bits"),
        ({"livenessProbe": {"httpGet": {"port": 1.5}}}, "containers[0].livenessProbe.httpGet.port: Invalid value: 1.5: must be an integer or a string"),
        ({"resources": {"limits": {"cpu": "1x"}}}, 'containers[0].resources.limits[cpu]: Invalid value: "1x": must be a quantity such as 500m, 1.5 or 64Mi'),
        ({"resources": []}, "containers[0].resources: Invalid value: []: must be an object"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_type_are_named_by_path(container, told):
    errors = schema.type_errors(DEPLOYMENT, deployment(**container))
    assert [error.text for error in errors] == [f"spec.template.spec.{told}"]
    assert {error.type for error in errors} == {"FieldValueTypeInvalid"}


@pytest.mark.parametrize(
    "container",
    [
        {"image": None, "ports": [None]},
        {"livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"httpGet": {"port": 80}}},
        {
            "resources": {
                "limits": {"cpu": 1, "memory": "64Mi", "example.com/x": "1e3", "ephemeral-storage": 1.5}
            }
        },
    ],
)
def test_values_of_the_right_type_are_no_errors(container):
    assert schema.type_errors(DEPLOYMENT, deployment(**container)) == []


@pytest.mark.parametrize(
    ("text", "good"), [("aGVsbG8=", True), ("aGVs\nbG8=", True), ("hello!", False), ("abc", False)]
)
def test_bytes_are_base64(text, good):
    errors = schema.type_errors("v1/Secret", {"data": {"key": text}})
    assert ([] if good else ["data[key]"]) == [error.field for error in errors]


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2026-01-02T15:04:05Z", True),
        ("2026-01-02T15:04:05.123456+01:00", True),
        ("2026-01-02", False),
        ("now", False),
    ],
)
def test_times_are_rfc_3339(text, good):
    assert schema.fits("time", text) is good


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("64Mi", str(64 * 2**20)),
        ("1.5", "1.5"),
        ("2k", "2000"),
        ("1e3", "1000"),
        ("1E", "1E18"),
        ("-1", "-1"),
        (3, "3"),
        (".5", "0.5"),
    ],
)
def test_quantities_have_exact_values(text, value):
    assert quantity.parse(text) == quantity.Decimal(value)


@pytest.mark.parametrize("text", ["", "1 Gi", "Mi", "1mi", "one", None, True, "1e", "0x10"])
def test_what_is_no_quantity(text):
    assert quantity.parse(text) is None
