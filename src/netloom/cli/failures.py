"""What ``netloom node`` and ``netloom link`` share: asking process 1 of a local cluster, and showing how things are then."""

from __future__ import annotations

import argparse

import msgspec

from netloom.cli.output import emit, table
from netloom.local.failures.words import Delay, State, Wish
from netloom.local.settings import ClusterSettings


class NodeState(msgspec.Struct, frozen=True):
    """One node and its cable."""

    node: str
    power: str
    """``on`` or ``off``."""
    link: str
    """``up``, ``cut``, or ``slow``."""
    apart_from: tuple[str, ...] = ()
    """Nodes that no packet reaches from here, and the other way round."""
    delay: Delay | None = None


def report(options: argparse.Namespace, wish: Wish) -> int:
    """Ask for it, and show all nodes with their links afterwards."""
    from netloom.local import cluster  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.local.failures.call import ask  # noqa: PLC0415 - as above

    paths = cluster.running(options.name)
    states = states_of(ask(paths, wish), cluster.settings_of(paths))
    emit(states, options.output, text(states))
    return 0


def states_of(state: State, settings: ClusterSettings) -> tuple[NodeState, ...]:
    """All nodes, in their order."""
    return tuple(
        NodeState(
            node=name,
            power="off" if name in state.off else "on",
            link="cut" if name in state.pulled else "slow" if name in state.slow else "up",
            apart_from=tuple(sorted(_others(name, state))),
            delay=state.slow.get(name),
        )
        for name in settings.node_names
    )


def _others(name: str, state: State) -> list[str]:
    return [other for pair in state.apart if name in pair for other in pair if other != name]


def text(states: tuple[NodeState, ...]) -> str:
    """Nodes for people."""
    rows = ((one.node, one.power, _link(one), ",".join(one.apart_from) or "-") for one in states)
    return table(("NODE", "POWER", "LINK", "CUT OFF FROM"), rows)


def _link(one: NodeState) -> str:
    return f"{one.link} ({one.delay})" if one.delay is not None else one.link
