"""The agent's process: signals, the loop, the exit code."""

from __future__ import annotations

import gc

from netloom.agent.config import AgentConfig
from netloom.agent.wiring import serve
from netloom.clock import SystemClock
from netloom.linux.signals import serve_until_signal


def run(config: AgentConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. What is in the kernel stays in force."""
    # with 100,000 objects a full collection takes long, and nothing here is cyclic for long;
    # the engine enables collections when the first load is in force
    gc.set_threshold(2_000, 20, 1_000)
    gc.disable()
    return serve_until_signal(serve(config, clock=SystemClock()))
