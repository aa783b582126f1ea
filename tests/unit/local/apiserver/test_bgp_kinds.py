"""BGPPeer: what is refused and filled in, and that deploy/crds says what the API server says."""

from pathlib import Path

import pytest
import yaml

from netloom.local.apiserver import kinds_custom, schema
from netloom.local.apiserver.defaults import set_defaults
from netloom.local.apiserver.validate import validate

CRD = Path(__file__).parents[4] / "deploy" / "crds" / "bgppeers.yaml"
RIGHT = {"peerAddress": "192.0.2.1", "peerASN": 64513}
SHAPES = {"object": "object", "map": "object", "list": "array", "int32": "integer", "int64": "integer",
          "string": "string", "time": "string", "bool": "boolean"}  # fmt: skip


def faults(spec):
    kind = kinds_custom.BGP_PEERS
    document = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "switch"},
        "spec": spec,
    }
    return [error.text for error in validate(kind.gvk, document, None)]


def test_what_is_right():
    assert faults(RIGHT) == []
    whole = {
        **RIGHT,
        "peerAddress": "2001:db8::1",
        "peerPort": 1179,
        "myASN": 4200000000,
        "nodeSelector": {"matchLabels": {"rack": "1"}},
        "sourceAddress": "2001:db8::2",
        "holdTimeSeconds": 9,
        "keepaliveSeconds": 3,
        "ebgpMultiHop": True,
        "passwordSecretRef": {"name": "bgp", "namespace": "netloom-system", "key": "password"},
        "bfd": {"minRxMs": 50},
        "gracefulRestart": False,
        "addressFamilies": ["IPv4", "IPv6"],
    }
    assert faults(whole) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"peerAddress": "192.0.2.1; protocol"}, "spec.peerAddress"),
        ({"peerAddress": "224.0.0.1"}, "spec.peerAddress"),
        ({"peerPort": 70000}, "spec.peerPort"),
        ({"peerASN": 0}, "spec.peerASN"),
        ({"myASN": 2**32 - 1}, "spec.myASN"),
        ({"peerASN": 23456}, "spec.peerASN"),
        ({"holdTimeSeconds": 2}, "spec.holdTimeSeconds"),
        ({"holdTimeSeconds": 9, "keepaliveSeconds": 10}, "spec.keepaliveSeconds"),
        ({"sourceAddress": "2001:db8::2"}, "spec.sourceAddress"),
        ({"sourceAddress": "eth0"}, "spec.sourceAddress"),
        ({"bfd": {"minRxMs": 1}}, "spec.bfd.minRxMs"),
        ({"bfd": {"multiplier": 1}}, "spec.bfd.multiplier"),
        ({"addressFamilies": ["IPv5"]}, "spec.addressFamilies[0]"),
        ({"passwordSecretRef": {"name": "", "namespace": "x"}}, "spec.passwordSecretRef.name"),
        (
            {"nodeSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}},
            "spec.nodeSelector.matchExpressions[0].operator",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_field(change, field):
    (told,) = faults({**RIGHT, **change})
    assert told.startswith(f"{field}: "), told


def test_peer_and_its_system_must_be_there():
    assert [told.partition(":")[0] for told in faults({})] == ["spec.peerAddress", "spec.peerASN"]


def test_what_is_not_said_is_filled_in():
    spec = {**RIGHT, "bfd": {}, "passwordSecretRef": {"name": "bgp", "namespace": "x"}}
    document = {"apiVersion": "netloom.io/v1alpha1", "kind": "BGPPeer", "spec": spec}
    assert set_defaults(kinds_custom.BGP_PEERS.gvk, document)["spec"] == {
        **spec,
        "peerPort": 179,
        "myASN": 64512,
        "holdTimeSeconds": 90,
        "gracefulRestart": True,
        "bfd": {"minRxMs": 100, "minTxMs": 100, "multiplier": 3},
        "passwordSecretRef": {"name": "bgp", "namespace": "x", "key": "password"},
    }


def same(node, said, path):
    if node.type_key in ("meta.ObjectMeta", "meta.LabelSelector"):
        return
    assert SHAPES[node.shape] == said["type"], path
    if node.shape == "object":
        assert node.fields.keys() == said["properties"].keys(), path
        assert set(node.required) == set(said.get("required", ())), path
        for name, member in node.fields.items():
            same(member, said["properties"][name], f"{path}.{name}")
    elif node.shape == "list":
        assert (node.list_type == "set") == (said.get("x-kubernetes-list-type") == "set"), path
        same(node.element, said["items"], f"{path}[]")
    elif node.shape == "map":
        same(node.element, said["additionalProperties"], f"{path}{{}}")


def test_the_definition_for_real_clusters_says_the_same():
    told, kind = yaml.safe_load(CRD.read_text()), kinds_custom.BGP_PEERS
    assert told["metadata"]["name"] == kind.qualified
    assert (told["spec"]["group"], told["spec"]["scope"]) == (kind.group, "Cluster")
    names = told["spec"]["names"]
    assert (names["plural"], names["singular"], names["kind"]) == (kind.plural, kind.singular, kind.kind)
    (version,) = told["spec"]["versions"]
    same(schema.root(kind.gvk), version["schema"]["openAPIV3Schema"], kind.kind)
