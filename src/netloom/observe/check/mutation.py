"""Which rule would nobody miss? Takes one part of a policy away after the other, and asks whether any case fares otherwise.

Comes in: the policies, cases with their points. Goes out: for each part whether some case notices. In the model only: nothing in the
cluster is touched, so nothing has to be put back. That this says something about packets follows from the same run, in which packets did
what the model says.

Parts are: a whole policy; a rule; one of several peers, ports or exceptions of a rule. Taking the last peer or port of a rule away would
not take away but add (an empty list means everything), so it is the rule that goes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.networking import NetworkPolicy
from netloom.model.inputs import ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge, Judgement
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.model.policy.reading.rules import PolicyReading
from netloom.model.policy.state import PolicyRef
from netloom.model.provenance import Source, source_of
from netloom.observe.check.expectations import Expected
from netloom.observe.check.predict import Point, verdict_at

MOST_PARTS = 5000
_LISTS = ("from", "to", "ports", "protocols")
_MOST_NAMED = 3

Policy = NetworkPolicy | ClusterNetworkPolicy


class Part(msgspec.Struct, frozen=True):
    """Something that can be taken away."""

    source: Source
    """Policy and field; the policy alone for the whole of it."""
    ref: PolicyRef
    reading: PolicyReading | None
    """What is left; None: nothing."""


class Mutation(msgspec.Struct, frozen=True):
    """What became of the cases without a part."""

    source: Source
    noticed_by: tuple[str, ...]
    """The first few of the cases that fare otherwise."""
    count: int
    """How many do."""

    @property
    def is_noticed(self) -> bool:
        """Somebody would miss it."""
        return self.count > 0


class Subject(msgspec.Struct, frozen=True):
    """A case, as far as policies matter to it."""

    text: str
    points: frozenset[Point]


def parts_of(view: ClusterView) -> Iterator[Part]:
    """Every part of every policy, in order of their names."""
    for key in sorted(view.policies):
        policy = view.policies[key]
        source = source_of("NetworkPolicy", policy.metadata)
        yield from _parts(policy, source, read_network_policy(policy).ref)
    for key in sorted(view.cluster_policies):
        cluster_policy = view.cluster_policies[key]
        source = source_of("ClusterNetworkPolicy", cluster_policy.metadata)
        yield from _parts(cluster_policy, source, read_cluster_policy(cluster_policy).ref)


def mutations(
    parts: Iterable[Part], subjects: Sequence[Subject], cluster: PolicyCluster
) -> Iterator[Mutation]:
    """Each part taken away in turn; ``cluster`` is changed meanwhile, and afterwards what it was."""
    judge = Judge(cluster, explains=False)
    base: dict[Point, Judgement] = {
        point: judge.judge(*point) for subject in subjects for point in subject.points
    }
    about: dict[PolicyRef, list[Subject]] = {}
    for subject in subjects:
        refs = {_ref(source) for point in subject.points for source in base[point].policies}
        for ref in refs:
            about.setdefault(ref, []).append(subject)
    before = {subject: verdict_at(subject.points, lambda p: base[p].is_allowed) for subject in subjects}
    for part in parts:
        whole = cluster.readings.get(part.ref)
        if whole is None:
            continue
        try:
            _put(cluster, part.ref, part.reading)
            changed = _changed(about.get(part.ref, ()), before, judge)
        finally:
            cluster.set_reading(whole)
        yield Mutation(part.source, tuple(one.text for one in changed[:_MOST_NAMED]), len(changed))


def _changed(
    subjects: Iterable[Subject], before: Mapping[Subject, Expected | None], judge: Judge
) -> list[Subject]:
    known: dict[Point, bool] = {}

    def is_allowed(point: Point) -> bool:
        if point not in known:
            known[point] = judge.judge(*point).is_allowed
        return known[point]

    return [one for one in subjects if verdict_at(one.points, is_allowed) is not before[one]]


def _put(cluster: PolicyCluster, ref: PolicyRef, reading: PolicyReading | None) -> None:
    if reading is None:
        cluster.drop_reading(ref)
    else:
        cluster.set_reading(reading)


def _ref(source: Source) -> PolicyRef:
    return PolicyRef(source.kind, source.namespace, source.name)


def _parts(policy: Policy, source: Source, ref: PolicyRef) -> Iterator[Part]:
    yield Part(source, ref, None)
    spec = policy.spec
    if not isinstance(spec, dict):
        return
    for path, less in _lessened(spec):
        made = msgspec.structs.replace(policy, spec=less)
        reading = read_network_policy(made) if isinstance(made, NetworkPolicy) else read_cluster_policy(made)
        yield Part(source.at(path), ref, reading)


def _lessened(spec: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The path of what is taken away, and the spec without it."""
    for direction in ("ingress", "egress"):
        rules = spec.get(direction)
        if not isinstance(rules, list):
            continue
        for index, rule in enumerate(rules):
            path = f"spec.{direction}[{index}]"
            yield path, _without(spec, (direction,), index)
            if isinstance(rule, dict):
                yield from _inside(spec, (direction, index), rule, path)


def _inside(
    spec: Mapping[str, Any], where: tuple[str | int, ...], rule: Mapping[str, Any], path: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in _LISTS:
        found = rule.get(field)
        if not isinstance(found, list):
            continue
        for index, one in enumerate(found):
            if len(found) > 1:
                yield f"{path}.{field}[{index}]", _without(spec, (*where, field), index)
            block = one.get("ipBlock") if isinstance(one, dict) else None
            excepts = block.get("except") if isinstance(block, dict) else None
            for number in range(len(excepts) if isinstance(excepts, list) else 0):
                inside = (*where, field, index, "ipBlock", "except")
                yield f"{path}.{field}[{index}].ipBlock.except[{number}]", _without(spec, inside, number)


def _without(spec: Mapping[str, Any], where: tuple[str | int, ...], index: int) -> dict[str, Any]:
    """A copy in which one member of the list at ``where`` is not there.

    ``policyTypes`` are written down first: they follow from which rules there are where nobody says them.
    """
    made: dict[str, Any] = copy.deepcopy(dict(spec))
    if "tier" not in made and not made.get("policyTypes"):
        made["policyTypes"] = ["Ingress", "Egress"] if made.get("egress") else ["Ingress"]
    place: Any = made
    for step in where:
        place = place[step]
    del place[index]
    return made
