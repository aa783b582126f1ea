"""The plane against the fake kernel: starts from anything, fails whole, and ends in what compiling from nothing gives."""

from __future__ import annotations

import errno
import ipaddress

import msgspec
import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.apply import NftablesPlane
from netloom.dataplane.nftables.containers import SERVICE
from netloom.dataplane.nftables.skeleton import families
from netloom.errors import KernelError, NftError
from netloom.model.inputs import NodeFacts
from netloom.model.state import difference
from netloom.program.conntrack import Flow, Tuple
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    AddRule,
    AddTable,
    Chain,
    Container,
    DeleteElements,
    Field,
    FlushChain,
    Hook,
    Transaction,
    Verdict,
)
from netloom.testing.fake_conntrack import FakeConntrack
from netloom.testing.fake_nft import FakeNft
from netloom.testing.frontends import frontend, network_state, peer
from netloom.testing.nft_meaning import meaning
from netloom.units import Family, Protocol

V4, V6 = Family.V4, Family.V6
FACTS = NodeFacts(
    name="node-1",
    addresses=(ipaddress.ip_address("192.0.2.11"), ipaddress.ip_address("2001:db8::11")),
    pod_cidrs=(ipaddress.ip_network("10.244.1.0/24"),),
    service_cidrs=(ipaddress.ip_network("10.96.0.0/16"),),
)
A, B, C = "10.244.1.5:8080", "10.244.1.6:8080", "10.244.2.7:8080"
EMPTY = network_state()
ONE = network_state(
    frontend("10.96.0.80:80", A, B),
    frontend("*:30080", A, masquerade=True),
    frontend("[2001:db8:96::80]:80", "[2001:db8:44:1::5]:8080"),
    pods=["10.244.1.5", "2001:db8:44:1::5"],
    peers=[peer("10.244.2.0/24", "192.0.2.12")],
)
TWO = network_state(
    frontend("10.96.0.80:80", B, C, *(f"10.244.3.{n}:80" for n in range(1, 9))), frontend("10.96.0.81:80")
)


@pytest.fixture
def nft():
    return FakeNft()


def plane_of(nft, *flows):
    return NftablesPlane(nft=nft, conntrack=FakeConntrack(flows))


def held(nft, family=V4):
    return meaning(nft.tables[family, "netloom"].elements)


def compiled(state, family=V4):
    return meaning(program.elements(program.table_state(state, family)))


def rules(nft, family=V4):
    table = nft.tables[family, "netloom"]
    return {name: [rule.text for rule in found] for name, found in table.rules.items()}


async def fresh_rules(facts=FACTS):
    """What a start from nothing leaves."""
    nft = FakeNft()
    await plane_of(nft).start(EMPTY, facts)
    return {family: rules(nft, family) for family in families(facts)}


async def test_start_from_nothing_serves_each_family_of_the_node(nft):
    await plane_of(nft).start(ONE, FACTS)
    assert set(nft.tables) == {(V4, "netloom"), (V6, "netloom")}
    for family in Family:
        assert held(nft, family) == compiled(ONE, family)


async def test_the_hooks_come_last_when_a_table_is_made(nft):
    await plane_of(nft).start(ONE, FACTS)
    hooked = [any(isinstance(op, AddChain) and op.chain.hook for op in tx.ops) for tx in nft.ran]
    filled = [any(isinstance(op, AddElements) for op in tx.ops) for tx in nft.ran]
    assert max(i for i, one in enumerate(filled[: hooked.index(True) + 1]) if one) < hooked.index(True)


async def test_a_restart_with_nothing_new_changes_nothing(nft):
    await plane_of(nft).start(ONE, FACTS)
    before = nft.tables[V4, "netloom"].elements
    nft.ran.clear()
    await plane_of(nft).start(ONE, FACTS)
    assert nft.ran == []
    assert nft.tables[V4, "netloom"].elements == before
    assert {family: rules(nft, family) for family in Family} == await fresh_rules()


