"""The engine of gateways: keeps HAProxy alive, and what it does equal to a plan.

Comes in: the directory for its files, addresses to listen at, and plans. Goes out: ``Applied`` for each plan, samples for metrics. Not
here: what HAProxy is told (``haproxy/``), where plans come from (``model/gateways``).
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from netloom.clock import Clock
from netloom.errors import InvalidObject, NetloomError, Unavailable
from netloom.gateway import counts
from netloom.gateway.access_log import AccessLog
from netloom.gateway.applied import Applied
from netloom.gateway.counts import Counts
from netloom.gateway.files import Files
from netloom.gateway.haproxy import config, difference
from netloom.gateway.haproxy.difference import Running
from netloom.gateway.haproxy.kept import Kept
from netloom.gateway.haproxy.told import Settings, Told
from netloom.gateway.processes import HaproxyProcess, Refused, nobody, start
from netloom.gateway.refusals import culprits
from netloom.gateway.sockets import DoorSockets
from netloom.linux import inherited
from netloom.linux.inherited import Inherited
from netloom.metrics import Sample
from netloom.model.gateways.plan import Plan
from netloom.model.provenance import Finding, Source
from netloom.units import Addr

log = logging.getLogger(__name__)

BETWEEN_STARTS_S = 0.3
"""A burst of changes that each need a new process gets one for all of it."""
_AGAIN_S = 1.0
_READ_S = 10.0
_MOST_OLD = 16
"""Processes that may still finish; beyond, the oldest is ended."""
_MOST_REFUSALS = 50
_SPARES = 32
_ITS_WORDS = "HAProxy refuses it; its words are in the node's log"


class Engine:
    """One HAProxy, and the listening sockets that outlive it.

    Args:
        directory: for configuration, keys and sockets; made, for us alone, where it is not there. At most 80 bytes.
        addresses: where doors listen; they need not be there yet.
        clock: for durations.
        settings: of HAProxy; addresses in it are taken from ``addresses``, its user is nobody where that is possible.
        program: the HAProxy to run.
        outlives: HAProxy goes on, with what it was told last, when :meth:`run` ends.
    """

    def __init__(
        self,
        directory: Path,
        addresses: Sequence[Addr],
        clock: Clock,
        *,
        settings: Settings | None = None,
        program: str = "haproxy",
        outlives: bool = False,
    ) -> None:
        self._directory = directory.absolute()
        self._clock = clock
        self._program = program
        self._outlives = outlives
        self._former: list[Inherited] = []
        """Processes that outlived a former engine of this directory; they serve until ours does."""
        self._settings = msgspec.structs.replace(
            settings or Settings(spares=_SPARES), addresses=tuple(map(str, addresses)), user=nobody()
        )
        self._files = Files(self._directory, self._settings.user)
        self._sockets = DoorSockets(tuple(addresses))
        self._log = AccessLog(self._directory / "access.log")
        self._counts = Counts()
        self._plan = Plan()
        self._kept = Kept()
        self._waiting: list[asyncio.Future[Applied]] = []
        self._wanted = asyncio.Event()
        self._running: Running | None = None
        """What the process holds; None: nobody knows."""
        self._process: HaproxyProcess | None = None
        self._old: list[HaproxyProcess] = []
        self._number = 0
        self._last_start = float("-inf")
        self._refused: dict[Source | str, Finding] = {}

    @property
    def pid(self) -> int | None:
        """Number of the process that takes connections; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def access_log(self) -> Path:
        """Where requests are told."""
        return self._log.path

    async def run(self) -> None:
        """Keep HAProxy alive until cancelled; then it has ended, too, unless it outlives us.

        One that outlived a former engine of this directory goes on until ours has taken over its listening sockets.

        Raises:
            StorageError: the directory cannot be written.
            NotFound: there is no HAProxy.
        """
        self._former = inherited.find(Path(self._program).name, self._directory)
        if not self._former:
            self._files.forget_sockets()
        for former in self._former:
            self._sockets.adopt(former.listening())
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(), name="gateway-counts")
                while True:
                    await self._wanted.wait()
                    self._wanted.clear()
                    await self._turn(tasks)
        finally:
            self._end()

    async def apply(self, plan: Plan) -> Applied:
        """Return when the plan is in force; of plans that come meanwhile only the newest is done, and all who wait are told of it.

        Raises:
            Unavailable: HAProxy does not come up at all; :meth:`run` goes on trying.
        """
        told: asyncio.Future[Applied] = asyncio.get_running_loop().create_future()
        self._plan = plan
        self._waiting.append(told)
        self._wanted.set()
        return await told

    def samples(self) -> Iterable[Sample]:
        """Requests, status codes, connections, reloads; as of the last reading."""
        return self._counts.samples(len(self._old))

    async def _turn(self, tasks: asyncio.TaskGroup) -> None:
        """The newest plan into force, and everybody told who waits for it."""
        waiting, self._waiting = self._waiting, []
        try:
            applied = await self._into_force(tasks)
        except (InvalidObject, Unavailable) as error:
            log.warning("%s", error)
            _fail(waiting, error)
            if self._process is None:
                tasks.create_task(self._again(), name="gateway-again")
            return
        except BaseException:
            _fail(waiting, Unavailable("the engine of gateways ended"))
            raise
        for told in waiting:
            if not told.done():
                told.set_result(applied)

    async def _again(self) -> None:
        await asyncio.sleep(_AGAIN_S)
        self._wanted.set()

    async def _into_force(self, tasks: asyncio.TaskGroup) -> Applied:
        """The smallest way to it: nothing, commands, or a new process."""
        if self._process is not None and self._running is not None:
            change = difference.change(self._running, self._told())
            if change is not None and await self._commanded(self._process, change):
                return Applied(commands=len(change.commands), findings=tuple(self._refused.values()))
        pause = self._last_start + BETWEEN_STARTS_S - self._clock.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        await self._start(tasks)
        return Applied(is_reloaded=True, findings=tuple(self._refused.values()))

    async def _commanded(self, process: HaproxyProcess, change: difference.Change) -> bool:
        """Whether it went well; if not, nobody knows what HAProxy holds now, and a new process takes over."""
        if change.commands:
            self._running = None
            try:
                await process.runtime.ask(change.commands)
            except (InvalidObject, Unavailable) as error:
                log.warning("a new process takes over: %s", error)
                return False
        self._running = change.running
        self._counts.commands += len(change.commands)
        return True

    def _told(self) -> Told:
        return config.told(self._plan, self._settings, frozenset(self._refused), self._kept)

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        """A new process with the newest plan; what HAProxy does not take of it is left out, and told."""
        self._refused = {}
        for _ in range(_MOST_REFUSALS):
            told = self._told()
            busy = self._sockets.open(sorted(told.ports))
            if busy:
                sources = {door.node_port: door.source for door in self._plan.doors}
                self._refuse({sources[port]: sources[port] for port in busy}, "; ".join(busy.values()))
                continue
            running = difference.started(told, self._settings.spares)
            try:
                await self._take_over(running, tasks)
            except Refused as error:
                self._counts.refusals += 1
                log.warning("HAProxy: %s", error.said)
                found = culprits(error, running)
                if not found.keys() - self._refused.keys():
                    raise
                self._refuse(found, _ITS_WORDS)
                continue
            self._sockets.close_others(told.ports)
            return
        raise Unavailable("HAProxy takes nothing of many rules", "its messages are in the log")

    def _refuse(self, found: Mapping[Source | str, Source], problem: str) -> None:
        for key, source in found.items():
            self._refused[key] = Finding(source, f"the engine takes nothing of it: {problem}")
            log.warning("%s", self._refused[key])

    async def _take_over(self, running: Running, tasks: asyncio.TaskGroup) -> None:
        """Start a process with this, and let the former finish."""
        self._files.write(running)
        self._number += 1
        self._last_start = self._clock.monotonic()
        started = await start(
            self._program,
            self._directory,
            self._number,
            self._sockets.descriptors(sorted(running.told.ports)),
            self._log.descriptor,
        )
        former, self._process, self._running = self._process, started, running
        self._counts.starts += 1
        tasks.create_task(self._watch(started), name=f"gateway-haproxy-{self._number}")
        if former is not None:
            self._old.append(former)
            former.finish()
            for oldest in self._old[:-_MOST_OLD]:
                oldest.kill()
        for outlived in self._former:
            outlived.kill(signal.SIGUSR1)
            outlived.close()
        self._former = []

    async def _watch(self, process: HaproxyProcess) -> None:
        """Collect a process that ended; where none should have, the next one is started."""
        code = await process.wait()
        process.close()
        if process is self._process:
            log.warning("HAProxy (process %d) ended with %d; another is started", process.pid, code)
            self._process = self._running = None
            self._wanted.set()
        elif process in self._old:
            self._old.remove(process)

    async def _read(self) -> None:
        """Statistics and the size of the log, from time to time."""
        while True:
            await asyncio.sleep(_READ_S)
            self._log.bound()
            await self.read_counts()

    async def read_counts(self) -> None:
        """Ask HAProxy for its statistics now; :meth:`run` does so from time to time."""
        process, running = self._process, self._running
        if process is None or running is None:
            return
        try:
            (text,) = await process.runtime.ask([counts.ASK])
        except (InvalidObject, Unavailable) as error:
            log.debug("no statistics: %s", error)
            return
        self._counts.read(text, running)

    def _end(self) -> None:
        for process in (*self._old, self._process):
            if process is not None:
                process.leave() if self._outlives else process.close()
        for former in self._former:
            former.close()
        self._old, self._former, self._process, self._running = [], [], None, None
        self._sockets.close_others(())
        self._log.close()
        _fail(self._waiting, Unavailable("the engine of gateways ended"))


def _fail(waiting: Iterable[asyncio.Future[Applied]], error: NetloomError) -> None:
    for told in waiting:
        if not told.done():
            told.set_exception(Unavailable(error.problem, error.hint))
