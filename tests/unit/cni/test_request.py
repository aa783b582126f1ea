"""What a runtime may ask, and the numbered errors for what it may not."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.codes import CniError, Code, cni_error
from netloom.cni.ipam.store import Attachment
from netloom.cni.request import parse, version_of
from netloom.errors import AlreadyExists, KernelError, NetloomError, NotFound, StorageError, Unavailable

VARIABLES = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "8f1c",
    "CNI_NETNS": "/var/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0;K8S_POD_UID=1",
}
CONFIG = {"cniVersion": "1.1.0", "name": "netloom", "type": "netloom-cni"}


def ask(config=CONFIG, **variables):
    return parse({**VARIABLES, **variables}, json.dumps(config).encode())


def code_of(config=CONFIG, **variables) -> Code:
    with pytest.raises(CniError) as caught:
        ask(config, **variables)
    return caught.value.code


def test_a_call_is_read():
    request = ask({**CONFIG, "mtu": 1400, "unknown": {"field": 1}})
    assert request.command == "ADD"
    assert request.attachment == Attachment("8f1c", "eth0")
    assert request.netns_path == "/var/run/netns/x"
    assert request.pod == "shop/cart-0"
    assert request.mtu == 1400


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "1.2.0", "x", "2.0.0"])
def test_versions_that_we_cannot_write_are_code_1(version: str):
    assert code_of({**CONFIG, "cniVersion": version}) == Code.INCOMPATIBLE_VERSION


def test_a_missing_version_means_the_first_one():
    assert code_of({"name": "netloom"}) == Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize(("command", "version"), [("CHECK", "0.3.1"), ("GC", "1.0.0"), ("STATUS", "1.0.0")])
def test_verbs_of_later_versions_are_code_1(command: str, version: str):
    assert code_of({**CONFIG, "cniVersion": version}, CNI_COMMAND=command) == Code.INCOMPATIBLE_VERSION


@pytest.mark.parametrize(
    "variables",
    [
        {"CNI_COMMAND": "add"},
        {"CNI_COMMAND": ""},
        {"CNI_CONTAINERID": ""},
        {"CNI_CONTAINERID": "../../etc"},
        {"CNI_CONTAINERID": "-x"},
        {"CNI_CONTAINERID": "x" * 300},
        {"CNI_IFNAME": ""},
        {"CNI_IFNAME": "a/b"},
        {"CNI_IFNAME": "a b"},
        {"CNI_IFNAME": ".."},
        {"CNI_IFNAME": "lo"},
        {"CNI_IFNAME": "sixteen-letters!"},
        {"CNI_NETNS": ""},
    ],
    ids=str,
)
def test_bad_variables_are_code_4_and_named(variables: dict[str, str]):
    with pytest.raises(CniError, match=next(iter(variables))) as caught:
        ask(CONFIG, **variables)
    assert caught.value.code == Code.INVALID_ENVIRONMENT


def test_text_that_is_no_json_is_code_6():
    with pytest.raises(CniError) as caught:
        parse(VARIABLES, b"{")
    assert caught.value.code == Code.CANNOT_DECODE


@pytest.mark.parametrize(
    "field",
    ["unknown", "prevResult", "ipam", "runtimeConfig", "args", "cniVersion", "cni.dev/valid-attachments"],
)
def test_what_is_nested_beyond_reason_is_code_6(field: str):
    deep = b"[" * 100_000 + b"]" * 100_000
    config = b'{"cniVersion": "1.1.0", "name": "netloom", "%s": %s}' % (field.encode(), deep)
    for command in ("ADD", "DEL", "CHECK", "GC", "STATUS"):
        with pytest.raises(CniError) as caught:
            parse({**VARIABLES, "CNI_COMMAND": command}, config)
        assert caught.value.code in {Code.CANNOT_DECODE, Code.INVALID_CONFIG}
    assert version_of(config) == "1.1.0"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"mtu": "big"}, "mtu"),
        ({"mtu": 10}, "mtu"),
        ({"cniVersion": 1}, "cniVersion"),
    ],
)
def test_bad_fields_are_code_7_and_named(change: dict[str, object], field: str):
    with pytest.raises(CniError, match=field) as caught:
        ask({**CONFIG, **change})
    assert caught.value.code == Code.INVALID_CONFIG


def test_check_needs_the_former_result_and_gc_the_list():
    assert code_of(CNI_COMMAND="CHECK") == Code.INVALID_CONFIG
    assert code_of(CNI_COMMAND="GC") == Code.INVALID_CONFIG
    assert ask({**CONFIG, "cni.dev/valid-attachments": []}, CNI_COMMAND="GC").valid_attachments == frozenset()


def test_del_needs_no_namespace():
    assert ask(CNI_COMMAND="DEL", CNI_NETNS="").netns_path == ""


def test_version_needs_nothing_else():
    assert parse({"CNI_COMMAND": "VERSION"}, b"").version == "1.1.0"
    assert parse({"CNI_COMMAND": "VERSION"}, b'{"cniVersion": "0.9.0"}').version == "0.9.0"


@given(st.binary(max_size=200), st.dictionaries(st.sampled_from(list(VARIABLES)), st.text(max_size=30)))
def test_any_bytes_end_in_a_request_or_a_numbered_error(config: bytes, variables: dict[str, str]):
    with contextlib.suppress(CniError):
        parse({**VARIABLES, **variables}, config)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("x"), 11),
        (StorageError("x"), 11),
        (KernelError("x", 1, "y"), 100),
        (AlreadyExists("x"), 102),
        (NotFound("x"), 3),
        (NetloomError("x"), 999),
        (CniError(Code.CONTAINER_UNKNOWN, "x"), 3),
    ],
)
def test_each_error_has_its_number(error: NetloomError, code: int):
    assert cni_error(error).code == code
