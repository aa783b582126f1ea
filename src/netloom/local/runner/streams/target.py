"""What a stream is for: a container of a pod, and how to run things in it. In: names from a URL; out: a Target, or a refusal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import msgspec

from netloom.errors import Unavailable
from netloom.linux.process import Command
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.env import Missing
from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.lifecycle import PodLife
from netloom.local.runner.pods import Pods
from netloom.local.runner.running import Executed
from netloom.local.runner.spec import Container
from netloom.local.runner.standins.feed import LogLine, ReadLog
from netloom.local.runner.tools import Tools
from netloom.units import ObjectKey


class Target(msgspec.Struct, frozen=True):
    """One container of one pod that is here."""

    pod: PodLife
    container: Container
    life: ContainerLife | None
    """None where it has not been begun."""

    @property
    def netns(self) -> int:
        """The pod's network namespace.

        Raises:
            BadRequest: it has none (any more).
        """
        if self.pod.sandbox is None or self.pod.sandbox.namespaces.net is None:
            raise BadRequest(f"pod {self.pod.pod.key} has no network namespace")
        return self.pod.sandbox.namespaces.net

    def must_run(self) -> ContainerLife:
        """Its life, while it runs.

        Raises:
            BadRequest: it does not, with a kubelet's words.
        """
        name, pod = self.container.name, self.pod.pod.metadata.name
        if self.life is None or self.pod.sandbox is None:
            waiting = "PodInitializing" if self.pod.sandbox is not None else "ContainerCreating"
            raise BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {waiting}')
        if self.life.is_over:
            raise BadRequest(f"container {name} in pod {pod} has completed", 409)
        if self.life.running is None and not self.life.is_standin:
            waiting = self.life.facts.waiting
            raise BadRequest(f'container "{name}" in pod "{pod}" is waiting to start: {waiting}')
        return self.life

    async def environment(self) -> Mapping[str, str]:
        """What a command gets besides what the container's program has."""
        if self.life is not None and self.life.running is not None:
            return {}
        try:
            return await self.pod.housing.contents.environment(self.container)
        except Missing as error:
            raise BadRequest(error.problem) from error

    async def spawn(self, command: Command) -> Executed:
        """Start a command in it.

        Raises:
            NotFound: no such program.
            Unavailable: it has ended.
        """
        if self.pod.crew is None:
            raise Unavailable(f"container {self.container.name} has ended")
        return await self.pod.crew.spawn(self.container.name, command)


class Targets:
    """Finds targets on this node."""

    def __init__(self, *, pods: Pods, tools: Tools) -> None:
        self._pods = pods
        self._tools = tools

    def find(self, namespace: str, pod: str, container: str) -> Target:
        """A container; an empty name means the pod's first one.

        Raises:
            NotFound: the pod does not run here.
            BadRequest: it has no such container.
        """
        life = self._pods.find(ObjectKey(namespace, pod))
        found = life.pod.container(container)
        if found is None:
            raise BadRequest(f"container {container} is not valid for pod {pod}")
        return Target(life, found, life.life(found.name))

    def read_log(self, target: Target, wish: ReadLog) -> AsyncGenerator[tuple[LogLine, ...], None]:
        """The container's log, from whoever plays it.

        Raises:
            NotFound: it has no such log.
            Unavailable: nobody answers for it.
        """
        life = target.life
        if life is not None and not life.is_standin:
            return self._tools.runtime.read_log(wish)
        if life is None and target.pod.pod.is_over:
            return self._tools.runtime.read_log(wish)
        return self._tools.standins.read_log(wish)
