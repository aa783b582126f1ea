"""Policies are a function of the objects that are there, never of the way they came; and what cannot be read closes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.model.inputs import Changes, ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.differences import difference
from netloom.model.policy.judge import Judge
from netloom.model.policy.pods import read_place
from netloom.model.policy.policies import Policies
from netloom.model.policy.state import Direction, PolicyDelta, PolicyState
from netloom.model.policy.verdicts import decide
from netloom.testing import builders as b
from netloom.testing import policy_universe as u
from netloom.units import ObjectKey, parse_addr

PACKETS = list(u.packets())
Event = tuple[b.Thing, bool]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Objects that come, change and (True) go; most begin with a cluster that has some of each."""

    def choose(options):
        return draw(st.sampled_from(options))

    theme = choose(u.THEMES)
    view = u.some_view(choose) if choose((True, True, False)) else ClusterView()
    events: list[Event] = [
        (thing, False) for field in view.__struct_fields__ for thing in getattr(view, field).values()
    ]
    if theme is not u.THEMES[0]:
        events.append((theme[-1](choose), False))
    return events + [
        (choose(theme)(choose), choose((False, False, True))) for _ in range(choose(range(1, 9)))
    ]


@st.composite
def views(draw: st.DrawFn) -> ClusterView:
    return u.some_view(lambda options: draw(st.sampled_from(options)))


def step(history: Sequence[Event]) -> Changes:
    """Several events taken together, as a watch that coalesces would."""
    last = {(type(thing), thing.key): (thing, gone) for thing, gone in history}
    there = [thing for thing, gone in last.values() if not gone]
    return b.changes(*there, gone=[thing for thing, gone in last.values() if gone])


def final_view(history: Sequence[Event], data: st.DataObject) -> ClusterView:
    last = {(type(thing), thing.key): (thing, gone) for thing, gone in history}
    return b.view(*data.draw(st.permutations([thing for thing, gone in last.values() if not gone])))


def plus(state: PolicyState, delta: PolicyDelta) -> PolicyState:
    """A state with a delta applied, as a plane would."""
    sets = {key: dict(members) for key, members in state.sets.items()}
    for key, change in delta.sets.items():
        if change is None:
            del sets[key]
            continue
        assert change.is_new == (key not in sets)
        members = sets.setdefault(key, {})
        for member in change.removed:
            del members[member]
        members.update(change.added)
    return PolicyState(
        sets=sets,
        chains={k: v for k, v in {**state.chains, **delta.chains}.items() if v is not None},
        pods={k: v for k, v in {**state.pods, **delta.pods}.items() if v is not None},
        own_node=u.FACTS.own_addresses,
    )


def without_findings(state: PolicyState) -> PolicyState:
    return msgspec.structs.replace(state, findings=())


@given(histories(), st.data())
def test_policy_history_leaves_no_trace(history, data):
    policies = Policies(u.FACTS)
    policies.update(step(history[:8]))
    for event in history[8:]:
        policies.update(step([event]))
        assert policies.update(step([event])).is_empty  # a watch repeats itself
    assert policies.state == Policies.compute(final_view(history, data), u.FACTS)


@given(histories(), st.lists(st.integers(0, 24), max_size=4), st.data())
def test_splitting_policy_changes_makes_no_difference(history, cuts, data):
    policies = Policies(u.FACTS)
    bounds = [0, *sorted(min(cut, len(history)) for cut in cuts), len(history)]
    for start, end in itertools.pairwise(bounds):
        policies.update(step(history[start:end]))
    assert policies.state == Policies.compute(final_view(history, data), u.FACTS)


