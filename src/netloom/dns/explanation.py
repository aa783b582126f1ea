"""What is asked about a name, and what is answered: the same on both sides of the sockets. Values only."""

from __future__ import annotations

import msgspec


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be explained."""

    client: str
    """Address of who asks."""
    name: str
    """A final dot keeps the search path out."""
    type: str = "A"


class Expansion(msgspec.Struct, frozen=True, omit_defaults=True):
    """One query that the resolver sends, and what it gets."""

    name: str
    type: str
    origin: str
    """Where the answer comes from."""
    rcode: str
    records: tuple[str, ...] = ()
    server: str = ""
    """The upstream server whose answer it is."""
    age_s: int | None = None
    """Of an answer that was kept: since when."""
    took_ms: float = 0.0
    is_stale: bool = False


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of them, in the order in which they are sent; the last one is what the program gets."""

    client: str
    pod: str = ""
    search: tuple[str, ...] = ()
    ndots: int = 0
    generation: int = 0
    """Of the cluster's names, as the agent counts them."""
    expansions: tuple[Expansion, ...] = ()
    problem: str = ""
