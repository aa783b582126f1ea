"""All policies of a node in the table of one family: whole, or the operations that a change needs. Pure.

In: the model's ``PolicyState`` or ``PolicyDelta``, and the :class:`PolicyTable` that the kernel has. Out: operations and the table
after them. Within one transaction a pod is never without the policies that it had or will have: verdicts that change go out and
in again in it, chains are filled before a verdict leads there, and sets before a rule looks into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from netloom.dataplane.nftables.containers import POLICED, POLICY_EGRESS, POLICY_INGRESS
from netloom.dataplane.nftables.policy.chains import Program, chain_name, program_of
from netloom.dataplane.nftables.policy.sets import container_of, elements_of
from netloom.model.policy.state import Chain as ModelChain
from netloom.model.policy.state import (
    ChainKey,
    PolicyDelta,
    PolicyPod,
    PolicyState,
    SetChange,
    SetKey,
)
from netloom.program.nft import (
    AddChain,
    AddContainer,
    AddElements,
    Chain,
    Container,
    DeleteChain,
    DeleteContainer,
    DeleteElements,
    FlushChain,
    Key,
    Op,
    Value,
    Verdict,
)
from netloom.units import Addr, Family, family_of


class PolicyTable(msgspec.Struct, frozen=True):
    """What the kernel has of policies, in one family. ``advance`` changes the mappings in place."""

    family: Family
    sets: dict[SetKey, frozenset[Key]]
    programs: dict[ChainKey, Program]
    pods: dict[Addr, PolicyPod]
    chains: dict[ChainKey, ModelChain]
    """What the programs were made of."""
    own_node: tuple[Addr, ...] = ()

    def copy(self) -> PolicyTable:
        """A table that can be changed without changing this one, at the cost of its keys: sets are copied when they change."""
        return PolicyTable(
            self.family,
            dict(self.sets),
            dict(self.programs),
            dict(self.pods),
            dict(self.chains),
            self.own_node,
        )

    def elements(self) -> dict[str, dict[Key, Value]]:
        """Everything that is in sets and verdict maps, by the container's name."""
        found: dict[str, dict[Key, Value]] = {
            container_of(key).name: dict.fromkeys(keys) for key, keys in self.sets.items()
        }
        for container, wanted in verdicts(self.pods).items():
            found[container.name] = wanted
        return found

    def containers(self) -> tuple[Container, ...]:
        """The sets that there are because of policies."""
        return tuple(container_of(key) for key in self.sets)

    def comments(self) -> dict[str, tuple[str, ...]]:
        """Of each chain what a kernel shows of its rules."""
        return {
            name: tuple(rule.comment for rule in rules)
            for program in self.programs.values()
            for name, rules in program.chains
        }


def empty(family: Family) -> PolicyTable:
    """Of a node without policies."""
    return PolicyTable(family, {}, {}, {}, {})


def policy_table(state: PolicyState, family: Family) -> PolicyTable:
    """The whole."""
    return PolicyTable(
        family,
        {key: frozenset(elements_of(members, family)) for key, members in state.sets.items()},
        {key: program_of(family, key, chain) for key, chain in state.chains.items()},
        {address: pod for address, pod in state.pods.items() if family_of(address) is family},
        dict(state.chains),
        state.own_node,
    )


def advance(table: PolicyTable, delta: PolicyDelta) -> list[Op]:
    """The operations that a change needs; ``table`` has the change already when this returns."""
    ops: list[Op] = []
    gone_sets = [key for key, change in delta.sets.items() if change is None and key in table.sets]
    for key, change in delta.sets.items():
        if change is not None:
            ops += _change_set(table, key, change)
    before = verdicts({a: table.pods[a] for a in delta.pods if a in table.pods})
    gone_chains: list[Program] = []
    for name, chain in delta.chains.items():
        old = table.programs.pop(name, None)
        table.chains.pop(name, None)
        if chain is None:
            gone_chains += [old] if old is not None else []
            continue
        program = table.programs[name] = program_of(table.family, name, chain)
        table.chains[name] = chain
        ops += _fill(program, old)
    for address, pod in delta.pods.items():
        if family_of(address) is not table.family:
            continue
        table.pods.pop(address, None)
        if pod is not None:
            table.pods[address] = pod
    after = verdicts({a: table.pods[a] for a in delta.pods if a in table.pods})
    ops += change_verdicts(before, after)
    ops += clear(name for program in gone_chains for name, _ in program.chains)
    for key in gone_sets:
        del table.sets[key]
        ops.append(DeleteContainer(container_of(key)))
    return ops


def creation(table: PolicyTable) -> list[Op]:
    """The operations that make all of it where nothing of it is there."""
    ops: list[Op] = []
    for key, keys in table.sets.items():
        ops.append(AddContainer(container_of(key)))
        ops.append(AddElements(container_of(key), tuple((one, None) for one in sorted(keys))))
    for program in table.programs.values():
        ops += _fill(program, None)
    return [*ops, *change_verdicts({}, verdicts(table.pods))]


def _change_set(table: PolicyTable, key: SetKey, change: SetChange) -> list[Op]:
    container = container_of(key)
    held = table.sets.get(key)
    ops: list[Op] = []
    if held is None:
        held = frozenset()
        ops.append(AddContainer(container))
    removed = elements_of(change.removed, table.family) & held
    added = elements_of(change.added, table.family) - held
    if removed:
        ops.append(DeleteElements(container, tuple(sorted(removed))))
    if added:
        ops.append(AddElements(container, tuple((one, None) for one in sorted(added))))
    table.sets[key] = (held - removed) | added
    return ops


def _fill(program: Program, old: Program | None) -> list[Op]:
    """Make its chains as they should be; a chain of the former program that is not used any more goes."""
    ops: list[Op] = [AddChain(Chain(name)) for name, _ in program.chains]
    present = {name for name, _ in old.chains} if old is not None else set()
    ops += [FlushChain(name) for name, _ in program.chains if name in present]
    ops += [rule for _, rules in program.chains for rule in rules]
    left = present - {name for name, _ in program.chains}
    return [*ops, *clear(sorted(left))]


def clear(chains: Iterable[str]) -> list[Op]:
    """Take chains out that no verdict and no rule of others leads to."""
    found = list(chains)
    return [*(FlushChain(name) for name in found), *(DeleteChain(name) for name in found)]


def verdicts(pods: Mapping[Addr, PolicyPod]) -> dict[Container, dict[Key, Value]]:
    """What leads from these pods to their chains."""
    found: dict[Container, dict[Key, Value]] = {POLICY_INGRESS: {}, POLICY_EGRESS: {}, POLICED: {}}
    for address, pod in pods.items():
        found[POLICED][address.packed,] = None
        for container, key in ((POLICY_INGRESS, pod.ingress), (POLICY_EGRESS, pod.egress)):
            if key is not None:
                found[container][address.packed,] = Verdict("jump", chain_name(key))
    return found


def change_verdicts(
    before: Mapping[Container, Mapping[Key, Value]], after: Mapping[Container, Mapping[Key, Value]]
) -> list[Op]:
    """From some verdicts to others; a key is never overwritten."""
    ops: list[Op] = []
    for container in (POLICY_INGRESS, POLICY_EGRESS, POLICED):
        was, now = before.get(container, {}), after.get(container, {})
        gone = [key for key, value in was.items() if key not in now or now[key] != value]
        come = [(key, value) for key, value in now.items() if key not in was or was[key] != value]
        if gone:
            ops.append(DeleteElements(container, tuple(sorted(gone))))
        if come:
            ops.append(AddElements(container, tuple(sorted(come, key=lambda item: item[0]))))
    return ops
