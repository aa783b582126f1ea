"""What is asked of process 1 while the cluster runs, and what it answers: one message each, over a unix socket of packets. Pure."""

from __future__ import annotations

import msgspec

from netloom.local.refusal import Failed

MOST_BYTES = 16 << 10
"""Of one message."""


class Delay(msgspec.Struct, frozen=True):
    """What is wrong with a cable that is not cut, each way."""

    delay_ms: float = 0
    jitter_ms: float = 0
    """By how much the delay varies at most, up and down."""
    loss_percent: float = 0

    def __str__(self) -> str:
        parts = [f"{self.delay_ms:g} ms" + (f" +- {self.jitter_ms:g} ms" if self.jitter_ms else "")]
        return ", ".join(parts + ([f"{self.loss_percent:g} % lost"] if self.loss_percent else []))


class Switch(msgspec.Struct, frozen=True, tag="switch"):
    """Switch a node ``off`` in order, ``kill`` it, or switch it ``on``."""

    node: str
    to: str


class Cut(msgspec.Struct, frozen=True, tag="cut"):
    """Pull the cable of a node; or, with two nodes, let nothing through between them."""

    nodes: tuple[str, ...]


class Heal(msgspec.Struct, frozen=True, tag="heal"):
    """Undo what was done to a node's cable, or between two nodes; without a node everything."""

    nodes: tuple[str, ...] = ()


class Slow(msgspec.Struct, frozen=True, tag="slow"):
    """Let every packet from and to a node wait, and some be lost."""

    node: str
    delay: Delay


class Look(msgspec.Struct, frozen=True, tag="look"):
    """How are things?"""


class State(msgspec.Struct, frozen=True, tag="state"):
    """What is off, cut and slow."""

    off: tuple[str, ...] = ()
    """Nodes that are switched off."""
    pulled: tuple[str, ...] = ()
    """Nodes whose cable is pulled."""
    apart: tuple[tuple[str, str], ...] = ()
    """Pairs of nodes between which nothing passes."""
    slow: dict[str, Delay] = {}


Wish = Switch | Cut | Heal | Slow | Look
Answer = State | Failed

encode = msgspec.json.Encoder().encode
decode_wish = msgspec.json.Decoder(Wish).decode
decode_answer = msgspec.json.Decoder(Answer).decode
