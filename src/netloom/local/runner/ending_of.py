"""How lives end, as values (core/v1 ContainerStateTerminated). Pure: a time, an exit code in; an End, or what status shows of it, out."""

from __future__ import annotations

from netloom.local.runner.running import End
from netloom.local.runner.status import Terminated

_KILLED = 137
"""128 and SIGKILL."""


def killed(now: float, why: str = "") -> End:
    """A stand-in that was not asked."""
    return End(exit_code=_KILLED, reason="Error", finished=now, message=why)


def completed(now: float, code: int) -> End:
    """A stand-in that ended by itself, or when it was told to."""
    why = f"ended with exit code {code}" if code else ""
    return End(exit_code=code, reason="Error" if code else "Completed", finished=now, message=why)


def terminated(end: End, since: float | None) -> Terminated:
    """What status shows; ``since`` is when it began to run, None where it never did."""
    started = end.finished if since is None else since
    return Terminated(end.exit_code, end.reason, started, end.finished, end.message, end.signal)
