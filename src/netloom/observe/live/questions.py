"""What is asked of a node's kernel, and what comes back. Values only: the same on both sides of the agent's socket."""

from __future__ import annotations

import msgspec

from netloom.program.nft import Atom, Container, Verdict
from netloom.units import Family

MOST_ASKED = 25
"""Things in one question: it must fit into a line of 4 KiB."""
WORD = "kernel"


class ElementsOf(msgspec.Struct, frozen=True):
    """Keys of one map or set."""

    container: Container
    keys: tuple[tuple[Atom, ...], ...]


class KernelQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """Any of these, in one family."""

    family: Family
    elements: ElementsOf | None = None
    chain: str = ""
    """Whose rules are wanted."""
    addresses: tuple[str, ...] = ()
    """Where the routes to these lead."""


class RouteTo(msgspec.Struct, frozen=True):
    """The route that packets to an address take; without device: none."""

    address: str
    destination: str = ""
    via: str = ""
    device: str = ""


class KernelAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What there is of what was asked."""

    elements: tuple[tuple[tuple[Atom, ...], Verdict | tuple[Atom, ...] | None], ...] = ()
    """Those that are there, with their values."""
    rules: tuple[str, ...] | None = None
    """Comments, in order; None where there is no such chain, or none was asked for."""
    routes: tuple[RouteTo, ...] = ()
