"""Whatever a runtime sends, the answer has one of CNI's shapes, a number that the specification or our page has, and takes no address."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netloom.cni.codes import Code
from netloom.cni.ipam.store import AddressStore
from netloom.cni.result import Answer
from netloom.cni.verbs import PodNetwork, Verbs
from netloom.cni.versions import VERSIONS

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
results = st.fixed_dictionaries(
    {},
    optional={
        "cniVersion": st.sampled_from([*VERSIONS, "0.2.0", "7"]) | json_values,
        "interfaces": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["eth0", "lo"])}, optional={"sandbox": st.text(max_size=3)}
            )
            | json_values,
            max_size=2,
        ),
        "ips": st.lists(
            st.fixed_dictionaries(
                {"address": st.sampled_from(["10.1.0.2/24", "x"])}, optional={"interface": st.integers(-2, 3)}
            ),
            max_size=2,
        ),
        "ip4": json_values,
        "routes": json_values,
    },
)
FIELDS = [
    "cniVersion",
    "name",
    "mtu",
    "ipam",
    "dns",
    "args",
    "runtimeConfig",
    "prevResult",
    "cni.dev/valid-attachments",
]
configs = st.builds(
    lambda base, change: {**base, **change},
    st.sampled_from([{"cniVersion": version, "name": "netloom"} for version in VERSIONS]),
    st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=2)
    | st.fixed_dictionaries({"prevResult": results}),
)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
variables = st.fixed_dictionaries(
    {
        # those that change nothing on the machine that runs this
        "CNI_COMMAND": st.sampled_from(["ADD", "CHECK", "STATUS", "VERSION"])
        | texts.filter(lambda t: t not in {"DEL", "GC"}),
        "CNI_CONTAINERID": st.just("c1") | texts,
        "CNI_IFNAME": st.just("eth0") | texts,
        "CNI_NETNS": st.just("/own") | texts,
    },
    optional={"CNI_ARGS": st.just("IgnoreUnknown=1;K8S_POD_NAME=x") | texts},
)


def answers(told: dict[str, str], config: bytes) -> tuple[Answer, int]:
    """The answer for this process's own namespace, which is never a pod's; and how many leases there are then."""

    async def ask(store: AddressStore) -> Answer:
        network = PodNetwork(ranges=(ipaddress.ip_network("10.1.0.0/24"),))
        fd = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            return await Verbs(store=store, network=lambda: network).answer(told, config, fd)
        finally:
            os.close(fd)

    with tempfile.TemporaryDirectory() as directory:
        store = AddressStore(Path(directory) / "ipam.db")
        try:
            return asyncio.run(ask(store)), len(store.leases())
        finally:
            store.close()


def has_the_shape_of_an_answer(answer: Answer) -> bool:
    if answer.exit_code == 0:
        return answer.body == b"" or "supportedVersions" in json.loads(answer.body)
    said: dict[str, Any] = json.loads(answer.body)
    known = said["code"] in set(Code) - {Code.INTERNAL}
    return (
        known
        and said["cniVersion"] in VERSIONS
        and bool(said["msg"])
        and said.keys() <= {"cniVersion", "code", "msg", "details"}
    )


@given(variables, configs | json_values)
def test_any_configuration_has_an_answer(told: dict[str, str], config: Any):
    answer, leases = answers(told, json.dumps(config).encode())
    assert has_the_shape_of_an_answer(answer), answer.body
    assert leases == 0


@given(variables, st.binary(max_size=100))
def test_any_bytes_have_an_answer(told: dict[str, str], config: bytes):
    answer, leases = answers(told, config)
    assert has_the_shape_of_an_answer(answer), answer.body
    assert leases == 0
