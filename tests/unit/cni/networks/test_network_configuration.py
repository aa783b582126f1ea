"""Network configurations: what each plugin of a list gets to read, and what is refused."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.networks.configuration import Requested, plugin_input, read
from netloom.errors import InvalidObject


def network(body, name="blue"):
    return read(
        json.dumps(body), subject="NetworkAttachmentDefinition shop/blue", field="spec.config", name=name
    )


def test_one_plugin_is_a_list_of_one_and_gets_the_objects_name():
    found = network({"cniVersion": "0.3.1", "type": "bridge", "bridge": "br0"})
    assert (found.name, found.version) == ("blue", "0.3.1")
    assert plugin_input(found, 0, Requested(), None) == {
        "cniVersion": "0.3.1",
        "name": "blue",
        "type": "bridge",
        "bridge": "br0",
    }


def test_only_declared_capabilities_become_runtime_config():
    found = network(
        {
            "cniVersion": "1.0.0",
            "name": "chain",
            "plugins": [
                {"type": "bridge", "capabilities": {"ips": True, "mac": False}},
                {"type": "tuning", "capabilities": {"mac": True}, "runtimeConfig": {"own": 1}},
            ],
        }
    )
    requested = Requested({"ips": ["10.0.0.5/24"], "mac": "02:00:00:00:00:01"})
    first = plugin_input(found, 0, requested, None)
    second = plugin_input(found, 1, requested, {"cniVersion": "1.0.0", "ips": []})
    assert first["runtimeConfig"] == {"ips": ["10.0.0.5/24"]}
    assert "capabilities" not in first
    assert "prevResult" not in first
    assert second["runtimeConfig"] == {"own": 1, "mac": "02:00:00:00:00:01"}
    assert second["prevResult"] == {"cniVersion": "1.0.0", "ips": []}
    assert (first["name"], second["name"]) == ("chain", "chain")
    assert found.declares("mac")
    assert not found.declares("bandwidth")


def test_arguments_go_to_args_cni_beside_those_that_are_there():
    found = network({"cniVersion": "1.0.0", "type": "x", "args": {"cni": {"a": 1, "b": 1}, "other": 2}})
    made = plugin_input(found, 0, Requested(arguments={"b": 2}), None)
    assert made["args"] == {"cni": {"a": 1, "b": 2}, "other": 2}


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ({}, "0.1.0"),
        ({"cniVersion": "0.4.0"}, "0.4.0"),
        ({"cniVersions": ["0.4.0", "1.0.0", "9.0.0"]}, "1.0.0"),
        ({"cniVersion": "0.3.1", "cniVersions": ["1.1.0"]}, "1.1.0"),
    ],
)
def test_the_newest_version_that_both_know(versions, chosen):
    assert network({"type": "x", **versions}).version == chosen


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], ""),
        ({}, "type"),
        ({"type": "../../bin/sh"}, "type"),
        ({"type": ""}, "type"),
        ({"plugins": []}, "plugins"),
        ({"plugins": {}}, "plugins"),
        ({"plugins": [1]}, "plugins[0]"),
        ({"plugins": [{"type": "a"}, {}]}, "plugins[1]"),
        ({"type": "a", "cniVersion": "7.0.0"}, "cniVersion"),
        ({"type": "a", "name": "a/b"}, "name"),
        ({"type": "a", "capabilities": [1]}, "capabilities"),
        ({"type": "a", "args": {"cni": 5}}, "args.cni"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_field(body, field):
    with pytest.raises(InvalidObject) as raised:
        network(body)
    assert raised.value.field.startswith("spec.config")
    assert field in raised.value.field


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(text):
    with contextlib.suppress(InvalidObject):
        read(text, subject="x", field="y", name="z")
