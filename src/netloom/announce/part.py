"""What a part of a speaker is: something that runs, and is told the situation whenever it changes. Layer 2 is one, BGP another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from netloom.metrics import Sample
from netloom.model.announcing.view import Situation


class Part(Protocol):
    """One way of announcing. ``run`` is a task of the speaker's; it is cancelled at a planned stop and then may say good-bye."""

    name: str
    """One word: of its task, and of its question at the speaker's socket."""

    async def run(self) -> None:
        """Until cancelled. An error that comes out ends the speaker."""

    def take(self, situation: Situation) -> None:
        """This is so from now on; must not block and must not fail."""

    def report(self) -> Any:  # noqa: ANN401 - anything that msgspec can write
        """What there is to see for ``netloom speaker status``."""

    def samples(self) -> Iterator[Sample]:
        """What is to be counted; bounded, whatever the number of addresses."""
