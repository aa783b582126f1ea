"""What a pod asks of its node, read once. In: a Pod; out: :class:`Wants`, in numbers and compiled selectors. Pure.

Source: core/v1 PodSpec. Not here: which node has it (``filters.py``, ``scores.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING

import msgspec

from netloom.api import quantity
from netloom.api.meta import LabelSelector
from netloom.api.selectors import Requirement, Selector, from_selector
from netloom.local.controllers.objects import Container, Pod
from netloom.local.controllers.placement import (
    NodeSelector,
    PodAffinityTerm,
    PodAntiAffinity,
    PreferredNode,
    SpreadConstraint,
    term_matches,
)

Amounts = dict[str, int]
"""Of resources: cpu in thousandths, everything else in its own unit."""
HostPort = tuple[str, str, int]
"""Address, protocol, number."""
HARD_WEIGHT = 1
"""What a required affinity of pods that are there counts for those that come (kube-scheduler ``hardPodAffinityWeight``)."""
_NOTHING = Selector((Requirement("", "In", frozenset()),))


class Term(msgspec.Struct, frozen=True, cache_hash=True):
    """An affinity to other pods."""

    topology_key: str
    selector: Selector
    namespaces: frozenset[str]
    of_namespaces: Selector | None
    """Namespaces by their labels, besides those that are named."""


class Spread(msgspec.Struct, frozen=True, cache_hash=True):
    """A topology spread constraint."""

    topology_key: str
    max_skew: int
    is_hard: bool
    selector: Selector
    min_domains: int
    heeds_affinity: bool
    heeds_taints: bool


class Wants(msgspec.Struct, frozen=True):
    """What is asked of a node."""

    pod: Pod
    requests: Amounts
    ports: tuple[HostPort, ...]
    near: tuple[Term, ...] = ()
    apart: tuple[Term, ...] = ()
    weighted: tuple[tuple[Term, int], ...] = ()
    """Pods that it would like to be near to, or (below zero) far from."""
    spread: tuple[Spread, ...] = ()
    preferred_nodes: tuple[PreferredNode, ...] = ()
    volumes: tuple[NodeSelector, ...] = ()
    """Where its volumes are."""

    @property
    def priority(self) -> int:
        """``spec.priority``."""
        return self.pod.spec.priority

    @property
    def kin(self) -> tuple[str, str]:
        """Whose it is: pods of one owner, or where there is none of the same labels, are kin; empty where nothing is said."""
        pod = self.pod
        if owner := pod.controller_uid:
            return pod.metadata.namespace, owner
        labels = ",".join(f"{k}={v}" for k, v in sorted(pod.metadata.labels.items()))
        return (pod.metadata.namespace, labels) if labels else ("", "")

    def takes_node(self, name: str, labels: Mapping[str, str]) -> bool:
        """Its node selector and required node affinity allow a node of this name and these labels."""
        spec = self.pod.spec
        if spec.node_selector and not spec.node_selector.items() <= labels.items():
            return False
        affinity = spec.affinity.node_affinity if spec.affinity else None
        if affinity is None or affinity.required is None:
            return True
        terms = affinity.required.node_selector_terms
        return any(term_matches(term, name=name, labels=labels) for term in terms)

    def reaches_volumes(self, name: str, labels: Mapping[str, str]) -> bool:
        """All its volumes are on a node of this name and these labels."""
        return all(
            any(term_matches(term, name=name, labels=labels) for term in place.node_selector_terms)
            for place in self.volumes
        )


def wants_of(pod: Pod) -> Wants:
    """What this pod asks for."""
    spec = pod.spec
    affinity = spec.affinity
    near = affinity.pod_affinity if affinity else None
    apart = affinity.pod_anti_affinity if affinity else None
    return Wants(
        pod=pod,
        requests=requests_of(pod),
        ports=tuple((p.host_ip or "0.0.0.0", p.protocol, p.host_port) for p in spec.ports if p.host_port),  # noqa: S104 - what a port says that names no address
        near=_terms(near, pod),
        apart=_terms(apart, pod),
        weighted=(*_weighted(near, pod, 1), *_weighted(apart, pod, -1)),
        spread=tuple(_spread(c, pod) for c in spec.topology_spread_constraints),
        preferred_nodes=affinity.node_affinity.preferred if affinity and affinity.node_affinity else (),
    )


def requests_of(pod: Pod) -> Amounts:
    """What the pod needs at most at any time: all containers and sidecars together, or one init container and the sidecars before it."""
    spec = pod.spec
    total = _sum(amounts(c.resources.requests) for c in spec.containers)
    running: Amounts = {}
    most: Amounts = {}
    for container in spec.init_containers:
        own = amounts(container.resources.requests)
        if _is_sidecar(container):
            running = _sum((running, own))
            total = _sum((total, own))
            own = {}
        most = _most(most, _sum((running, own)))
    found = _sum((_most(total, most), amounts(spec.overhead)))
    return {name: amount for name, amount in found.items() if amount}


def amounts(said: Mapping[str, str | int | float]) -> Amounts:
    """Quantities as numbers; what is none counts as nothing."""
    return {name: amount(name, value) for name, value in said.items()}


@functools.lru_cache(maxsize=4096)
def amount(name: str, value: str | float) -> int:
    """A quantity of a resource, rounded up."""
    exact = quantity.parse(value)
    if exact is None:
        return 0
    return int((exact * 1000 if name == "cpu" else exact).to_integral_value(rounding=ROUND_CEILING))


def _is_sidecar(container: Container) -> bool:
    return container.restart_policy == "Always"


def _sum(parts: Iterable[Amounts]) -> Amounts:
    found: Amounts = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, 0) + value
    return found


def _most(one: Amounts, other: Amounts) -> Amounts:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one | other}


def _terms(affinity: PodAntiAffinity | None, pod: Pod) -> tuple[Term, ...]:
    return tuple(_term(t, pod) for t in affinity.required) if affinity else ()


def _weighted(affinity: PodAntiAffinity | None, pod: Pod, sign: int) -> Iterable[tuple[Term, int]]:
    preferred = affinity.preferred if affinity else ()
    return ((_term(t.pod_affinity_term, pod), sign * t.weight) for t in preferred)


def _term(term: PodAffinityTerm, pod: Pod) -> Term:
    own = not term.namespaces and term.namespace_selector is None
    return Term(
        topology_key=term.topology_key,
        selector=_selector(term.label_selector, pod, term.match_label_keys, term.mismatch_label_keys),
        namespaces=frozenset((pod.metadata.namespace,) if own else term.namespaces),
        of_namespaces=from_selector(term.namespace_selector) if term.namespace_selector is not None else None,
    )


def _spread(constraint: SpreadConstraint, pod: Pod) -> Spread:
    return Spread(
        topology_key=constraint.topology_key,
        max_skew=constraint.max_skew,
        is_hard=constraint.when_unsatisfiable != "ScheduleAnyway",
        selector=_selector(constraint.label_selector, pod, constraint.match_label_keys, ()),
        min_domains=constraint.min_domains or 1,
        heeds_affinity=constraint.node_affinity_policy != "Ignore",
        heeds_taints=constraint.node_taints_policy == "Honor",
    )


def _selector(
    selector: LabelSelector | None, pod: Pod, same: Iterable[str], other: Iterable[str]
) -> Selector:
    """No selector at all selects nothing; keys are those in whose values pods are to agree with this one, or not."""
    if selector is None:
        return _NOTHING
    labels = pod.metadata.labels
    more = [Requirement(key, "In", frozenset((labels[key],))) for key in same if key in labels]
    more += [Requirement(key, "NotIn", frozenset((labels[key],))) for key in other if key in labels]
    return Selector((*from_selector(selector).requirements, *more))
