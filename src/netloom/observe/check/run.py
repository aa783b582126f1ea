"""A whole check: cases, what the model says of them, packets, verdicts, and the parts of policies that nobody would miss.

Comes in: a cluster, expectations, and who can send packets. Goes out: a report. Two rounds of packets: first the cases; then, where an
answer failed to come, whether anything listens at the receiver at all, asked by the receiver of itself (no policy is between a pod and
itself).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.model.walk.cluster import ClusterModel
from netloom.observe.check.ends import MOST_CASES, Case, Cases, all_pairs, cases_of
from netloom.observe.check.expectations import Expectation, Expected
from netloom.observe.check.mutation import MOST_PARTS, Mutation, Subject, mutations, parts_of
from netloom.observe.check.predict import Prediction, Predictor
from netloom.observe.check.prober import End, Probe, Seen
from netloom.observe.check.verdicts import FAILURES, Result, Status, judge
from netloom.units import ObjectKey

_MOST_REPEATS = 3
"""A Service is asked so often, where it has several endpoints."""


class Packets(Protocol):
    """Who sends packets; see ``prober.Prober``."""

    async def ask(self, probes: Sequence[Probe], *, on_seen: Callable[[], None] = ...) -> list[Seen]:
        """What became of each."""


class CheckReport(msgspec.Struct, frozen=True):
    """The whole answer."""

    results: tuple[Result, ...]
    of: int
    """How many cases there would have been; more than results where a bound was met."""
    mutations: tuple[Mutation, ...] | None = None
    """None: not asked for."""
    problems: tuple[str, ...] = ()
    """What made the check slower or less sure."""
    seconds: float = 0.0

    @property
    def failures(self) -> tuple[Result, ...]:
        """What is not as expected."""
        return tuple(result for result in self.results if result.status in FAILURES)

    @property
    def doubts(self) -> tuple[Result, ...]:
        """What proves nothing."""
        return tuple(one for one in self.results if one.status in (Status.EMPTY, Status.UNASKED))

    @property
    def unnoticed(self) -> tuple[Mutation, ...]:
        """Parts of policies that nobody would miss."""
        return tuple(one for one in self.mutations or () if not one.is_noticed)

    def is_good(self, *, strict: bool) -> bool:
        """Everything is as expected; ``strict``: and nothing is in doubt."""
        return not self.failures and not (strict and (self.doubts or self.unnoticed))


class Check:
    """Checks one cluster.

    Args:
        load: the cluster as it is now.
        facts: its settings, given the view.
        packets: None: nothing is sent, the model alone answers.
        expectations: none: all pairs of workloads, as the model says.
        most: bound for the cases.
    """

    def __init__(
        self,
        *,
        load: Callable[[], Awaitable[ClusterView]],
        facts: Callable[[ClusterView], ClusterFacts],
        packets: Packets | None,
        expectations: Sequence[Expectation] = (),
        most: int = MOST_CASES,
    ) -> None:
        self._load = load
        self._facts = facts
        self._packets = packets
        self._expectations = tuple(expectations)
        self._most = most

    async def run(self, *, mutate: bool = False, step: Callable[[str], None] = lambda _: None) -> CheckReport:
        """Everything. A contradiction between model and packets is looked at once more: the cluster may have changed meanwhile.

        Raises:
            UsageError, NotFound: an expectation cannot be read against this cluster.
            Unavailable: the API server does not answer.
        """
        began = asyncio.get_running_loop().time()
        step("reading the cluster")
        attempt = await self._attempt(step)
        if any(result.status is Status.CONTRADICTS for result in attempt.results):
            step("model and packets disagree: looking once more")
            attempt = await self._attempt(step)
        found = None
        if mutate:
            step("taking parts of policies away, in the model")
            found = attempt.mutations()
        return CheckReport(
            results=tuple(attempt.results),
            of=attempt.of,
            mutations=found,
            seconds=round(asyncio.get_running_loop().time() - began, 3),
        )

    async def _attempt(self, step: Callable[[str], None]) -> _Attempt:
        view = await self._load()
        cluster = ClusterModel(view, self._facts(view))
        cases = self._cases(cluster)
        predictor = Predictor(cluster)
        predicted = [(case, predictor.predict(case)) for case in cases.cases]
        kept = [(case, one) for case, one in predicted if not (case.is_drawn and one.is_itself)]
        left_out = len(predicted) - len(kept)
        asked = await self._ask(kept, step) if self._packets is not None else _unasked(len(kept))
        results = [
            judge(case, prediction, seen, listens)
            for (case, prediction), (seen, listens) in zip(kept, asked, strict=True)
        ]
        return _Attempt(view, predictor, kept, results, max(cases.of - left_out, len(kept)))

    def _cases(self, cluster: ClusterModel) -> Cases:
        if self._expectations:
            return cases_of(self._expectations, cluster, self._most)
        return all_pairs(cluster, self._most)

    async def _ask(
        self, cases: Sequence[tuple[Case, Prediction]], step: Callable[[str], None]
    ) -> list[tuple[Seen, bool | None]]:
        first = await self._send(
            [[one.probe] * _repeats(case, one) if one.probe is not None else [] for case, one in cases],
            "connections",
            step,
        )
        seen = [_telling(case, one, found) for (case, one), found in zip(cases, first, strict=True)]
        doubtful: dict[tuple[ObjectKey, Probe], None] = {}
        for (_, one), what in zip(cases, seen, strict=True):
            if what.end not in (End.ANSWERED, End.UNASKED):
                doubtful.update(dict.fromkeys(_controls(one)))
        controls = [probe for _, probe in doubtful]
        answers = await self._send([[probe] for probe in controls], "receivers", step)
        listening = {probe: found[0].end for probe, found in zip(controls, answers, strict=True)}
        return [(what, _listens(one, listening)) for (_, one), what in zip(cases, seen, strict=True)]

    async def _send(
        self, wanted: Sequence[Sequence[Probe]], what: str, step: Callable[[str], None]
    ) -> list[list[Seen]]:
        """In the same order and shape."""
        flat = [probe for some in wanted for probe in some]
        if not flat or self._packets is None:
            return [[] for _ in wanted]
        done = 0

        def on_seen() -> None:
            nonlocal done
            done += 1
            if done % 50 == 0:
                step(f"asked {done} of {len(flat)} {what}")

        step(f"asking {len(flat)} {what}")
        found = iter(await self._packets.ask(flat, on_seen=on_seen))
        return [[next(found) for _ in some] for some in wanted]


class _Attempt:
    """What came of one look at the cluster."""

    def __init__(
        self,
        view: ClusterView,
        predictor: Predictor,
        cases: Sequence[tuple[Case, Prediction]],
        results: Sequence[Result],
        of: int,
    ) -> None:
        self._view = view
        self._predictor = predictor
        self._cases = cases
        self.results = results
        self.of = of

    def mutations(self) -> tuple[Mutation, ...]:
        """Of all parts, up to a bound."""
        subjects = [Subject(_named(case), one.points) for case, one in self._cases if one.points]
        parts = [part for part, _ in zip(parts_of(self._view), range(MOST_PARTS), strict=False)]
        return tuple(mutations(parts, subjects, self._predictor.policies))


def _named(case: Case) -> str:
    place = f"{case.expectation.place}: " if case.expectation is not None else ""
    return f"{place}{case.text}"


def _unasked(count: int) -> list[tuple[Seen, bool | None]]:
    return [(Seen(End.UNASKED, error="no packets were asked for"), None)] * count


def _repeats(case: Case, prediction: Prediction) -> int:
    return 1 if case.origin.pod is None else max(1, min(len(prediction.targets), _MOST_REPEATS))


def _telling(case: Case, prediction: Prediction, found: Sequence[Seen]) -> Seen:
    """Of several tries the one that is against what is expected, if there is one."""
    if not found:
        return Seen(End.UNASKED)
    expected = case.expectation.expected if case.expectation is not None else prediction.verdict
    is_answer_telling = expected is Expected.DENY
    return next((one for one in found if (one.end is End.ANSWERED) is is_answer_telling), found[0])


def _controls(prediction: Prediction) -> list[tuple[ObjectKey, Probe]]:
    return [
        (pod, Probe(pod, str(address), port, protocol)) for pod, address, port, protocol in prediction.targets
    ]


def _listens(prediction: Prediction, listening: dict[Probe, End]) -> bool | None:
    ends = [listening[probe] for _, probe in _controls(prediction) if probe in listening]
    if any(end is End.ANSWERED for end in ends):
        return True
    return False if ends and all(end is End.REFUSED for end in ends) else None