async def test_a_restart_changes_only_what_differs(nft):
    await plane_of(nft).start(ONE, FACTS)
    nft.ran.clear()
    other = network_state(*ONE.frontends.values(), frontend("10.96.0.99:80", A), pods=["10.244.1.5"])
    await plane_of(nft).start(other, FACTS)
    elements = [tx for tx in nft.ran if tx.only_elements and tx.family is V4]
    assert sum(tx.count for tx in elements) == 3, "a verdict and an endpoint come, a peer goes"
    assert held(nft) == compiled(other)


async def test_a_restart_with_other_facts_has_other_rules_and_keeps_the_elements(nft):
    await plane_of(nft).start(ONE, FACTS)
    other = msgspec.structs.replace(FACTS, service_cidrs=(ipaddress.ip_network("10.97.0.0/16"),))
    await plane_of(nft).start(ONE, other)
    assert {family: rules(nft, family) for family in Family} == await fresh_rules(other)
    assert held(nft) == compiled(ONE)


async def test_a_family_that_the_node_has_no_more_is_taken_out(nft):
    await plane_of(nft).start(ONE, FACTS)
    await plane_of(nft).start(ONE, msgspec.structs.replace(FACTS, addresses=FACTS.addresses[:1]))
    assert set(nft.tables) == {(V4, "netloom")}


def tampered(*ops):
    return Transaction(V4, "netloom", ops)


@pytest.mark.parametrize(
    "tampering",
    [
        tampered(FlushChain("refuse"), FlushChain("nat-prerouting")),
        tampered(FlushChain("balance-1")),
        tampered(AddRule("services-dispatch", "accept")),
        tampered(AddChain(Chain("strange")), AddRule("strange", "drop")),
        tampered(
            AddChain(Chain("strange")),
            AddElements(
                SERVICE.labels,
                (((bytes(4), 6, 80), (labels.DROP,)),),
            ),
        ),
        tampered(
            DeleteElements(
                SERVICE.labels,
                ((ipaddress.ip_address("10.96.0.80").packed, 6, 80),),
            )
        ),
        tampered(AddChain(Chain("strange", Hook("filter", "input", 0))), AddRule("strange", "drop")),
    ],
)
async def test_a_restart_heals_whatever_was_done_to_the_table(nft, tampering):
    await plane_of(nft).start(ONE, FACTS)
    await nft.run(tampering)
    await plane_of(nft).start(ONE, FACTS)
    assert held(nft) == compiled(ONE)
    assert rules(nft) == (await fresh_rules())[V4]


async def test_a_foreign_table_of_our_name_is_replaced_in_one_transaction(nft):
    strange = Container("services", (Field.PORT,), verdicts=True)
    await nft.run(
        tampered(AddTable(), AddContainer(strange), AddElements(strange, (((80,), Verdict("drop")),)))
    )
    nft.ran.clear()
    await plane_of(nft).start(ONE, FACTS)
    assert held(nft) == compiled(ONE)
    assert len([tx for tx in nft.ran if tx.family is V4]) == 1


async def test_where_one_transaction_is_too_small_everything_comes_in_pieces():
    state = network_state(*(frontend(f"10.96.1.{n}:80", A, B, C) for n in range(1, 200)))
    nft = FakeNft(most_elements=500)
    await plane_of(nft).start(state, FACTS)
    assert held(nft) == compiled(state)
    # A table of ours that cannot be kept, and cannot be replaced at once either.
    await nft.run(tampered(FlushChain("balance-1")))
    await plane_of(nft).start(state, FACTS)
    assert held(nft) == compiled(state)
    assert rules(nft) == (await fresh_rules())[V4]


@pytest.mark.parametrize("call", range(1, 7))
async def test_a_start_that_fails_leaves_no_half_made_table_and_the_next_one_succeeds(nft, call):
    nft.fail_at(call, errno.ENOMEM)
    plane = plane_of(nft)
    with pytest.raises(NftError):
        await plane.start(ONE, FACTS)
    for (family, _), table in nft.tables.items():
        assert meaning(table.elements) == compiled(ONE, family)
        assert any(chain.hook for chain in table.chains.values())
    assert plane.tables == {}
    await plane.start(ONE, FACTS)
    assert {family: held(nft, family) for family in Family} == {f: compiled(ONE, f) for f in Family}


