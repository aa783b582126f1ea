"""What the agent passes on about its node's DNS process: explanations for who asks, counts for metrics.

Comes in: words for the DNS process. Goes out: its answer as it is; samples, as they were some seconds ago. Not here: any answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import msgspec

from netloom.dns.counts import DnsCounts, samples_of
from netloom.errors import NetloomError
from netloom.linux.questions import ask
from netloom.metrics import Sample

_EVERY_S = 5.0
"""How old counts on the metrics page may be."""


class DnsQuestions:
    """Asks the DNS process of this node.

    Args:
        path: where it answers questions about itself (``dns.frames.questions_beside``).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: DnsCounts | None = None

    async def answer(self, words: str) -> msgspec.Raw:
        """What the DNS process answers.

        Raises:
            NotFound: it knows no such question.
            Unavailable: it is not there.
        """
        return msgspec.Raw(await ask(self._path, words))

    async def run(self) -> None:
        """Fetch counts now and then, until cancelled."""
        while True:
            try:
                self._counts = msgspec.json.decode(await ask(self._path, "counts"), type=DnsCounts)
            except (NetloomError, msgspec.MsgspecError):
                self._counts = None
            await asyncio.sleep(_EVERY_S)

    def samples(self) -> Iterator[Sample]:
        """What is to be seen from outside; nothing while the DNS process is away."""
        if self._counts is not None:
            yield from samples_of(self._counts)
