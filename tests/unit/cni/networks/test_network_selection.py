"""The annotation k8s.v1.cni.cncf.io/networks: every form that is right, every way to be wrong."""

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.networks.selection import (
    MAX_NETWORKS,
    Bandwidth,
    PortMapping,
    default_network_of,
    networks_of,
)
from netloom.errors import InvalidObject
from netloom.units import ObjectKey

POD = ObjectKey("shop", "cart-0")


def read(text):
    return networks_of(text, pod=POD)


def names(text):
    return [(str(one.network), one.interface) for one in read(text)]


@pytest.mark.parametrize("text", ["", "  ", "null", "[]"])
def test_nothing_asked_for_is_nothing(text):
    assert read(text if text != "null" else "[]") == ()


def test_names_with_commas_between_them():
    assert names("blue, infra/red ,green@data0,infra/grey@uplink") == [
        ("shop/blue", "net1"),
        ("infra/red", "net2"),
        ("shop/green", "data0"),
        ("infra/grey", "uplink"),
    ]


def test_a_network_may_be_asked_for_twice():
    assert names("blue,blue") == [("shop/blue", "net1"), ("shop/blue", "net2")]


def test_json_with_all_fields():
    (one,) = read(
        json.dumps(
            [
                {
                    "name": "blue",
                    "namespace": "infra",
                    "interface": "data0",
                    "ips": ["10.1.0.5/24", "2001:db8::5"],
                    "mac": "02:23:45:67:89:AB",
                    "default-route": ["10.1.0.1"],
                    "cni-args": {"colour": {"deep": 1}},
                    "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000},
                    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}],
                    "infiniband-guid": "24:8a:07:03:00:8d:ae:2e",
                    "ipam-claim-reference": "claim",
                    "something-of-tomorrow": 7,
                }
            ]
        )
    )
    assert (str(one.network), one.interface, one.mac) == ("infra/blue", "data0", "02:23:45:67:89:ab")
    assert one.default_route == (ipaddress.ip_address("10.1.0.1"),)
    assert one.cni_args == {"colour": {"deep": 1}}
    assert one.bandwidth == Bandwidth(1000, 2000)
    assert one.port_mappings == (PortMapping(8080, 80, "tcp"),)
    assert one.ignored == ("infiniband-guid", "ipam-claim-reference")
    assert one.capabilities() == {
        "ips": ["10.1.0.5/24", "2001:db8::5"],
        "mac": "02:23:45:67:89:ab",
        "bandwidth": {"ingressRate": 1000, "ingressBurst": 2000, "egressRate": 0, "egressBurst": 0},
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
    }


def test_no_default_route_is_not_an_empty_one():
    assert read('[{"name": "a"}]')[0].default_route is None
    assert read('[{"name": "a", "default-route": null}]')[0].default_route is None
    assert read('[{"name": "a", "default-route": []}]')[0].default_route == ()


def test_the_deprecated_name_of_the_interface_field_is_read():
    assert names('[{"name": "a", "interfaceRequest": "old0"}]') == [("shop/a", "old0")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("blue,,red", "[1]"),
        ("a/b/c", "[0]"),
        ("a@b@c", "[0]"),
        ("blue@", "[0]"),
        ("/blue", "[0]"),
        ("Blue", "[0].name"),
        ("Infra/blue", "[0].namespace"),
        ("blue@net/1", "[0]"),
        ("blue@an-interface-of-sixteen", "[0].interface"),
        ("blue@eth0", "[0].interface"),
        ("blue@lo", "[0].interface"),
        ("blue@x,red@x", "[1].interface"),
        ("blue@net2,red", "[1].interface"),
        ("{}", ""),
        ("[", ""),
        ("[1]", "[0]"),
        ("[{}]", "[0]"),
        ('[{"name": 5}]', "[0]"),
        ('[{"name": "a", "ips": "10.0.0.1"}]', "[0]"),
        ('[{"name": "a", "ips": ["10.0.0.1", "10.0.0.256"]}]', "[0].ips[1]"),
        ('[{"name": "a", "mac": "02:23:45:67:89"}]', "[0].mac"),
        ('[{"name": "a", "mac": "01:23:45:67:89:01"}]', "[0].mac"),
        ('[{"name": "a", "default-route": ["10.0.0.0/24"]}]', "[0].default-route[0]"),
        ('[{"name": "a", "default-route": ["10.0.0.1", "10.0.0.2"]}]', "[0].default-route[1]"),
        ('[{"name": "a", "bandwidth": {"ingressRate": -1}}]', "[0].bandwidth"),
        ('[{"name": "a", "portMappings": [{"hostPort": 0, "containerPort": 80}]}]', "[0].portMappings[0]"),
        (
            '[{"name": "a", "portMappings": [{"hostPort": 1, "containerPort": 8, "protocol": "icmp"}]}]',
            "protocol",
        ),
        ('[{"name": "a", "cni-args": []}]', "[0]"),
        ('"blue"', ""),
    ],
)
def test_what_is_wrong_is_named_by_pod_entry_and_field(text, place):
    with pytest.raises(InvalidObject) as raised:
        read(text)
    assert raised.value.subject == "Pod shop/cart-0"
    assert raised.value.field.startswith("metadata.annotations[k8s.v1.cni.cncf.io/networks]")
    assert place in raised.value.field


def test_the_number_of_networks_is_bounded():
    assert len(read(",".join(["blue"] * MAX_NETWORKS))) == MAX_NETWORKS
    with pytest.raises(InvalidObject, match="at most 64"):
        read(",".join(["blue"] * (MAX_NETWORKS + 1)))


def test_the_default_network_is_one_and_of_the_given_namespace():
    one = default_network_of("blue", pod=POD, namespace="kube-system", interface="eth0")
    assert (str(one.network), one.interface) == ("kube-system/blue", "eth0")
    for text in ("", "a,b"):
        with pytest.raises(InvalidObject, match="exactly one"):
            default_network_of(text, pod=POD, namespace="kube-system", interface="eth0")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
_fields = st.sampled_from(
    ["name", "namespace", "interface", "ips", "mac", "default-route", "cni-args", "bandwidth", "portMappings"]
)
_elements = st.lists(st.dictionaries(_fields, _json | st.just("blue"), max_size=5), max_size=3)


@given(st.text(max_size=60) | st.text(alphabet='ab/@,. [{"}', max_size=20) | _elements.map(json.dumps))
def test_any_text_is_read_or_refused_and_what_is_read_is_sound(text):
    try:
        found = read(text)
    except InvalidObject:
        return
    interfaces = [one.interface for one in found]
    assert len(set(interfaces) | {"eth0", "lo"}) == len(interfaces) + 2
    assert all(one.network.name and one.network.namespace for one in found)


_names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)


@given(st.lists(st.tuples(st.none() | _names, _names), min_size=1, max_size=5))
def test_names_and_json_mean_the_same(asked):
    text = ", ".join(f"{namespace}/{name}" if namespace else name for namespace, name in asked)
    listed = [{"name": name, **({"namespace": namespace} if namespace else {})} for namespace, name in asked]
    assert read(text) == read(json.dumps(listed))
