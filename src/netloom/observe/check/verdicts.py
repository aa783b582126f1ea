"""What a case comes to: expectation, model and packets, held against each other. Pure.

An expectation holds where the packets do what it says *and* could have done otherwise: a deny where nothing listens, or where no policy
but something else is in the way, proves nothing, and is told apart. Model and packets that disagree are the worst of all: then either
the kernel or netloom is wrong.
"""

from __future__ import annotations

import enum

import msgspec

from netloom.model.provenance import Source
from netloom.observe.check.ends import Case
from netloom.observe.check.expectations import Expected
from netloom.observe.check.predict import Prediction
from netloom.observe.check.prober import End, Seen


class Status(enum.Enum):
    """In the order of weight."""

    HOLDS = "holds"
    UNASKED = "not asked"
    """No packet could be sent; the model says what is expected."""
    EMPTY = "could not fail"
    UNTRUE = "untrue"
    CONTRADICTS = "contradicts"
    """The packets do not do what the model says."""


FAILURES = frozenset((Status.UNTRUE, Status.CONTRADICTS))


class Result(msgspec.Struct, frozen=True):
    """One case, tried."""

    status: Status
    text: str
    """Who to whom."""
    expected: str
    predicted: str
    """``allow``, ``deny``, or empty where the model says neither."""
    seen: str
    """What became of the packets."""
    why: str
    """What is wrong, or what makes it so."""
    ms: float = 0.0
    sources: tuple[Source, ...] = ()
    place: str = ""
    """File and number of the expectation."""
    because: str = ""
    """What its author says of it."""


def judge(case: Case, prediction: Prediction, seen: Seen, listens: bool | None) -> Result:
    """What a case comes to.

    Args:
        case: who to whom.
        prediction: what the model says.
        seen: what the packets did.
        listens: whether something listens at the receiver, as it sees itself; None where that is not known.
    """
    expectation = case.expectation
    expected = expectation.expected if expectation is not None else prediction.verdict
    status, why = _status(expected, prediction, seen, listens)
    return Result(
        status=status,
        text=case.text,
        expected=expected.value if expected is not None else "",
        predicted=prediction.verdict.value if prediction.verdict is not None else "",
        seen=_seen_text(seen),
        why=why,
        ms=seen.ms,
        sources=prediction.sources,
        place=expectation.place if expectation is not None else "",
        because=expectation.because if expectation is not None else "",
    )


def _status(
    expected: Expected | None, prediction: Prediction, seen: Seen, listens: bool | None
) -> tuple[Status, str]:
    if seen.end in (End.UNASKED, End.UNSUPPORTED):
        return _unasked(expected, prediction, seen)
    contradiction = _contradiction(prediction, seen, listens)
    if contradiction:
        return Status.CONTRADICTS, contradiction
    if expected is Expected.ALLOW:
        return _allow(prediction, seen)
    if expected is Expected.DENY:
        return _deny(prediction, seen, listens)
    return Status.HOLDS, prediction.reason


def _unasked(expected: Expected | None, prediction: Prediction, seen: Seen) -> tuple[Status, str]:
    if expected is Expected.DENY and prediction.open_reason:
        return Status.EMPTY, f"it would not arrive without policies either: {prediction.open_reason}"
    if expected is not None and prediction.verdict is not expected:
        return Status.UNTRUE, f"says the model: {prediction.reason}"
    because = seen.error or "there is no pod to send from"
    return Status.UNASKED, f"{because}; says the model: {prediction.reason}"


def _contradiction(prediction: Prediction, seen: Seen, listens: bool | None) -> str:
    """Where the packets do what the model excludes; empty where they do not."""
    model = (
        f"the model says {prediction.verdict.value if prediction.verdict else 'neither'}: {prediction.reason}"
    )
    if prediction.verdict is Expected.DENY and seen.end is End.ANSWERED:
        return f"answered{f' by {seen.pod}' if seen.pod else ''}; {model}"
    if prediction.verdict is Expected.DENY and seen.end is End.REFUSED and listens is False:
        return f"refused by the receiver itself: the packet came through; {model}"
    if prediction.verdict is Expected.ALLOW and seen.end is End.DROPPED:
        return f"{_drop_text(seen, '')}; {model}"
    if prediction.verdict is Expected.ALLOW and seen.end is End.SILENT and listens:
        return f"no answer, though something listens there; {model}"
    if prediction.verdict is None and prediction.open_reason and seen.end is End.ANSWERED:
        return f"answered{f' by {seen.pod}' if seen.pod else ''}; {model}"
    return ""


def _allow(prediction: Prediction, seen: Seen) -> tuple[Status, str]:
    if seen.end is End.ANSWERED and prediction.verdict is Expected.ALLOW:
        return Status.HOLDS, f"answered by {seen.pod}" if seen.pod else "answered"
    if seen.end is End.ANSWERED:
        return Status.UNTRUE, f"answered this time, but not always: {prediction.reason}"
    if seen.end is End.DROPPED:
        return Status.UNTRUE, _drop_text(seen, prediction.reason)
    if prediction.verdict is not Expected.ALLOW:
        return Status.UNTRUE, prediction.reason
    if prediction.is_external:
        return Status.UNASKED, f"it leaves the cluster ({_seen_text(seen)}): what is there is not ours to say"
    return Status.UNTRUE, f"no policy is in the way, but {_seen_text(seen)}: does anything listen there?"


def _deny(prediction: Prediction, seen: Seen, listens: bool | None) -> tuple[Status, str]:
    if seen.end is End.ANSWERED:
        return Status.UNTRUE, prediction.reason
    if prediction.open_reason:
        return Status.EMPTY, f"it would not arrive without policies either: {prediction.open_reason}"
    if prediction.verdict is not Expected.DENY:
        return Status.UNTRUE, f"not denied, though {_seen_text(seen)} this time: {prediction.reason}"
    if listens is False:
        return Status.EMPTY, "nothing listens at the receiver: without policies it would be refused"
    return Status.HOLDS, _drop_text(seen, prediction.reason)


def _drop_text(seen: Seen, otherwise: str) -> str:
    """Where and why it was dropped; ``otherwise`` where the agent does not say why."""
    drop = seen.drop
    if drop is None:
        return otherwise
    to = f"{drop.destination.text} port {drop.destination.port}/{drop.protocol}"
    return f"on {drop.node}, on its way to {to}: {drop.why or otherwise}"


def _seen_text(seen: Seen) -> str:
    words = {
        End.ANSWERED: f"answered by {seen.pod}" if seen.pod else "answered",
        End.REFUSED: "refused",
        End.UNREACHABLE: f"unreachable ({seen.error})",
        End.SILENT: "no answer",
        End.UNRESOLVED: f"the name has no address ({seen.error})",
        End.UNSUPPORTED: f"not tried ({seen.error})",
        End.STOPPED: "given up",
        End.DROPPED: "dropped",
        End.UNASKED: "not asked",
    }
    return words[seen.end]
