"""The composition root of a speaker: constructors and one TaskGroup. It joins the parts and decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from netloom.announce.config import SpeakerConfig
from netloom.announce.part import Part
from netloom.clock import Clock
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import in_cluster, load
from netloom.linux.questions import QuestionServer
from netloom.model.announcing.view import Situation


class Speaker:
    """Everything that one node's speaker consists of."""

    def __init__(self, *, config: SpeakerConfig, client: KubeClient, clock: Clock) -> None:
        del client, clock  # the parts want them
        self._parts: tuple[Part, ...] = ()
        self._questions = QuestionServer(config.socket, self._answers())

    async def run(self) -> None:
        """Until cancelled."""
        self._questions.open()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._questions.run(), name="questions")
            for part in self._parts:
                tasks.create_task(part.run(), name=part.name)

    def _answers(self) -> dict[str, Callable[[], object]]:
        return {part.name: part.report for part in self._parts}

    def _tell(self, situation: Situation) -> None:
        for part in self._parts:
            part.take(situation)


async def serve(config: SpeakerConfig, *, clock: Clock) -> None:
    """Be the speaker of one node until cancelled."""
    credentials = load(config.kubeconfig) if config.kubeconfig else in_cluster()
    async with KubeClient(credentials, user_agent="netloom-speaker") as client:
        await Speaker(config=config, client=client, clock=clock).run()
