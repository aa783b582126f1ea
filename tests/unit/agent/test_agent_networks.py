"""The agent's wiring of further networks: whose call it is, and what the settings say."""

import json

import pytest

from netloom.agent.config import AgentConfig
from netloom.agent.networks import NetworkSettings, NodeNetworks
from netloom.clock import SystemClock
from netloom.cni.ipam.store import AddressStore
from netloom.cni.networks.own import OwnNetwork
from netloom.cni.result import Answer
from netloom.kube.client import KubeClient
from netloom.kube.events import EventRecorder
from netloom.kube.kubeconfig import ClientConfig
from netloom.model.inputs import ClusterFacts
from netloom.testing.secondary_rig import call, first_interface


class Verbs:
    async def answer(self, variables, config, netns_fd):
        return Answer(0, b"verbs")


@pytest.fixture
def networks(tmp_path):
    client = KubeClient(ClientConfig(server="http://192.0.2.1"))
    store = AddressStore(tmp_path / "ipam.db")
    yield NodeNetworks(
        node="node-1",
        settings=NetworkSettings(),
        address_store=str(tmp_path / "ipam.db"),
        cni_socket=str(tmp_path / "cni.sock"),
        facts=ClusterFacts(),
        pods={},
        client=client,
        events=EventRecorder(client, "netloom", clock=SystemClock()),
        own=OwnNetwork(store=store, network=lambda: None),
        clock=SystemClock(),
    )
    store.close()


@pytest.mark.parametrize(
    ("config", "is_ours"),
    [
        ({"type": "netloom"}, True),
        ({"type": "netloom", "ipam": {"type": "netloom-ipam"}}, True),
        ({"type": "bridge", "ipam": {"type": "netloom-ipam"}}, False),
        ({"type": "bridge", "ipam": {"type": "host-local"}, "note": "netloom-ipam"}, True),
        ({"type": "bridge", "ipam": "netloom-ipam"}, True),
    ],
)
async def test_calls_of_our_ipam_are_told_by_their_configuration(networks, config, is_ours):
    calls = networks.answering(Verbs())
    said = await calls.answer(
        {"CNI_COMMAND": "VERSION"}, json.dumps({"cniVersion": "1.0.0", **config}).encode(), None
    )
    assert (said.body == b"verbs") == is_ours


async def test_what_is_no_json_is_the_verbs(networks):
    assert (await networks.answering(Verbs()).answer({}, b"netloom-ipam {", None)).body == b"verbs"


async def test_a_pod_that_nobody_knows_costs_nothing(networks, tmp_path):
    await networks.secondary.add(call("shop/nobody"), -1, first_interface())
    assert (tmp_path / "networks.db").exists()


def test_the_settings_are_in_the_agents_configuration():
    config = AgentConfig(node="n", cluster_cidrs=(), service_cidrs=())
    assert config.networks.namespace_isolation
    assert config.networks.plugin_dirs == ("/opt/cni/bin", "/usr/lib/cni")
