"""Random clusters with real packets: what the naive reading of the API says, packets find on a node."""

from __future__ import annotations

import random

import pytest

from netloom.testing.naive_services import Asker, Verdict, naive
from netloom.testing.service_rig import service_rig
from netloom.testing.service_universe import Odds, some_cluster, some_packet
from netloom.testing.universe_words import described

pytestmark = pytest.mark.netns

CLUSTERS = 30
PACKETS = 14


@pytest.mark.parametrize("seed", [3])
async def test_random_clusters_are_served_as_the_api_says(seed):
    """One after another on one node, so that whatever a change leaves behind is in the way of the next."""
    rng = random.Random(seed)
    odds = Odds(protocols=("TCP", "UDP"))
    seen: dict[Verdict, int] = dict.fromkeys(Verdict, 0)
    async with service_rig() as rig:
        for number in range(CLUSTERS):
            view = some_cluster(rng.choice, odds)
            await rig.put(view)
            expected = {}
            for _ in range(PACKETS):
                packet = some_packet(rng.choice, view, rig.facts, odds)
                if packet.asker is Asker.OTHER and any(
                    packet.destination in c for c in rig.facts.service_cidrs
                ):
                    continue  # who is led to a ClusterIP from elsewhere keeps his address, and may get no answer
                expected[packet] = naive(view, rig.facts, packet)
                seen[expected[packet].verdict] += 1
            trouble = await rig.contradictions(expected)
            assert not trouble, "\n".join([f"seed {seed}, cluster {number}:", *trouble, described(view)])
    assert min(seen.values()) > 3, f"too few of some verdict to tell anything: {seen}"
