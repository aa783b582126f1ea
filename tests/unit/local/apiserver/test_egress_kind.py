"""EgressGateway: what is refused and filled in, and that schema, structs and deploy/crds say the same."""

from pathlib import Path

import msgspec
import pytest
import yaml

from netloom.api.egress import DROP, NODE, EgressAddress, EgressGatewaySpec, EgressGatewayStatus
from netloom.local.apiserver import kinds_custom, schema
from netloom.local.apiserver.defaults import set_defaults
from netloom.local.apiserver.validate import validate

CRD = Path(__file__).parents[4] / "deploy" / "crds" / "egressgateways.yaml"
KIND = kinds_custom.EGRESS_GATEWAYS


def document(spec):
    made = {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": {"name": "way-out"}}
    return made if spec is None else {**made, "spec": spec}


def faults(spec):
    return [error.text for error in validate(KIND.gvk, document(spec), None)]


def test_sound_gateways_are_taken():
    assert faults({"addresses": ["192.0.2.10"]}) == []
    whole = {
        "podSelector": {"matchLabels": {"app": "billing"}},
        "namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]},
        "destinations": ["198.51.100.0/24", "2001:db8::/32"],
        "exceptDestinations": ["198.51.100.8/32"],
        "nodeSelector": {},
        "addresses": ["192.0.2.10", "192.0.2.11", "2001:db8:1::10"],
        "whenUnavailable": "Node",
    }
    assert faults(whole) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (None, "spec: Required value"),
        ({}, "spec.addresses: Required value"),
        ({"addresses": ["192.0.2.10/32"]}, 'spec.addresses[0]: Invalid value: "192.0.2.10/32"'),
        ({"addresses": ["127.0.0.1"]}, "spec.addresses[0]: Invalid value"),
        ({"addresses": ["fe80::1"]}, "spec.addresses[0]: Invalid value"),
        ({"addresses": ["2001:db8::1", "2001:db8:0::1"]}, "spec.addresses[1]: Duplicate value"),
        ({"addresses": [f"192.0.2.{i}" for i in range(65)]}, "spec.addresses: Too many"),
        ({"addresses": ["192.0.2.1"], "destinations": ["198.51.100.1/24"]}, "spec.destinations[0]: Invalid"),
        ({"addresses": ["192.0.2.1"], "destinations": ["198.51.100.1"]}, "spec.destinations[0]: Invalid"),
        (
            {"addresses": ["192.0.2.1"], "exceptDestinations": ["::/0", "::/0"]},
            "spec.exceptDestinations[1]: Duplicate value",
        ),
        ({"addresses": ["192.0.2.1"], "whenUnavailable": "Maybe"}, "spec.whenUnavailable: Unsupported value"),
        (
            {
                "addresses": ["192.0.2.1"],
                "nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]},
            },
            "spec.nodeSelector.matchExpressions[0].operator",
        ),
    ],
)
def test_faulty_gateways_are_refused(spec, said):
    assert any(said in text for text in faults(spec)), faults(spec)


def test_what_becomes_of_packets_without_a_node_is_filled_in():
    made = set_defaults(KIND.gvk, document({"addresses": ["192.0.2.10"]}))
    assert made["spec"]["whenUnavailable"] == DROP


def names(struct):
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def test_the_definition_the_schema_and_what_we_read_have_the_same_fields():
    crd = yaml.safe_load(CRD.read_text())["spec"]
    (version,) = crd["versions"]
    assert (crd["group"], version["name"], crd["scope"]) == (KIND.group, KIND.version, "Cluster")
    assert (crd["names"]["kind"], tuple(crd["names"]["shortNames"])) == (KIND.kind, KIND.short_names)
    assert ("status" in version["subresources"]) == KIND.has_status
    whole = version["schema"]["openAPIV3Schema"]["properties"]
    for part, struct in (("spec", EgressGatewaySpec), ("status", EgressGatewayStatus)):
        ours = schema.data().types[f"egress.{struct.__name__}"].fields
        assert set(whole[part]["properties"]) == set(ours) == names(struct)
        assert set(whole[part].get("required", ())) == {
            name for name, field in ours.items() if field.required
        }
    item = whole["status"]["properties"]["addresses"]["items"]
    assert set(item["properties"]) == names(EgressAddress)
    unavailable = whole["spec"]["properties"]["whenUnavailable"]
    assert (unavailable["enum"], unavailable["default"]) == ([DROP, NODE], DROP)


def test_the_definition_refuses_what_is_no_address_and_no_range():
    (version,) = yaml.safe_load(CRD.read_text())["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    rules = {
        name: [one["rule"] for one in spec[name]["items"]["x-kubernetes-validations"]]
        for name in ("addresses", "destinations", "exceptDestinations")
    }
    in_range = ["isCIDR(self) && cidr(self) == cidr(self).masked()"]
    assert rules == {
        "addresses": ["isIP(self) && ip(self).isGlobalUnicast()"],
        "destinations": in_range,
        "exceptDestinations": in_range,
    }
    for wrong in (
        {"addresses": ["192.0.2.300"]},
        {"addresses": ["192.0.2.1"], "destinations": ["198.51.100.0/33"]},
    ):
        assert faults(wrong)
