"""The process outside of a local cluster: it lives in the client's network namespace, runs programs there and relays what is published.

In: wishes over a unix socket, connections to sockets of the host. Out: programs' exit codes, connections to LoadBalancer addresses. A
program gets the caller's own standard streams, and sees the host's files, read-only. Not here: who calls (``call.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from netloom.errors import NetloomError, NotFound, UsageError
from netloom.kube.client import KubeClient
from netloom.kube.kubeconfig import ClientConfig
from netloom.linux import process
from netloom.linux.process import NEW_MNT, NEW_UTS, Command
from netloom.linux.signals import until_signal
from netloom.local.outside.publication import Publication, read_publication
from netloom.local.outside.published import Published
from netloom.local.outside.words import (
    MOST_BYTES,
    Answer,
    Done,
    Publish,
    Run,
    Wish,
    decode_wish,
    encode,
)
from netloom.local.refusal import Failed
from netloom.local.runner import rootfs
from netloom.local.runner.rootfs import PodView

log = logging.getLogger(__name__)

_STREAMS = 3
_NOT_FOUND = 127
"""Exit code of shells for a program that is not there."""
_BACKLOG = 64


class OutsideConfig(msgspec.Struct, frozen=True):
    """What the process is told."""

    socket: str
    """Where it listens."""
    api_socket: str
    """The API server's."""
    resolvers: tuple[str, ...]
    """What programs find in resolv.conf."""
    hidden_dirs: tuple[str, ...] = ()
    """Shown empty to programs."""


Opened = Sequence[tuple[Publication, socket.socket]]


def run(config: OutsideConfig, opened: Opened) -> None:
    """Serve until SIGTERM.

    Args:
        config: see there.
        opened: what is published from the start, with sockets that listen on the host.
    """
    asyncio.run(until_signal(_serve(config, opened)))


async def _serve(config: OutsideConfig, opened: Opened) -> None:
    api = ClientConfig(server="", unix_socket=config.api_socket)
    async with KubeClient(api, user_agent="netloom-outside") as client, asyncio.TaskGroup() as tasks:
        outside = _Outside(config, client, tasks)
        for publication, listener in opened:
            outside.publish(publication, listener)
        await outside.run()


class _Outside:
    def __init__(self, config: OutsideConfig, client: KubeClient, tasks: asyncio.TaskGroup) -> None:
        self._config = config
        self._client = client
        self._tasks = tasks

    async def run(self) -> None:
        """Take wishes until cancelled."""
        loop = asyncio.get_running_loop()
        with _listening(Path(self._config.socket)) as listener:
            while True:
                connection, _ = await loop.sock_accept(listener)
                self._tasks.create_task(self._answer(connection), name="outside-wish")

    def publish(self, publication: Publication, listener: socket.socket) -> None:
        """Relay what comes to a socket, from now on."""
        log.info("%s", publication)
        published = Published(publication, listener, self._client)
        self._tasks.create_task(published.run(), name="outside-published")

    async def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            descriptors: list[int] = []
            try:
                await _readable(connection)
                data, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, _STREAMS)
                answer = await self._do(data, descriptors, connection)
            except (msgspec.DecodeError, OSError) as error:
                answer = Failed(f"the place outside: {error}")
            except NotFound as error:
                answer = Failed(error.problem, error.hint, _NOT_FOUND)
            except NetloomError as error:
                answer = Failed(error.problem, error.hint, error.exit_code)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            with contextlib.suppress(OSError):
                connection.send(encode(answer))

    async def _do(self, data: bytes, descriptors: list[int], connection: socket.socket) -> Answer:
        if not data:
            raise OSError(0, "the caller went away")
        wish: Wish = decode_wish(data)
        if isinstance(wish, Publish):
            if len(descriptors) != 1:
                raise UsageError("publish: one socket is needed")
            self.publish(read_publication(wish.publication), socket.socket(fileno=os.dup(descriptors[0])))
            return Done()
        if len(descriptors) != _STREAMS:
            raise UsageError("run: standard input, output and error are needed")
        return await self._run(wish, descriptors, connection)

    async def _run(self, wish: Run, descriptors: list[int], connection: socket.socket) -> Answer:
        view = PodView(
            hostname="client",
            resolv_conf="".join(f"nameserver {address}\n" for address in self._config.resolvers),
            hosts=_hosts(),
            hidden=self._config.hidden_dirs,
            shares_tmp=True,
        )
        command = Command(
            argv=wish.argv,
            env=wish.env,
            cwd=_directory(wish.cwd),
            stdin=descriptors[0],
            stdout=descriptors[1],
            stderr=descriptors[2],
        )
        started = await process.spawn(
            command, new=NEW_MNT | NEW_UTS, prepare=functools.partial(rootfs.prepare, view)
        )
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_kill_when_gone(connection, started), name="outside-caller")
                code = await started.wait()
                watching.cancel()
        finally:
            started.close()
        return Done(code)


async def _kill_when_gone(connection: socket.socket, started: process.Process) -> None:
    """The caller says nothing more; that its socket can be read means that it is gone."""
    await _readable(connection)
    started.kill_group()


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


def _directory(path: str) -> str:
    return path if Path(path).is_dir() else "/"


def _hosts() -> str:
    try:
        return Path("/etc/hosts").read_text(errors="replace")
    except OSError:
        return "127.0.0.1\tlocalhost\n::1\tlocalhost\n"


def _listening(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a process that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    return listener
