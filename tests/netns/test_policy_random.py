"""Random clusters with real packets: what the naive reading of the API says of policies, packets find on two nodes."""

from __future__ import annotations

import random

import pytest

from netloom.model.inputs import ClusterView
from netloom.testing import builders as b
from netloom.testing import policy_universe as u
from netloom.testing.naive_policy import Packet, naive
from netloom.testing.policy_rig import CLIENT, PODS, PORTS, PolicyRig, Question, policy_rig, rig_objects
from netloom.testing.service_universe import Choose
from netloom.units import Family, Protocol

pytestmark = pytest.mark.netns

CLUSTERS = 20
QUESTIONS = 40
TEAMS = ({"team": "one"}, {"team": "two"}, {"team": "one", "env": "dev"}, {})


def some_view(choose: Choose) -> ClusterView:
    """All pods and nodes of the rig, with up to five policies."""
    objects = rig_objects(
        {name: choose(u.LABELS) for name in PODS},
        {name: choose(TEAMS) for name in "abc"},
        {name: choose(u.NAMED_PORTS) for name in PODS},
        {name: choose(({"role": "edge"}, {})) for name in ("node-1", "node-2")},
    )
    policies = [u.some_network_policy(choose) for _ in range(choose((2, 3, 4, 6)))]
    cluster_policies = [u.some_cluster_policy(choose) for _ in range(choose((0, 0, 1, 2)))]
    return b.view(*objects, *policies, *cluster_policies)


def some_question(choose: Choose, rig: PolicyRig) -> Question:
    """Somebody asks somebody else at an address of his."""
    asker = choose((*PODS, *PODS, CLIENT, "node-1", "node-2"))
    others = [name for name in (*PODS, *PODS, CLIENT, "node-1", "node-2") if name != asker]
    to = rig.address(choose(others), choose(list(Family)))
    return Question(asker, to, choose(PORTS), choose((Protocol.TCP, Protocol.TCP, Protocol.UDP)))


def answerer(view: ClusterView, rig: PolicyRig, question: Question) -> tuple[str, str]:
    """Who answers by the naive reading, and why nobody does."""
    family = Family.V4 if question.to.version == 4 else Family.V6
    packet = Packet(rig.address(question.asker, family), question.to, question.protocol, question.port)
    verdict = naive(view, packet)
    owner = next(name for name, host in rig.hosts.items() if question.to in host.addresses)
    return (owner, "") if verdict.allowed else ("", verdict.reason)


def described(view: ClusterView) -> str:
    lines = [f"pod {pod.key} {dict(pod.metadata.labels)} {pod.spec.containers}" for pod in view.pods.values()]
    lines += [
        f"{one.key} {dict(one.metadata.labels)}" for one in (*view.namespaces.values(), *view.nodes.values())
    ]
    lines += [f"policy {p.key} {p.spec}" for p in (*view.policies.values(), *view.cluster_policies.values())]
    return "\n".join(lines)


@pytest.mark.parametrize("seed", [7])
async def test_random_policies_hold_as_the_api_says(seed):
    """One cluster after another on the same nodes, so that whatever a change leaves behind is in the way of the next."""
    rng = random.Random(seed)
    seen = {True: 0, False: 0}
    async with policy_rig() as rig:
        for number in range(CLUSTERS):
            view = some_view(rng.choice)
            await rig.put(view)
            questions = [some_question(rng.choice, rig) for _ in range(QUESTIONS)]
            expected = {one: answerer(view, rig, one) for one in questions}
            for who, _ in expected.values():
                seen[bool(who)] += 1
            trouble = await rig.contradictions({one: who for one, (who, _) in expected.items()})
            reasons = "\n".join(f"{one}: {why}" for one, (_, why) in expected.items() if why)
            assert not trouble, "\n".join(
                [f"seed {seed}, cluster {number}:", *trouble, described(view), reasons]
            )
    assert min(seen.values()) > CLUSTERS * QUESTIONS // 8, f"too few of one verdict to tell anything: {seen}"
