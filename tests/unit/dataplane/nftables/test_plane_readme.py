"""The README's examples do what it says."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shlex
from pathlib import Path

import pytest

import netloom.dataplane.nftables
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.containers import SERVICE
from netloom.dataplane.nftables.slots import EXACT_SIZES, MOST_TARGETS
from netloom.linux import process
from netloom.linux.conntrack import Conntrack
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft, find_program
from netloom.model.inputs import NodeFacts
from netloom.program import names
from netloom.testing.frontends import frontend, network_state
from netloom.testing.netns import fresh_netns

README = Path(netloom.dataplane.nftables.__file__).with_name("README.md").read_text()


def test_the_python_example_prints_what_stands_below_it(capsys):
    code, output = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == output


@pytest.mark.netns
def test_the_commands_find_the_service():
    commands = re.findall(r"^    (nft .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    facts = NodeFacts(name="node-1", addresses=(ipaddress.ip_address("192.0.2.11"),))
    state = network_state(frontend("10.96.0.80:80", "10.244.1.5:8080"))

    async def run():
        with fresh_netns() as fd, Nft(netns_fd=fd) as nft, Conntrack(netns_fd=fd) as conntrack:
            await NftablesPlane(nft=nft, conntrack=conntrack).start(state, facts)
            return [
                await process.run([find_program(), *shlex.split(command)[1:]], ns=Namespaces(net=fd))
                for command in commands
            ]

    verdict, endpoint = asyncio.run(run())
    assert b": 0:1" in verdict.stdout
    assert b"10.244.1.5 . 8080" in endpoint.stdout


def test_names_and_numbers_are_those_of_the_code():
    for name in (
        names.NFT_SERVICES,
        names.NFT_NODE_PORTS,
        *(container.name for container in SERVICE.containers),
        names.NFT_HAIRPIN,
        names.NFT_PEERS,
        names.NFT_DISPATCH,
        names.NFT_PREROUTING,
        names.NFT_OUTPUT,
        names.NFT_POSTROUTING,
        names.NFT_FORWARD,
        names.NFT_FILTER_OUTPUT,
    ):
        assert f"`{name}`" in README
    assert f"{names.MASQUERADE_MARK:#x}" in README
    assert f"up to {EXACT_SIZES} endpoints" in README
    assert f"{MOST_TARGETS:,}" in README
