"""The containers of one pod: made, started in their order, ended in theirs (core/v1 Pod lifecycle). In: the pod, a sandbox. Out: lives.

Init containers run one after the other; a sidecar among them lets the next one begin when it has started. Then all others run
at once. When the last of those will not run again, the sidecars end. Ephemeral containers come when somebody adds them. Not
here: one container's life (``container``), its probes and hooks, and the sandbox (``housing``).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping

import msgspec

from netloom.errors import NotFound
from netloom.linux import process
from netloom.linux.process import Command, Completed
from netloom.local.runner import checks
from netloom.local.runner.container import ContainerLife
from netloom.local.runner.ending import end_containers
from netloom.local.runner.grace import Grace
from netloom.local.runner.hooks import Hooks
from netloom.local.runner.housing import Housing
from netloom.local.runner.probes import Check
from netloom.local.runner.role import Launched, Role, notes_of
from netloom.local.runner.running import Executed, Running
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.spec import Container, Pod, Probe
from netloom.local.runner.specification import check_user, pull_policy, security_of, wants_standin
from netloom.local.runner.standins.feed import App, Listen
from netloom.local.runner.status import ContainerFacts
from netloom.local.runner.tools import Tools


class Crew:
    """The containers of one pod while one sandbox stands.

    Args:
        pod: gives the pod as it is known now.
        tools: of the node.
        housing: where they live.
        sandbox: which stands.
        restarts: of each container, before this sandbox.
        former: facts of those that a runner before us left.
        found: programs that it left running.
        announce: tells the stand-ins what to play.
        on_change: called when facts changed.
    """

    def __init__(  # noqa: PLR0913 - values and callbacks of one owner, all by keyword
        self,
        *,
        pod: Callable[[], Pod],
        tools: Tools,
        housing: Housing,
        sandbox: Sandbox,
        restarts: Mapping[str, int],
        former: Mapping[str, ContainerFacts],
        found: Mapping[str, Running],
        announce: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._pod = pod
        self._tools = tools
        self._housing = housing
        self._sandbox = sandbox
        self._announce = announce
        self._on_change = on_change
        self._restarts, self._former, self._found = restarts, former, found
        self._address = next(iter(housing.addresses), "")
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.lives: dict[str, ContainerLife] = {}
        first = pod()
        for container in first.spec.init_containers:
            self._add(container, Role.SIDECAR if container.restart_policy == "Always" else Role.INIT)
        for container in first.spec.containers:
            self._add(container, Role.MAIN)

    def of(self, *roles: Role) -> list[ContainerLife]:
        """The containers of these roles, in the order of the pod's specification."""
        return [life for life in self.lives.values() if life.role in roles]

    def apps(self, listens: Mapping[str, tuple[Listen, ...]]) -> tuple[App, ...]:
        """What the stand-ins are to play now."""
        return tuple(
            App(
                name,
                life.container.image,
                life.generation,
                listens.get(name, ()),
                notes_of(life.container),
                life.course,
            )
            for name, life in self.lives.items()
            if life.is_standin and not life.is_over
        )

    async def run(self) -> None:
        """Until none will run again; when cancelled, they are left as they are."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.add_ephemeral()
            try:
                if await self._initialize(group):
                    mains = [self._begin(group, life) for life in self.of(Role.MAIN)]
                    if mains:
                        await asyncio.wait(mains)
                await self._end_sidecars()
            finally:
                self._group = None
                for task in self._tasks:
                    task.cancel()

    def add_ephemeral(self) -> None:
        """Begin the ephemeral containers that the pod has by now."""
        if self._group is None:
            return
        for container in self._pod().spec.ephemeral_containers:
            if container.name not in self.lives:
                self._begin(self._group, self._add(container, Role.EPHEMERAL))

    async def end(self, grace: Grace) -> None:
        """End them all within the grace period; :meth:`run` must go on meanwhile."""
        for life in self.lives.values():
            if life.running is not None and not life.is_over:
                name = life.container.name
                self._tools.events.note(self._pod(), "Killing", f"Stopping container {name}", container=name)
        await end_containers(tuple(self.lives.values()), grace)

    def nudge(self) -> None:
        """Something that containers wait for has changed."""
        for life in self.lives.values():
            life.nudge()

    async def run_inside(self, name: str, argv: tuple[str, ...], timeout_s: float) -> Completed:
        """Run a command in a container to its end.

        Raises:
            NotFound: no such program.
            Unavailable: it did not end in time.
        """
        life = self.lives[name]
        if life.running is not None:
            return await life.running.run(argv, timeout_s)
        contents = self._housing.contents
        namespaces = await contents.view(self._sandbox, life.container)
        variables = await contents.environment(life.container)
        return await process.run(argv, env=variables, timeout_s=timeout_s, ns=namespaces)

    async def spawn(self, name: str, command: Command) -> Executed:
        """Start a command in a container.

        Raises:
            NotFound: no such program, or no such container.
        """
        life = self.lives.get(name)
        if life is None:
            raise NotFound(f"container {name} does not run")
        if life.running is not None:
            return await life.running.spawn(command)
        namespaces = await self._housing.contents.view(self._sandbox, life.container)
        return await process.spawn(command, ns=namespaces)

    async def _initialize(self, group: asyncio.TaskGroup) -> bool:
        """Run the init containers; False where one has failed for good."""
        for life in self.of(Role.INIT, Role.SIDECAR):
            task = self._begin(group, life)
            if life.is_sidecar:
                await life.up.wait()
                continue
            await asyncio.wait((task,))
            if life.facts.terminated is None or life.facts.terminated.exit_code:
                return False
        return True

    def _begin(self, group: asyncio.TaskGroup, life: ContainerLife) -> asyncio.Task[None]:
        async def live() -> None:
            if not life.is_over:
                await life.run()

        task = group.create_task(live(), name=f"container {life.container.name}")
        self._tasks.append(task)
        return task

    async def _end_sidecars(self) -> None:
        """The others are over."""
        sidecars = [life for life in self.of(Role.SIDECAR, Role.EPHEMERAL) if not life.is_over]
        if not sidecars:
            return
        grace = Grace(self._pod().spec.termination_grace_period_seconds)
        try:
            await end_containers(sidecars, grace)
        finally:
            grace.close()

    def _add(self, container: Container, role: Role) -> ContainerLife:
        name = container.name

        async def run(argv: tuple[str, ...], timeout_s: float) -> Completed:
            return await self.run_inside(name, argv, timeout_s)

        def check_of(probe: Probe) -> Check | None:
            real = self.lives[name].running is not None
            return checks.check_of(probe, container, self._address, run, is_standin=not real)

        def warn(reason: str, message: str) -> None:
            self._tools.events.warn(self._pod(), reason, message, container=name)

        async def launch(generation: int) -> Launched | None:
            return await self._launch(container, generation)

        former, found = self._former.get(name), self._found.get(name)
        restarts = self._restarts.get(name, 0)
        launched = None
        if former is not None and former.terminated is None and former.image_id:
            if found is not None and found.spec.id == former.id:
                launched = Launched(found, former.image)
            else:
                former, restarts = None, restarts + 1  # its program has gone with whoever ran it
        life = self.lives[name] = ContainerLife(
            pod=self._pod(),
            container=container,
            restarts=restarts,
            role=role,
            clock=self._tools.clock,
            launch=launch,
            check_of=check_of,
            hooks=Hooks(
                container=container,
                address=self._address,
                run=run,
                on_failure=warn,
                is_standin=lambda: self.lives[name].running is None,
            ),
            announce=self._announce,
            on_change=self._on_change,
            on_failure=lambda kind, detail: warn("Unhealthy", f"{kind.capitalize()} probe failed: {detail}"),
            say=warn,
            former=former,
            launched=launched,
        )
        if former is None and self._pod().spec.init_containers:
            life.facts = msgspec.structs.replace(life.facts, waiting="PodInitializing")
        return life

    async def _launch(self, container: Container, generation: int) -> Launched | None:
        """Start a container's program; None where a stand-in is to play it.

        Raises:
            Refused: it cannot be started.
        """
        pod, contents = self._pod(), self._housing.contents
        found = await self._tools.runtime.find(
            container.image, pull_policy(container), standin=wants_standin(pod)
        )
        if found is None:
            await contents.check(container)
            return None
        check_user(security_of(pod, container), found)
        target = self.lives.get(container.target_container_name)
        joined = target.running.spec.id if target is not None and target.running is not None else ""
        spec = await contents.specification(container, generation, joined)
        note = functools.partial(self._tools.events.note, pod, container=container.name)
        note("Pulled", f'Container image "{container.image}" already present on machine')
        running = await self._tools.runtime.start(spec, self._sandbox)
        note("Created", f"Created container: {container.name}")
        note("Started", f"Started container {container.name}")
        return Launched(running, found.image)
