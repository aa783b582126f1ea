"""The stand-in process of a node: follows the runner over a unix socket and keeps the stand-ins' sockets.

In: the runner's configuration file. It runs in the node's network namespace and outlives the runner: when that comes back,
its first word says which pods to keep. Not here: sandboxes, probes, status (the runner's).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource

from netloom.clock import Clock, SystemClock
from netloom.errors import NetloomError
from netloom.local.runner import config as runner_config
from netloom.local.runner.config import RunnerConfig
from netloom.local.runner.standins import feed
from netloom.local.runner.standins.feed import Drop, FromStandIns, Keep, LogLines, ReadLog, Serve, State
from netloom.local.runner.standins.serving import Apps

log = logging.getLogger(__name__)

_BATCH = 500
"""Log lines in one message."""


class StandInServer:
    """Hears the runner.

    Args:
        clock: the time, for logs.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._apps = Apps(clock=clock, on_end=self._tell)
        self._runners: set[asyncio.StreamWriter] = set()

    async def listen(self, socket_path: str) -> asyncio.Server:
        """Begin to serve; the caller closes what it gets."""
        server = await asyncio.start_unix_server(self._connection, socket_path)
        os.chmod(socket_path, 0o600)
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while (message := await feed.read_to_standins(reader)) is not None:
                    if isinstance(message, ReadLog):
                        await self._log_until_gone(message, reader, writer)
                    else:
                        await self._hear(message, writer)
        except NetloomError as error:
            log.warning("%s", error)
        finally:
            self._runners.discard(writer)
            writer.close()

    def _tell(self, state: State) -> None:
        """Say something unasked: one small message for the end of a container."""
        for writer in self._runners:
            writer.write(feed.frame(state))

    async def _hear(self, message: Keep | Serve | Drop, writer: asyncio.StreamWriter) -> None:
        match message:
            case Keep(uids):
                self._runners.add(writer)
                for uid in self._apps.uids() - frozenset(uids):
                    self._apps.drop(uid)
            case Serve(pod):
                for state in await self._apps.serve(pod):
                    await _say(writer, state)
            case Drop(uid):
                self._apps.drop(uid)

    async def _log_until_gone(
        self, wish: ReadLog, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send a log until its end, or until the reader of it hangs up: it says nothing after its one wish."""
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(self._send_log(wish, writer), name="standin-log")
            with contextlib.suppress(OSError):
                await reader.read()
            sending.cancel()

    async def _send_log(self, wish: ReadLog, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # it hung up
            await self._read_log(wish, writer)

    async def _read_log(self, wish: ReadLog, writer: asyncio.StreamWriter) -> None:
        found = self._apps.log(wish.uid, wish.container, previous=wish.previous)
        if found is None:
            which = "no earlier start" if wish.previous else "no log"
            await _say(writer, LogLines(last=True, problem=f"container {wish.container} has {which}"))
            return
        lines = found.lines(tail=wish.tail, since=wish.since)
        seen = found.count
        while True:
            for start in range(0, len(lines), _BATCH):
                await _say(writer, LogLines(tuple(lines[start : start + _BATCH])))
            if not wish.follow or (found.ended and found.count == seen):
                break
            await found.more(seen)
            lines = found.lines(after=seen)
            seen = found.count
        await _say(writer, LogLines(last=True))


async def _say(writer: asyncio.StreamWriter, message: FromStandIns) -> None:
    writer.write(feed.frame(message))
    await writer.drain()


def raise_file_limit() -> None:
    """Let this process open as many files as it may: each stand-in port and each client is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve(config: RunnerConfig, *, clock: Clock | None = None) -> None:
    """Run until cancelled."""
    raise_file_limit()
    standins = StandInServer(clock=clock or SystemClock())
    async with await standins.listen(config.standin_socket) as server:
        await server.serve_forever()


def main(config_path: str) -> None:
    """The process's entry point."""
    asyncio.run(serve(runner_config.load(config_path)))
