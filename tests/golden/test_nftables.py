"""Programs of the nftables plane as files, from manifests as users write them; each is also loaded into a kernel.

A case has ``in.yaml``, the ``elements.nft`` that it gives, and mostly a ``delta.yaml`` with the ``delta.nft`` that this change
needs; the rules around them are the same for all and stand in ``skeleton/``. Every case has both families in one file.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

import msgspec
import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.containers import OURS
from netloom.dataplane.nftables.skeleton import families, layout
from netloom.linux import process
from netloom.linux.netns import Namespaces
from netloom.linux.nft import Nft
from netloom.model.inputs import Changes, NodeFacts
from netloom.model.network import Network
from netloom.model.state import NetworkState
from netloom.program.nft import AddChain, AddElements, DeleteElements
from netloom.testing.builders import load_view
from netloom.testing.netns import fresh_netns
from netloom.testing.nft_meaning import meaning

HERE = Path(__file__).parent / "nftables"
CASES = sorted(path.parent.name for path in HERE.glob("*/in.yaml"))
FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("172.30.0.11"), ipaddress.ip_address("2001:db8:30::11")),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("2001:db8:44:1::/64")),
    cluster_cidrs=(ipaddress.ip_network("10.244.0.0/16"), ipaddress.ip_network("2001:db8:44::/48")),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"), ipaddress.ip_network("2001:db8:96::/112")),
    dns_addresses=(ipaddress.ip_address("10.96.0.10"),),
)
FAMILIES = families(FACTS)
# What one change may cost, so that it cannot grow unseen.
OPERATIONS = {"cluster-ip": 6, "node-port": 12, "no-endpoints": 6, "many-endpoints": 1}


class Case:
    """A case, compiled."""

    def __init__(self, name):
        network = Network(FACTS)
        network.update(as_changes((HERE / name / "in.yaml").read_text()))
        self.before = {family: program.table_state(network.state, family) for family in FAMILIES}
        change = HERE / name / "delta.yaml"
        self.has_delta = change.exists()
        delta = network.update(as_changes(change.read_text() if self.has_delta else ""))
        self.steps = {family: program.step(state, delta) for family, state in self.before.items()}

    def fill(self):
        return [tx for state in self.before.values() for tx in program.filling(state, 1000)]

    def text_before(self):
        fills = [
            program.convergence(state, program.elements(program.table_state(NetworkState(), family)), 1000)
            for family, state in self.before.items()
        ]
        return "".join(tx.render() for pieces in fills for tx in pieces)

    def text_delta(self):
        return "".join(step.transaction.render() for step in self.steps.values())


def as_changes(text):
    return Changes(**msgspec.structs.asdict(load_view(text)))


def skeleton():
    """The program of a node without Services."""
    return "".join(
        program.replacement(layout(FACTS, family), program.table_state(NetworkState(), family)).render()
        for family in FAMILIES
    )


async def load(fd, text):
    done = await process.run(["nft", "-f", "-"], input=text.encode(), ns=Namespaces(net=fd))
    assert done.returncode == 0, done.stderr.decode()


def test_skeleton(golden):
    golden(HERE / "skeleton" / "program.nft", skeleton())


@pytest.mark.parametrize("name", CASES)
def test_elements_and_delta(name, golden):
    case = Case(name)
    golden(HERE / name / "elements.nft", case.text_before())
    assert case.has_delta == (name in OPERATIONS)
    if case.has_delta:
        golden(HERE / name / "delta.nft", case.text_delta())
        assert sum(step.transaction.count for step in case.steps.values()) == OPERATIONS[name]


@pytest.mark.parametrize("name", CASES)
def test_deltas_touch_elements_only(name):
    for step in Case(name).steps.values():
        assert all(isinstance(op, AddElements | DeleteElements) for op in step.transaction.ops)


@pytest.mark.netns
@pytest.mark.parametrize("name", CASES)
async def test_the_kernel_takes_it_as_text_and_as_batches_and_holds_the_same(name):
    case = Case(name)
    held = []
    for as_text in (True, False):
        with fresh_netns() as fd, Nft(netns_fd=fd) as nft:
            await load(fd, (HERE / "skeleton" / "program.nft").read_text())
            if as_text:
                await load(fd, (HERE / name / "elements.nft").read_text())
                await load(fd, (HERE / name / "delta.nft").read_text() if case.has_delta else "")
            else:
                for tx in case.fill():
                    await nft.run(tx)
                await nft.run(*(step.transaction for step in case.steps.values()))
            read = {
                family: {c.name: await nft.elements(family, "netloom", c) for c in OURS}
                for family in FAMILIES
            }
        held.append(read)
    assert held[0] == held[1]
    for family, step in case.steps.items():
        assert held[0][family] == program.elements(step.after)
        meaning(held[0][family])


@pytest.mark.netns
async def test_the_kernel_counts_the_chains_and_rules_that_were_compiled():
    """What a restart looks at to tell whether the table is ours."""
    with fresh_netns() as fd, Nft(netns_fd=fd) as nft:
        await load(fd, (HERE / "skeleton" / "program.nft").read_text())
        for family in FAMILIES:
            chains = await nft.chains(family, "netloom")
            assert program.is_renewable(family, chains)
            ops = program.replacement(layout(FACTS, family), program.table_state(NetworkState(), family)).ops
            assert set(chains) == {op.chain.name for op in ops if isinstance(op, AddChain)}
