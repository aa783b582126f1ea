"""Checks of the small shop, run against packets that follow a model."""

from __future__ import annotations

import pytest

from netloom.observe.check.run import Check
from netloom.testing.check_world import ModelPackets
from netloom.testing.policy_universe import CLUSTER


@pytest.fixture
def check():
    """Run a check; ``truth`` is what the kernels have, where that differs from the view."""

    async def run(view, expectations=(), *, truth=None, mutate=False, **packets):
        async def load():
            return view

        checked = Check(
            load=load,
            facts=lambda _: CLUSTER,
            packets=ModelPackets(truth or view, **packets),
            expectations=expectations,
        )
        return await checked.run(mutate=mutate)

    return run
