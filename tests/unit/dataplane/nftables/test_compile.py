from __future__ import annotations

import errno
import ipaddress

import pytest

from netloom.dataplane.nftables import compile as program
from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.classes import class_chains, comments
from netloom.dataplane.nftables.containers import OURS
from netloom.dataplane.nftables.skeleton import edition, layout
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
    assert program.elements(step.after).keys() == {container.name for container in OURS}
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


A, B = pods(2)


@pytest.mark.parametrize(
    ("one", "label", "stages"),
    [
        (frontend("10.96.0.80:80", A, B), 2, {}),
        (frontend("10.96.0.80:80"), labels.REFUSE, {}),
        (frontend("10.96.0.80:80", node_local=True), labels.UNTRANSLATED, {}),
        (frontend("10.96.0.80:80", A, affinity_s=60), 1 | labels.AFFINITY, {}),
        (frontend("10.96.0.80:80", affinity_s=60), labels.REFUSE, {}),
        (frontend("*:30080", A, masquerade=True), 1 | labels.FOREIGN, {}),
        (frontend("*:30080", masquerade=True), labels.REFUSE, {}),
        (
            frontend("*:30080", A, inside=[A, B], affinity_s=60),
            labels.BY_SOURCE,
            {
                labels.INSIDE_STAGE: 2 | labels.AFFINITY,
                labels.OUTSIDE_STAGE: 1 | labels.AFFINITY | labels.OUTSIDE,
            },
        ),
        (
            frontend("*:30080", inside=[A, B]),
            labels.BY_SOURCE,
            {labels.INSIDE_STAGE: 2, labels.OUTSIDE_STAGE: labels.DROP},
        ),
        (
            frontend("192.0.2.80:80", A, masquerade=True, source_ranges=["203.0.113.0/24"]),
            labels.ADMISSION,
            {labels.ADMITTED_STAGE: 1 | labels.FOREIGN},
        ),
        (
            frontend("192.0.2.80:80", A, inside=[A, B], source_ranges=[]),
            labels.ADMISSION,
            {
                labels.ADMITTED_STAGE: labels.BY_SOURCE,
                labels.INSIDE_STAGE: 2,
                labels.OUTSIDE_STAGE: 1 | labels.OUTSIDE,
            },
        ),
    ],
)
def test_what_a_frontend_is_makes_its_label(one, label, stages):
    (entry,) = table(one).entries.values()
    assert (entry.label, dict(entry.stages)) == (label, stages)


def test_with_affinity_backends_have_numbers_that_stay_while_others_come_and_go():
    def numbers(*backends):
        found = program.elements(table(frontend("10.96.0.80:80", *backends, affinity_s=60)))
        return {target: key[0] for key, target in found["targets"].items()}

    few, many = numbers(*pods(3)), numbers(*pods(9)[1:])
    kept = few.keys() & many.keys()
    assert len(kept) == 2
    assert all(few[target] == many[target] for target in kept)
    assert len(set(many.values())) == 8
    assert all(number & labels.BACKEND for number in many.values())


def test_a_new_time_to_hold_clients_brings_its_chain_and_an_old_one_stays():
    was, now = (network_state(frontend("10.96.0.80:80", A, affinity_s=time)) for time in (60, 70))
    step = program.step(program.table_state(was, V4), difference(was, now))
    assert "add chain ip netloom hold-70\n" in step.transaction.render()
    assert step.after.times == {60, 70}
    again = program.step(step.after, difference(now, was))
    assert again.transaction.only_elements


def test_convergence_keeps_slots_and_changes_only_what_differs():
    wanted = network_state(frontend("10.96.0.80:80", *pods(3)), pods=["10.244.1.1"])
    held = program.elements(table(frontend("10.96.0.80:80", *pods(3)), pods=["10.244.1.1"]))
    endpoints = held["endpoints"]
    keys = sorted(endpoints)
    # As a long history may have left them: other slots, the same targets.
    endpoints[keys[0]], endpoints[keys[2]] = endpoints[keys[2]], endpoints[keys[0]]
    slots = program.held_slots(held, V4, wanted)
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
    assert apply({c.name: {} for c in OURS}, pieces) == program.elements(state)


def test_only_a_table_of_the_same_edition_and_whole_is_renewed():
    chains = {ruled[0].name: comments(ruled) for ruled in class_chains(V4)}
    whole = chains | {edition(V4): ()}
    assert program.is_renewable(V4, whole)
    assert program.is_renewable(V4, whole | {"somebody-elses": ("",)})
    assert not program.is_renewable(V4, chains)
    assert not program.is_renewable(V4, whole | {"balance-5": ()})
    assert not program.is_renewable(V4, whole | {"balance-5": ("another rule",)})
    assert not program.is_renewable(V4, {})


def test_renewal_takes_out_chains_that_nobody_knows():
    text = program.renewal(layout(FACTS, V4), {"strange": ("",), "refuse": (), "balance-5": ()}, ()).render()
    assert "flush chain ip netloom strange\n" in text
    assert text.endswith("delete chain ip netloom strange\n")
    assert " balance-5 " not in text
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
