"""The speaker's process: signals, the loop, the exit code. Not here: what the parts do, and how they are joined (``wiring``)."""

from __future__ import annotations

import gc

from netloom.announce.config import SpeakerConfig
from netloom.announce.wiring import serve
from netloom.clock import SystemClock
from netloom.linux.signals import serve_until_signal


def run(config: SpeakerConfig) -> int:
    """Speak until SIGTERM or SIGINT; the exit code. What this node answered for is then another's at once."""
    gc.freeze()
    gc.set_threshold(2_000, 20, 1_000)  # short pauses: the others wait for our heartbeats
    return serve_until_signal(serve(config, clock=SystemClock()))
