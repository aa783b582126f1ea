"""What a kernel has at a station, held against the model.

By meaning: whom a Service leads to, which rules a pod is under, which way a packet goes. Slots and handles are no meaning.
Comes in: stations, and a kernel to ask. Goes out: one comparison each.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from netloom.dataplane.nftables import labels
from netloom.dataplane.nftables.containers import POLICY_EGRESS, POLICY_INGRESS, Keyed
from netloom.dataplane.nftables.entries import NO_SLOTS, entry_of, group_of, slots_in, tail_of
from netloom.dataplane.nftables.explain import explain_label
from netloom.dataplane.nftables.policy.chains import Program, program_of
from netloom.dataplane.nftables.policy.sets import container_of, elements_of
from netloom.dataplane.nftables.slots import Target
from netloom.model.policy.chains import used_sets
from netloom.model.policy.state import Direction, PolicyState
from netloom.model.provenance import Source
from netloom.model.routes import ways
from netloom.model.routes.ways import Way
from netloom.model.state import PeerRoute
from netloom.observe.live.kernel import NodeKernel
from netloom.observe.live.questions import RouteTo
from netloom.observe.live.stations import FrontendStation, PolicyStation, RouteStation
from netloom.program import names
from netloom.program.nft import Key, Value, Verdict
from netloom.units import Family, family_of

_MOST_SHOWN = 4


class Comparison(msgspec.Struct, frozen=True):
    """One station."""

    node: str
    stage: str
    text: str
    """What the kernel has, in words."""
    problem: str = ""
    """How that differs from what the model says; empty where it does not."""
    sources: tuple[Source, ...] = ()


async def compare_frontend(kernel: NodeKernel, station: FrontendStation) -> Comparison:
    """Whom a Service's address leads to.

    Raises:
        Unavailable, NotFound: the agent does not answer.
    """
    key, frontend = station.key, station.frontend
    group, tail = group_of(key), tail_of(key)
    label = _number((await kernel.elements(key.family, group.labels, [tail])).get(tail))
    place = f"{key}"
    if frontend is None or label is None:
        sources = () if frontend is None else (frontend.source,)
        has = "no such frontend" if label is None else explain_label(label, group)
        wants = "it should not be there" if frontend is None else "its Service is not in force"
        is_same = (frontend is None) is (label is None)
        return Comparison(station.node, "service", f"{place}: {has}", "" if is_same else wants, sources)
    expected = entry_of(frontend, NO_SLOTS)
    first, stages = await _labels(kernel, station, group, label)
    inside, outside = await _targets(kernel, station, group, (label, *stages))
    text = f"{place}: {explain_label(label, group)}; {_listed(sorted(set(inside) | set(outside)))}"
    problems = [
        *_difference("leads to", set(inside), set(expected.slots)),
        *_difference("leads clients outside to", set(outside), set(expected.outside)),
    ]
    if _flags(first) != _flags(expected.label):
        problems.insert(0, f"should be: {explain_label(expected.label, group)}")
    return Comparison(station.node, "service", text, "; ".join(problems), (frontend.source,))


async def compare_policy(kernel: NodeKernel, station: PolicyStation, state: PolicyState) -> Comparison:
    """Which rules a pod is under, and whether the sets that these name know the other end.

    Raises:
        Unavailable, NotFound: the agent does not answer.
    """
    traffic, direction = station.traffic, station.direction
    own, other = traffic.own(direction), traffic.other(direction)
    family = family_of(own)
    verdicts = POLICY_EGRESS if direction is Direction.EGRESS else POLICY_INGRESS
    verdict = (await kernel.elements(family, verdicts, [(own.packed,)])).get((own.packed,))
    pod = state.pods.get(own)
    key = None if pod is None else pod.egress if direction is Direction.EGRESS else pod.ingress
    who = f"{direction.value} of pod {station.judgement.pod or own}"
    sources = station.judgement.policies
    if key is None or not isinstance(verdict, Verdict):
        has = f"chain {verdict.chain}" if isinstance(verdict, Verdict) else "no policies"
        is_same = (key is None) is (not isinstance(verdict, Verdict))
        wants = "it should be under none" if key is None else f"it should be under {_subjects(sources)}"
        return Comparison(station.node, "policy", f"{who}: {has}", "" if is_same else wants, sources)
    program = program_of(family, key, state.chains[key])
    problems = [] if verdict.chain == program.entry else [f"should enter chain {program.entry}"]
    problems += await _rule_problems(kernel, family, program)
    for name in dict.fromkeys(used_sets(state.chains[key])):
        wanted = elements_of(state.sets[name], family)
        about = [one for one in wanted if _is_about(one, other.packed)] or [(other.packed,)]
        container = container_of(name)
        if container.is_interval or len(container.key) != 1:
            about = sorted(wanted)
        present = await kernel.elements(family, container, about)
        gone = [one for one in about if one in wanted and one not in present]
        come = [one for one in about if one not in wanted and one in present]
        problems += [f"set {container.name} ({name}) lacks {_member(one)}" for one in gone[:_MOST_SHOWN]]
        problems += [f"set {container.name} ({name}) should not have {_member(one)}" for one in come]
    count = sum(len(rules) for _, rules in program.chains)
    return Comparison(
        station.node, "policy", f"{who}: chain {verdict.chain}, {count} rules", "; ".join(problems), sources
    )


async def compare_routes(kernel: NodeKernel, stations: Sequence[RouteStation]) -> list[Comparison]:
    """Which way packets go; all stations are of one node.

    Raises:
        Unavailable, NotFound: the agent does not answer.
    """
    found: list[Comparison] = []
    by_family: dict[Family, list[RouteStation]] = {}
    for station in stations:
        by_family.setdefault(family_of(station.address), []).append(station)
    for some in by_family.values():
        routes = await kernel.routes(station.address for station in some)
        for station in some:
            route, wanted = routes[str(station.address)], station.route
            via = f" via {route.via}" if route.via else ""
            text = f"{station.address}: {f'{route.destination}{via} dev {route.device}' if route.device else 'no route'}"
            problem = _misled(route, wanted)
            sources = () if wanted is None else (wanted.source,)
            found.append(Comparison(station.node, "route", text, problem, sources))
    return found


def _misled(route: RouteTo, wanted: PeerRoute | None) -> str:
    """What is wrong with a route of the kernel; a pod of the node itself where no peer is wanted."""
    if wanted is None:
        is_right = names.is_pod_link(route.device) or route.device == ways.BRIDGE
        return "" if is_right else "should lead to the pod's own interface"
    if wanted.way is Way.BLOCKED:
        is_right = route.device in ("", "lo")
        return "" if is_right else f"should lead nowhere: {wanted.node} has no key"
    if wanted.way is Way.BGP:
        is_right = route.destination == str(wanted.destination)
        return "" if is_right else f"no router tells the way to {wanted.node}"
    if wanted.way is Way.DIRECT:
        return "" if route.via == str(wanted.via) else f"should go to {wanted.node} at {wanted.via}"
    device = ways.DEVICES[wanted.way]
    return "" if route.device == device else f"should go to {wanted.node} by {device}"


async def _labels(
    kernel: NodeKernel, station: FrontendStation, group: Keyed, label: int
) -> tuple[int, list[int]]:
    """The first label, and those of the stages that it leads to."""
    tail = tail_of(station.key)
    wanted = [(stage, *tail) for stage in (labels.INSIDE_STAGE, labels.OUTSIDE_STAGE, labels.ADMITTED_STAGE)]
    if not label & (labels.BY_SOURCE | labels.ADMISSION):
        return label, []
    found = await kernel.elements(station.key.family, group.stages, wanted)
    return label, [number for value in found.values() if (number := _number(value)) is not None]


async def _targets(
    kernel: NodeKernel, station: FrontendStation, group: Keyed, found: Iterable[int]
) -> tuple[Sequence[Target], Sequence[Target]]:
    """Whom the slots lead to: of everybody or those inside, and of those outside."""
    family, tail = station.key.family, tail_of(station.key)
    sizes = {0: 0, labels.OUTSIDE_SLOTS: 0}
    for label in found:
        first = labels.OUTSIDE_SLOTS if label & labels.OUTSIDE else 0
        sizes[first] = max(sizes[first], labels.size(label))
    places = [(first + slot, *tail) for first, size in sizes.items() for slot in range(size)]
    endpoints = await kernel.elements(family, group.endpoints, places)
    draws = await kernel.elements(family, group.draws, places)
    numbers = sorted({number for value in draws.values() if (number := _number(value)) is not None})
    targets = await kernel.elements(family, group.targets, [(number, *tail) for number in numbers])
    present: Mapping[str, Mapping[Key, Value]] = {
        group.endpoints.name: endpoints,
        group.draws.name: draws,
        group.targets.name: targets,
    }
    return slots_in(present, station.key)


async def _rule_problems(kernel: NodeKernel, family: Family, program: Program) -> list[str]:
    problems: list[str] = []
    for name, rules in program.chains:
        present = await kernel.rules(family, name)
        wanted = tuple(rule.comment for rule in rules)
        if present is None:
            problems.append(f"chain {name} is missing")
        elif present != wanted:
            gone = [one for one in wanted if one not in present][:_MOST_SHOWN]
            come = [one for one in present if one not in wanted][:_MOST_SHOWN]
            problems += [f"chain {name} lacks the rule of {_said(one)}" for one in gone]
            problems += [f"chain {name} has a rule that it should not have: {_said(one)}" for one in come]
            if not gone and not come:
                problems.append(f"chain {name} has its rules in another order, or not as often")
    return problems


def _said(comment: str) -> str:
    """A rule's comment without the digest at its end."""
    return comment.rpartition(" ")[0] or comment


