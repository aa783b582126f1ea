"""The runner's end of the stand-in socket: says which pods exist, hears how their containers fare, reads logs.

The stand-in process may end and come back; it is then told everything again. Not here: what a container's state leads to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable

from netloom.errors import NetloomError, NotFound, Unavailable
from netloom.local.runner.standins import feed
from netloom.local.runner.standins.feed import (
    Drop,
    Keep,
    LogLine,
    LogLines,
    ReadLog,
    Serve,
    StandInPod,
    State,
)

log = logging.getLogger(__name__)

_RETRY_S = (0.02, 1.0)


class StandIns:
    """All stand-ins of the node, as the runner wants them.

    Args:
        socket_path: where the stand-in process listens.
        on_state: hears how a container fares.
        on_lost: hears that the stand-in process went away, and every listening socket with it.
    """

    def __init__(
        self, *, socket_path: str, on_state: Callable[[State], None], on_lost: Callable[[], None]
    ) -> None:
        self._path = socket_path
        self._on_state = on_state
        self._on_lost = on_lost
        self._pods: dict[str, StandInPod] = {}
        self._expected: set[str] = set()
        self._writer: asyncio.StreamWriter | None = None

    def expect(self, uids: Iterable[str]) -> None:
        """Pods that a runner before us served and that go on: they are kept until they are served or dropped again."""
        self._expected |= set(uids)

    def serve(self, pod: StandInPod) -> None:
        """Listen for a pod, or change what it listens on."""
        self._expected.discard(pod.uid)
        if self._pods.get(pod.uid) != pod:
            self._pods[pod.uid] = pod
            self._say(Serve(pod))

    def drop(self, uid: str) -> None:
        """Stop listening for a pod."""
        self._expected.discard(uid)
        if self._pods.pop(uid, None) is not None:
            self._say(Drop(uid))

    async def run(self) -> None:
        """Keep a connection to the stand-in process until cancelled."""
        wait_s = _RETRY_S[0]
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path)
            except OSError:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _RETRY_S[1])
                continue
            wait_s = _RETRY_S[0]
            self._writer = writer
            try:
                self._say(Keep(tuple(sorted(self._expected | set(self._pods)))))
                for pod in self._pods.values():
                    self._say(Serve(pod))
                while (message := await feed.read_from_standins(reader)) is not None:
                    if isinstance(message, State):
                        self._on_state(message)
            except NetloomError as error:
                log.warning("%s", error)
            finally:
                self._writer = None
                writer.close()
                self._on_lost()

    async def read_log(self, wish: ReadLog) -> AsyncGenerator[tuple[LogLine, ...], None]:
        """A container's log in pieces, as they come.

        Raises:
            NotFound: the container has no such log.
            Unavailable: the stand-in process is away.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(self._path)
        except OSError as error:
            raise Unavailable(f"stand-in process: {error.strerror or error}", "try again") from error
        try:
            writer.write(feed.frame(wish))
            while True:
                message = await feed.read_from_standins(reader)
                if not isinstance(message, LogLines):
                    raise Unavailable("stand-in process ended while its log was read", "try again")
                if message.problem:
                    raise NotFound(message.problem, "see the containers with: kubectl describe pod")
                if message.lines:
                    yield message.lines
                if message.last:
                    return
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _say(self, message: Keep | Serve | Drop) -> None:
        if self._writer is not None:
            self._writer.write(feed.frame(message))