async def test_changes_end_where_compiling_from_nothing_ends(nft):
    plane = plane_of(nft)
    await plane.start(EMPTY, FACTS)
    state = EMPTY
    for after in (ONE, TWO, EMPTY, TWO, ONE):
        await plane.apply(difference(state, after))
        state = after
        for family in Family:
            assert held(nft, family) == compiled(after, family)
            assert plane.tables[family] == plane.tables[family]


async def test_a_change_is_one_transaction_of_elements(nft):
    plane = plane_of(nft)
    await plane.start(ONE, FACTS)
    nft.ran.clear()
    await plane.apply(difference(ONE, TWO))
    assert [tx.only_elements for tx in nft.ran if tx.ops] == [True, True]
    assert {tx.family for tx in nft.ran} == {V4, V6}


async def test_an_empty_change_is_nothing(nft):
    plane = plane_of(nft)
    await plane.start(ONE, FACTS)
    nft.ran.clear()
    await plane.apply(difference(ONE, ONE))
    assert nft.ran == []


async def test_a_refused_change_changes_nothing_and_asks_for_a_start(nft):
    plane = plane_of(nft)
    await plane.start(ONE, FACTS)
    nft.fail_at(1, errno.EEXIST)
    with pytest.raises(NftError):
        await plane.apply(difference(ONE, TWO))
    assert held(nft) == compiled(ONE)
    with pytest.raises(NftError, match="start it first"):
        await plane.apply(difference(ONE, TWO))
    await plane.start(TWO, FACTS)
    assert held(nft) == compiled(TWO)


async def test_a_change_before_the_start_is_refused(nft):
    with pytest.raises(NftError, match="start it first"):
        await plane_of(nft).apply(difference(EMPTY, ONE))


async def test_remove_takes_everything_out_and_may_be_repeated(nft):
    plane = plane_of(nft)
    await plane.start(ONE, FACTS)
    for _ in range(2):
        await plane.remove()
        assert nft.tables == {}


def udp_flow(destination, backend):
    pod = ipaddress.ip_address("10.244.1.9")
    to, at = (text.rsplit(":", 1) for text in (destination, backend))
    return Flow(
        V4,
        17,
        Tuple(pod, ipaddress.ip_address(to[0]), 4000, int(to[1])),
        Tuple(ipaddress.ip_address(at[0]), pod, int(at[1]), 4000),
        1,
    )


UDP_A = network_state(frontend("10.96.0.80:80", A, protocol=Protocol.UDP))
UDP_B = network_state(frontend("10.96.0.80:80", B, protocol=Protocol.UDP))
OLD, NEW, ELSEWHERE = (
    udp_flow("10.96.0.80:80", A),
    udp_flow("10.96.0.80:80", B),
    udp_flow("198.51.100.1:53", "198.51.100.1:53"),
)


async def test_ended_flows_go_after_a_change_and_at_a_start(nft):
    conntrack = FakeConntrack([OLD, NEW, ELSEWHERE])
    plane = NftablesPlane(nft=nft, conntrack=conntrack)
    await plane.start(UDP_A, FACTS)
    assert conntrack.flows == [OLD, ELSEWHERE]
    await plane.apply(difference(UDP_A, UDP_B))
    assert conntrack.flows == [ELSEWHERE]


async def test_flows_that_cannot_be_read_are_an_error_and_a_start_looks_again(nft):
    conntrack = FakeConntrack([OLD])
    plane = NftablesPlane(nft=nft, conntrack=conntrack)
    await plane.start(UDP_A, FACTS)
    conntrack.is_broken = True
    with pytest.raises(KernelError):
        await plane.apply(difference(UDP_A, UDP_B))
    assert held(nft) == compiled(UDP_B)
    conntrack.is_broken = False
    await plane.start(UDP_B, FACTS)
    assert conntrack.flows == []
