"""What an agent's configuration says about its servers and NodePorts, and what is no configuration."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec
import pytest

import netloom
from netloom.agent.config import AgentConfig, load
from netloom.agent.servers.sockets import Place
from netloom.errors import UsageError

GIVEN = {"node": "node-1", "cluster_cidrs": ["10.244.0.0/16"], "service_cidrs": ["10.96.0.0/16"]}


def config(**fields) -> AgentConfig:
    return msgspec.convert(GIVEN | fields, AgentConfig)


def test_without_a_word_metrics_are_for_this_node_only_and_health_is_for_load_balancers():
    settings = config().server_settings()
    assert settings.node == "node-1"
    assert settings.health == Place(None, 10256)
    assert settings.metrics == Place(ipaddress.ip_address("127.0.0.1"), 10249)
    assert settings.localhost_node_ports
    assert config().cluster_facts().node_port_addresses == ()


def test_servers_can_be_moved_and_turned_off():
    settings = config(
        health_address="", metrics_address="[::1]:9", localhost_node_ports=False
    ).server_settings()
    assert settings.health is None
    assert settings.metrics == Place(ipaddress.ip_address("::1"), 9)
    assert not settings.localhost_node_ports


@pytest.mark.parametrize(
    "texts",
    [["primary"], ["192.0.2.0/24", "2001:db8::/32"], ["0.0.0.0/0", "::/0"], ["192.0.2.1"]],
    ids=["the word", "networks", "everything", "one address is a network of one"],
)
def test_addresses_for_node_ports_reach_the_model(texts):
    assert config(node_port_addresses=texts).cluster_facts().node_port_addresses == tuple(texts)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["192.0.2.1/24"], r"node_port_addresses\[0\]: '192.0.2.1/24' is no CIDR; .*without host bits"),
        (["192.0.2.0/24", "everything"], r"node_port_addresses\[1\]: 'everything' is no CIDR"),
        (["192.0.2.0/24", "primary"], r"node_port_addresses\[1\]: 'primary' stands among others"),
        (["primary", "primary"], r"node_port_addresses\[0\]: 'primary' stands among others"),
    ],
)
def test_addresses_for_node_ports_that_are_none_are_refused_by_name(texts, said):
    with pytest.raises(UsageError, match=said):
        config(node_port_addresses=texts).cluster_facts()


@pytest.mark.parametrize("field", ["health_address", "metrics_address"])
@pytest.mark.parametrize("text", ["10256", "localhost:1", "127.0.0.1:65536"])
def test_an_address_of_a_server_that_is_none_is_refused_by_name(field, text):
    with pytest.raises(UsageError, match=rf"{field}: '{text}' is no address with a port"):
        config(**{field: text}).server_settings()


def test_the_example_of_the_page_is_a_configuration():
    page = (Path(netloom.__file__).parent / "agent/servers/README.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    given = msgspec.json.decode(example, type=AgentConfig)
    assert given.cluster_facts().node_port_addresses == ("192.0.2.0/24", "127.0.0.0/8")
    assert given.server_settings().metrics == Place(ipaddress.ip_address("::1"), 10249)


def test_a_file_with_an_unknown_field_is_refused(tmp_path):
    path = tmp_path / "agent.json"
    path.write_bytes(msgspec.json.encode(GIVEN | {"nodePortAddresses": []}))
    with pytest.raises(UsageError, match="nodePortAddresses"):
        load(str(path))
    path.write_bytes(msgspec.json.encode(GIVEN))
    assert load(str(path)) == config()


def test_reserved_addresses_are_addresses_and_ranges():
    config = AgentConfig(
        node="n",
        cluster_cidrs=(),
        service_cidrs=(),
        reserved_addresses=("10.1.0.9", "10.1.1.0/28", "fd00::/120"),
    )
    assert [str(one) for one in config.reserved()] == ["10.1.0.9/32", "10.1.1.0/28", "fd00::/120"]
    faulty = AgentConfig(node="n", cluster_cidrs=(), service_cidrs=(), reserved_addresses=("ten",))
    with pytest.raises(UsageError, match=r"reserved_addresses\[0\]: 'ten' is no CIDR"):
        faulty.reserved()