@given(histories(), st.lists(st.integers(0, 24), max_size=3))
def test_each_policy_delta_is_the_difference_of_the_states(history, cuts):
    policies = Policies(u.FACTS)
    summed = PolicyState(own_node=u.FACTS.own_addresses)
    bounds = sorted({0, *(min(cut, len(history)) for cut in cuts), len(history)})
    for start, end in itertools.pairwise(bounds):
        before = policies.state
        delta = policies.update(step(history[start:end]))
        expected = difference(before, policies.state)
        assert delta.chains == expected.chains
        assert delta.pods == expected.pods
        assert {k: _sorted(c) for k, c in delta.sets.items()} == {
            k: _sorted(c) for k, c in expected.sets.items()
        }
        summed = plus(summed, delta)
    assert summed == without_findings(policies.state)


def _sorted(change):
    return change and (change.added, sorted(map(str, change.removed)), change.is_new)


@given(histories())
def test_no_policies_and_no_pods_are_nothing(history):
    policies = Policies(u.FACTS)
    policies.update(step(history))
    policies.update(step([(thing, True) for thing, _ in history]))
    assert policies.state == PolicyState(own_node=u.FACTS.own_addresses)


@given(histories(), st.sampled_from(["node-1", "node-2"]))
def test_a_node_that_is_another_now_starts_anew(history, name):
    facts = msgspec.structs.replace(u.FACTS, name=name)
    policies, other = Policies(u.FACTS), Policies(facts)
    policies.update(step(history))
    policies.refit(facts)
    other.update(step(history))
    assert policies.state == other.state


@given(views())
def test_states_and_judgements_say_the_same(view):
    """What a plane compiles and what ``why`` says come to one verdict, on both nodes and in both directions."""
    judge = Judge(PolicyCluster.of(view, u.FACTS.dns_addresses))
    states = {}
    for name in u.NODES:
        place = view.nodes.get(ObjectKey("", name))
        facts = msgspec.structs.replace(
            u.FACTS, name=name, addresses=() if place is None else read_place(place).own
        )
        states[name] = Policies.compute(view, facts)
    for traffic in PACKETS:
        for direction in Direction:
            judged = judge.judge(direction, traffic)
            home = None if judged.pod is None else view.pods[judged.pod].spec.node_name
            if home is None or judge_is_elsewhere(view, traffic.own(direction), judged.pod):
                continue
            decided = decide(states[home], direction, traffic)
            assert (decided.action, decided.rule) == (judged.action, judged.rule)


def judge_is_elsewhere(view, address, pod):
    """Two pods of different nodes claim the address: each node goes by its own."""
    return any(
        other.key != pod and str(address) in {ip.ip for ip in other.status.pod_ips}
        for other in view.pods.values()
    )


@given(views(), st.data())
def test_what_cannot_be_read_never_opens(view, data):
    """A policy with one place spoilt allows nothing that it did not allow before.

    But for what no NetworkPolicy can forbid, a pod's packets to itself and its own node's: where a NetworkPolicy is about the pod, even
    one that nobody can read, it has the word there, and no longer the Baseline tier.
    """

    def choose(options):
        return data.draw(st.sampled_from(options))

    cluster = bool(choose((False, False, True)))
    policy = u.some_cluster_policy(choose) if cluster else u.some_network_policy(choose)
    spoilt = msgspec.structs.replace(policy, spec=u.spoilt(choose, policy.spec))
    field = "cluster_policies" if isinstance(policy, ClusterNetworkPolicy) else "policies"
    others = {k: p for k, p in getattr(view, field).items() if k != policy.key}
    clusters = [
        PolicyCluster.of(
            msgspec.structs.replace(view, **{field: {**others, policy.key: one}}), u.FACTS.dns_addresses
        )
        for one in (policy, spoilt)
    ]
    sound, broken = map(Judge, clusters)
    assert clusters[1].readings != clusters[0].readings or policy.spec == spoilt.spec
    nodes = {parse_addr(a.address) for node in view.nodes.values() for a in node.status.addresses}
    for traffic in PACKETS:
        for direction in Direction:
            if traffic.other(direction) in {traffic.own(direction), *nodes}:
                continue
            if broken.judge(direction, traffic).is_allowed:
                assert sound.judge(direction, traffic).is_allowed
