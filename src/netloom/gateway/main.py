"""The gateway's process: signals, the loop, the exit code. Not here: what the parts do, and how they are joined (``wiring.py``)."""

from __future__ import annotations

import gc

from netloom.clock import SystemClock
from netloom.gateway.config import GatewayConfig
from netloom.gateway.wiring import serve
from netloom.linux.signals import serve_until_signal


def run(config: GatewayConfig) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    gc.set_threshold(2_000, 20, 1_000)
    return serve_until_signal(serve(config, clock=SystemClock()))
