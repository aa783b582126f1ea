"""What a process of a running cluster answers if it cannot do what was asked for. In: why; out: an answer, and the error of who asked."""

from __future__ import annotations

import msgspec

from netloom.errors import NetloomError


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """It cannot be done."""

    problem: str
    hint: str = ""
    exit_code: int = 1


class Refused(NetloomError):
    """What could not be done; carries the exit code that was said."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.problem, failed.hint)
        self.exit_code = failed.exit_code
