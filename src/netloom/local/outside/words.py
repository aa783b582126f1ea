"""What is asked of the place outside, and what it answers: one message each, over a unix socket of packets. Pure.

A wish comes with descriptors: to run, those of standard input, output and error; to publish, a socket that listens on the host.
"""

from __future__ import annotations

import msgspec

from netloom.local.refusal import Failed

MOST_BYTES = 128 << 10
"""Of one message."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Run a program there."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Lead everybody who connects to the socket to a Service; as ``--publish`` writes it."""

    publication: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done: exit code of the program, or the negative number of the signal that ended it."""

    code: int = 0


Wish = Run | Publish
Answer = Done | Failed

encode = msgspec.json.Encoder().encode
decode_wish = msgspec.json.Decoder(Wish).decode
decode_answer = msgspec.json.Decoder(Answer).decode
