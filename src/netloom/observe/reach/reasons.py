"""Why one end reaches another or not, on one side: what the model's judge says of one packet, in words and with its sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from netloom.model.policy.judge import Judge, Judgement
from netloom.model.policy.verdicts import Traffic
from netloom.model.provenance import Source
from netloom.observe.reach.ends import End, EndKind
from netloom.observe.reachability import Reachability
from netloom.units import Protocol

_MOST_POLICIES = 3


class Reason(msgspec.Struct, frozen=True):
    """What one end says of a connection."""

    direction: str
    """``egress`` of the sender or ``ingress`` of the receiver; empty where an end is not there."""
    is_allowed: bool
    text: str
    sources: tuple[Source, ...] = ()


class Reasons:
    """Asks about one side."""

    def __init__(self, reach: Reachability, side: int) -> None:
        self._number = side
        self._judge = Judge(reach.judged[side].cluster)
        self._there = {workload for end in reach.ends if end.examples[side] for workload in end.workloads}

    def of(self, sender: End, receiver: End, protocol: Protocol | None, port: int) -> tuple[Reason, ...]:
        """What keeps a connection from being made, or, where nothing does, what lets it pass."""
        source, destination = sender.examples[self._number], receiver.examples[self._number]
        gone = [self._absent(end) for end, one in ((sender, source), (receiver, destination)) if one is None]
        if source is None or destination is None:
            return tuple(gone)
        traffic = Traffic(source.address, destination.address, protocol, port)
        said = [
            reason
            for end, judgement in zip((sender, receiver), self._judge.both(traffic), strict=True)
            if end.kind is EndKind.POD
            for reason in _said(judgement, end)
        ]
        return tuple(r for r in said if not r.is_allowed) or tuple(said)

    def _absent(self, end: End) -> Reason:
        workload = next(iter(end.workloads), None)
        if workload is None:
            return Reason("", False, f"{end.kind.value} is not there")
        source = Source(workload.kind, workload.namespace, workload.name)
        which = "such a pod of " if workload in self._there else ""
        return Reason("", False, f"{which}{workload.subject} is not there", (source,))


def _said(judgement: Judgement, end: End) -> Iterator[Reason]:
    word = judgement.direction.value
    workload = next(iter(end.workloads), None)
    whom = str(workload or judgement.pod)
    rule = judgement.rule
    if rule is not None:
        name = f' ("{rule.name}")' if rule.name else ""
        verb = "allows it" if judgement.is_allowed else "denies it"
        yield Reason(word, judgement.is_allowed, f"{rule.source}{name} {verb}", (rule.source,))
    elif judgement.is_allowed:
        text = (
            f"nothing restricts {word} of {whom}"
            if not judgement.policies
            else f"no rule denies {word} of {whom}"
        )
        yield Reason(word, True, text, judgement.policies)
    else:
        miss = judgement.miss
        text = f"{_few(judgement.isolating)} {_isolates(judgement.isolating)} {word} of {whom}"
        sources = judgement.isolating
        if miss is not None:
            text = f"{text}: {miss.text}"
            sources = (miss.source, *(s for s in sources if s.subject != miss.source.subject))
        yield Reason(word, False, text, sources)


def _isolates(policies: Sequence[Source]) -> str:
    return "limits" if len(policies) == 1 else "limit"


def _few(policies: Sequence[Source]) -> str:
    shown = ", ".join(source.subject for source in policies[:_MOST_POLICIES])
    return shown if len(policies) <= _MOST_POLICIES else f"{shown} and {len(policies) - _MOST_POLICIES} more"