def _is_about(key: Key, packed: bytes) -> bool:
    return packed in key


def _difference(what: str, present: set[Target], wanted: set[Target]) -> list[str]:
    found = []
    if gone := wanted - present:
        found.append(f"should also {what.replace('leads', 'lead', 1)} {_listed(sorted(gone))}")
    if come := present - wanted:
        found.append(f"{what} {_listed(sorted(come))}, which it should not")
    return found


def _listed(targets: Sequence[Target]) -> str:
    shown = [f"{ipaddress.ip_address(address)} port {port}" for address, port in targets[:_MOST_SHOWN]]
    more = len(targets) - len(shown)
    return ", ".join(shown + ([f"{more} more"] if more > 0 else [])) or "no endpoints"


def _member(key: Key) -> str:
    parts = []
    for atom in key:
        if isinstance(atom, int):
            parts.append(str(atom))
        elif len(atom) in (8, 32):
            half = len(atom) // 2
            parts.append(f"{ipaddress.ip_address(atom[:half])}-{ipaddress.ip_address(atom[half:])}")
        else:
            parts.append(str(ipaddress.ip_address(atom)))
    return " ".join(parts)


def _number(value: Value) -> int | None:
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], int):
        return value[0]
    return None


def _flags(label: int) -> int:
    """Without the size of the class, which depends on what was there before."""
    return label ^ labels.size(label)


def _subjects(sources: Iterable[Source]) -> str:
    return ", ".join(source.subject for source in sources)
