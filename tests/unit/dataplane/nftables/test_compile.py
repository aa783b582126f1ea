from __future__ import annotations

import errno
import ipaddress

import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables.skeleton import CONTAINERS, edition, layout
from netloom.model.inputs import NodeFacts
from netloom.model.state import difference
from netloom.program.nft import AddElements, DeleteElements
from netloom.testing.frontends import frontend, network_state, peer
from netloom.units import Family

V4 = Family.V4
FACTS = NodeFacts(name="node-1", addresses=(ipaddress.ip_address("192.0.2.11"),))


def table(*frontends, **rest):
    return program.table_state(network_state(*frontends, **rest), V4)


def operations(before, after):
    """Number of operations that lead from one state to another."""
    step = program.step(program.table_state(before, V4), difference(before, after))
    assert program.elements(step.after).keys() == {container.name for container in CONTAINERS}
    return step.transaction.count


def pods(count, start=1):
    return [f"10.244.1.{start + number}:8080" for number in range(count)]


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [
        (pods(1), pods(2), 3),
        (pods(2), pods(1), 3),
        (pods(5), pods(6), 3),
        (pods(5), [*pods(4), "10.244.2.1:8080"], 2),
        (pods(9), pods(10), 1),
        (pods(16), pods(17), 3),
        (pods(20), [*pods(20)[1:]], 3),
        (pods(3), pods(3), 0),
    ],
)
def test_how_much_one_change_costs(before, after, count):
    place = "10.96.0.80:80"
    was, now = network_state(frontend(place, *before)), network_state(frontend(place, *after))
    assert operations(was, now) == count


def test_a_change_of_another_field_costs_nothing():
    """Left-out endpoints, generations and the like are not in the kernel."""
    one = frontend("10.96.0.80:80", *pods(2))
    state = program.table_state(network_state(one), V4)
    same = program.step(state, difference(network_state(), network_state(one)))
    assert same.transaction.ops == ()
    assert same.after == state


def test_the_other_family_is_not_this_tables_business():
    v6 = frontend("[2001:db8:96::80]:80", "[2001:db8:44:1::5]:8080")
    state = network_state(
        v6, pods=["2001:db8:44:1::5"], peers=[peer("2001:db8:44:2::/64", "2001:db8:30::12")]
    )
    empty = program.table_state(network_state(), V4)
    step = program.step(empty, difference(network_state(), state))
    assert step.transaction.ops == ()
    assert program.table_state(state, V4) == step.after == empty


def test_a_peer_with_two_ranges_stays_until_both_are_gone():
    both = [peer("10.244.2.0/24", "192.0.2.12"), peer("10.244.3.0/24", "192.0.2.12")]
    was, now, none = (network_state(peers=some) for some in (both, both[:1], []))
    assert operations(was, now) == 0
    assert operations(now, none) == 1
    assert operations(none, was) == 1


def test_a_peer_that_moves_leaves_its_old_address():
    was, now = (network_state(peers=[peer("10.244.2.0/24", via)]) for via in ("192.0.2.12", "192.0.2.13"))
    assert operations(was, now) == 2


def test_deletions_stand_before_additions():
    was = network_state(frontend("10.96.0.80:80", *pods(2)))
    now = network_state(frontend("10.96.0.80:80", *pods(2, start=7)))
    ops = program.step(program.table_state(was, V4), difference(was, now)).transaction.ops
    assert [type(op) for op in ops] == [DeleteElements, AddElements]


def test_flags_make_the_class():
    state = table(
        frontend("10.96.0.80:80", *pods(2)),
        frontend("*:30080", *pods(3), masquerade=True),
        frontend("*:30081", *pods(3)),
        frontend("10.96.0.81:80"),
        frontend("10.96.0.10:53", node_local=True),
    )
    assert sorted(str(entry.verdict) for entry in state.entries.values()) == [
        "accept",
        "goto balance-2",
        "goto node-port-3",
        "goto node-port-3-masquerade",
        "goto refuse",
    ]


def test_convergence_keeps_slots_and_changes_only_what_differs():
    wanted = network_state(frontend("10.96.0.80:80", *pods(3)), pods=["10.244.1.1"])
    held = program.elements(table(frontend("10.96.0.80:80", *pods(3)), pods=["10.244.1.1"]))
    endpoints = held["endpoints"]
    keys = sorted(endpoints)
    # As a long history may have left them: other slots, the same targets.
    endpoints[keys[0]], endpoints[keys[2]] = endpoints[keys[2]], endpoints[keys[0]]
    slots = program.slots_in(held, V4, wanted)
    state = program.table_state(wanted, V4, slots)
    assert program.convergence(state, held, 100) == ()
    assert program.elements(state) == held


def test_convergence_clears_away_what_nobody_wants():
    held = program.elements(
        table(frontend("10.96.0.80:80", *pods(3)), frontend("10.96.0.81:80", *pods(9)), pods=["10.244.1.9"])
    )
    held["endpoints"][(77, b"\x0a\x60\0\1", 6, 80)] = (b"\x0a\x60\0\1", 1)
    state = table(frontend("10.96.0.80:80", *pods(2)))
    done = apply(held, program.convergence(state, held, 100))
    assert done == program.elements(state)


def test_convergence_never_cuts_a_frontend_in_two():
    state = table(*(frontend(f"10.96.0.{number}:80", *pods(5)) for number in range(1, 20)))
    pieces = program.convergence(state, program.elements(table()), 13)
    assert len(pieces) == 10
    for piece in pieces:
        verdicts = {key for op in piece.ops if op.container.name == "services" for key, _ in op.elements}
        slots = [key[1:] for op in piece.ops if op.container.name == "endpoints" for key, _ in op.elements]
        assert set(slots) == verdicts
        assert len(slots) == 5 * len(verdicts)


def test_filling_is_everything_in_pieces():
    state = table(*(frontend(f"10.96.0.{number}:80", *pods(5)) for number in range(1, 20)))
    pieces = program.filling(state, 10)
    assert max(piece.count for piece in pieces) == 10
    assert apply({c.name: {} for c in CONTAINERS}, pieces) == program.elements(state)


def test_only_a_table_of_the_same_edition_and_whole_is_renewed():
    chains = {
        name: len(rules) for name, rules in ((chain.name, rules) for chain, rules in program.class_chains(V4))
    }
    whole = chains | {edition(V4): 0}
    assert program.is_renewable(V4, whole)
    assert program.is_renewable(V4, whole | {"somebody-elses": 3})
    assert not program.is_renewable(V4, chains)
    assert not program.is_renewable(V4, whole | {"balance-5": 0})
    assert not program.is_renewable(V4, {})


def test_renewal_takes_out_chains_that_nobody_knows():
    text = program.renewal(layout(FACTS, V4), {"strange": 2, "refuse": 2, "balance-5": 1}).render()
    assert "flush chain ip netloom strange\n" in text
    assert text.endswith("delete chain ip netloom strange\n")
    assert "balance-5 " not in text
    assert "delete chain ip netloom refuse" not in text


def apply(held, transactions):
    """What a kernel would hold afterwards; refuses what a kernel refuses."""
    done = {name: dict(elements) for name, elements in held.items()}
    for transaction in transactions:
        for op in transaction.ops:
            into = done[op.container.name]
            if isinstance(op, DeleteElements):
                for key in op.keys:
                    del into[key]
                continue
            for key, value in op.elements:
                assert into.setdefault(key, value) == value, errno.EEXIST
    return done
