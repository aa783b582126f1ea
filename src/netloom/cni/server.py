"""The agent's socket for the CNI shim. In: calls over a unix socket. Out: the verbs' answers, as bytes.

One connection is one call. The shim sends 16 bytes (magic, length of the environment, length of the configuration, whether a
descriptor comes along; numbers in host order), with them by SCM_RIGHTS the pod's network namespace, then ``NAME=value`` texts
each ended by a zero byte, then the configuration. We answer with four bytes of exit code and what is to be printed, and close.
Only root and our own user get an answer; sizes, time and the number of calls are bounded. Not here: any meaning (``verbs``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Protocol

from netloom.cni import result
from netloom.cni.codes import CniError, Code
from netloom.cni.result import Answer
from netloom.cni.versions import VERSIONS
from netloom.errors import NetloomError
from netloom.linux.unix_sockets import listen

log = logging.getLogger(__name__)

MAGIC = b"NLC1"
_HEAD = struct.Struct("=4sIII")
_EXIT_CODE = struct.Struct("=I")
_PEER = struct.Struct("=iII")

MAX_ENVIRONMENT = 64 * 1024
MAX_CONFIG = 1024 * 1024
_MAX_CONNECTIONS = 256
_MAX_CALLS = 32
"""Calls done at once; the rest wait their turn. Each has a thread, and they compete for the kernel's one rtnl lock anyway."""
_READ_TIMEOUT_S = 5.0


class CallHandler(Protocol):
    """What answers calls: :class:`netloom.cni.verbs.Verbs`, or a test's own."""

    async def answer(self, variables: dict[str, str], config: bytes, netns_fd: int | None) -> Answer:
        """The answer to one call; raises nothing that a caller could cause."""


class _Refused(NetloomError):
    """The other side does not speak our protocol, or is too slow or too big."""


class CniServer:
    """The socket. ``open()``, then ``run()`` until cancelled.

    Args:
        socket_path: where to listen; a socket that a former run left there is replaced.
        verbs: answers the calls.
    """

    def __init__(self, socket_path: Path | str, verbs: CallHandler) -> None:
        self._path = Path(socket_path)
        self._verbs = verbs
        self._listener: socket.socket | None = None
        self._connections = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._calls = asyncio.Semaphore(_MAX_CALLS)

    def open(self) -> None:
        """Listen; from now on calls wait for :meth:`run`.

        Raises:
            StorageError: the socket cannot be made there.
        """
        self._listener = listen(self._path, what="CNI socket", backlog=_MAX_CONNECTIONS)

    async def run(self) -> None:
        """Answer calls until cancelled; calls that are being done are finished, but their shims hear nothing any more."""
        if self._listener is None:
            self.open()
        listener = self._listener
        if listener is None:
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self._connections.acquire()
                    try:
                        connection, _ = await loop.sock_accept(listener)
                    except OSError as error:
                        self._connections.release()
                        if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOMEM}:
                            raise
                        log.warning("CNI socket: accept: %s", error.strerror)
                        await asyncio.sleep(0.1)  # retry interval: descriptors come free when other calls end
                        continue
                    except BaseException:
                        self._connections.release()
                        raise
                    connection.setblocking(False)
                    tasks.create_task(self._serve(connection), name="cni-call")
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening and take the socket's file away."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)

    async def _serve(self, connection: socket.socket) -> None:
        """One connection: the boundary where errors of one call stay with that call."""
        try:
            with connection:
                answer = await self._call(connection)
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(_READ_TIMEOUT_S):
                    await loop.sock_sendall(connection, _EXIT_CODE.pack(answer.exit_code) + answer.body)
        except (OSError, TimeoutError, _Refused) as error:
            log.warning("CNI socket: %s", error)
        finally:
            self._connections.release()

    async def _call(self, connection: socket.socket) -> Answer:
        _check_peer(connection)
        async with asyncio.timeout(_READ_TIMEOUT_S):
            variables, config, netns_fd = await _read_call(connection)
        try:
            async with self._calls:
                return await self._verbs.answer(variables, config, netns_fd)
        except Exception:  # a defect of ours must not end the agent
            log.exception(
                "CNI %s of %s failed", variables.get("CNI_COMMAND"), variables.get("CNI_CONTAINERID")
            )
            error = CniError(Code.INTERNAL, "netloom agent: internal error", "see the agent's log")
            return result.failed(VERSIONS[-1], error)
        finally:
            if netns_fd is not None:
                os.close(netns_fd)


def _check_peer(connection: socket.socket) -> None:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, uid, _ = _PEER.unpack(packed)
    if uid not in {0, os.geteuid()}:
        raise _Refused(f"process {pid} of user {uid} may not call; only root may")


async def _read_call(connection: socket.socket) -> tuple[dict[str, str], bytes, int | None]:
    """Environment, configuration and namespace of a call; the caller owns the descriptor."""
    with contextlib.ExitStack() as undo:
        head, fds = await _receive(connection, _HEAD.size, fds=1)
        for fd in fds:
            undo.callback(os.close, fd)
        magic, environment_size, config_size, with_fd = _HEAD.unpack(head)
        if magic != MAGIC:
            raise _Refused("a call does not start as our shim's do; is the shim of another release?")
        if environment_size > MAX_ENVIRONMENT or config_size > MAX_CONFIG:
            raise _Refused(f"a call has {environment_size} + {config_size} bytes, more than we take")
        if bool(with_fd) != bool(fds):
            raise _Refused("a call lost its descriptor: too many open files?")
        rest, _ = await _receive(connection, environment_size + config_size)
        undo.pop_all()
    pairs = rest[:environment_size].decode(errors="surrogateescape").split("\0")
    variables = {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name}
    return variables, rest[environment_size:], fds[0] if fds else None


async def _receive(connection: socket.socket, size: int, *, fds: int = 0) -> tuple[bytes, list[int]]:
    """Exactly ``size`` bytes, and descriptors that came with the first of them."""
    data = bytearray()
    got: list[int] = []
    try:
        while len(data) < size:
            try:
                piece, more, _, _ = socket.recv_fds(
                    connection, size - len(data), fds, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                await _readable(connection)
                continue
            got.extend(more)
            if not piece:
                raise _Refused("a caller went away in the middle of its call")  # noqa: TRY301 - descriptors closed below
            data += piece
    except BaseException:
        for fd in got:
            os.close(fd)
        raise
    return bytes(data), got


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(connection)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
