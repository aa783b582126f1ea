"""Namespaces: made, opened, entered. In: file descriptors and a function. Out: the function's value, or a descriptor.

A namespace is entered on a fresh thread that dies afterwards, never on the caller's: a socket or a child process made there
keeps the namespace, so nothing else has to leave its own. The one exception is :func:`enter`, for a process that is about to
exec or has just been forked. Not here: starting processes (``process``) and what is configured inside (``rtnl``, ``sysctl``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

from netloom.errors import NotFound
from netloom.linux import libc
from netloom.linux.libc import CLONE_FS, CLONE_NEWNET

T = TypeVar("T")

# The order in which namespaces are entered: the user namespace first, since it gives the rights for the others.
_ORDER = (
    ("user", libc.CLONE_NEWUSER),
    ("mnt", libc.CLONE_NEWNS),
    ("uts", libc.CLONE_NEWUTS),
    ("ipc", libc.CLONE_NEWIPC),
    ("net", libc.CLONE_NEWNET),
    ("pid", libc.CLONE_NEWPID),
)


class Namespaces(msgspec.Struct, frozen=True, kw_only=True):
    """Open descriptors of the namespaces to enter; None leaves that kind as it is.

    ``pid`` concerns the children of the thread that enters, never the thread itself (pid_namespaces(7)). ``mnt`` moves root and
    working directory to that namespace's root. ``user`` can only be entered by a process with one thread (setns(2)), so
    :func:`run_in` refuses it.
    """

    net: int | None = None
    mnt: int | None = None
    pid: int | None = None
    uts: int | None = None
    ipc: int | None = None
    user: int | None = None

    def descriptors(self) -> Iterator[tuple[int, int]]:
        """(clone flag, descriptor) of each namespace that is given, in the order of entering."""
        for name, flag in _ORDER:
            fd: int | None = getattr(self, name)
            if fd is not None:
                yield flag, fd

    def close(self) -> None:
        """Close all descriptors; for whoever opened them."""
        for _, fd in self.descriptors():
            with contextlib.suppress(OSError):
                os.close(fd)


class _Outcome(Generic[T]):
    """What a function on another thread came to."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._error: BaseException | None = None

    def fill(self, where: Namespaces | int | None, fn: Callable[[], T]) -> None:
        try:
            if where is not None:
                enter(where)
            self._values.append(fn())
        except BaseException as error:  # noqa: BLE001 - it is raised again on the thread that asked
            self._error = error

    def get(self) -> T:
        if self._error is not None:
            raise self._error
        return self._values[0]


def enter(where: Namespaces | int) -> None:
    """Move the calling thread into namespaces for good; an int is a network namespace.

    Only for threads that die soon and for single-threaded processes about to exec; everybody else uses :func:`run_in`.

    Raises:
        KernelError: no right to enter, or no such namespace.
    """
    if isinstance(where, int):
        libc.setns(where, CLONE_NEWNET)
        return
    if where.mnt is not None:
        libc.unshare(CLONE_FS)  # a thread that shares root and cwd with others may not change mount namespace
    for flag, fd in where.descriptors():
        libc.setns(fd, flag)


def run_on_thread(fn: Callable[[], T]) -> T:
    """Run ``fn`` on a fresh thread and wait; what it does to the thread (unshare, setns) ends with it."""
    return _run(None, fn)


def run_in(where: Namespaces | int, fn: Callable[[], T]) -> T:
    """Run ``fn`` inside namespaces on a fresh thread, wait, and give its value or raise its error.

    Raises:
        KernelError: the namespaces cannot be entered.
    """
    return _run(where, fn)


async def run_in_async(where: Namespaces | int | None, fn: Callable[[], T]) -> T:
    """As :func:`run_in`, without blocking the loop; None stays in the own namespaces.

    Cancelling does not stop ``fn``: the call waits until it has ended, so that what it made is not lost, then raises.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    outcome: _Outcome[T] = _Outcome()

    def body() -> None:
        outcome.fill(where, fn)
        with contextlib.suppress(RuntimeError):  # the loop was closed while we worked: nobody waits any more
            loop.call_soon_threadsafe(_settle, done)

    threading.Thread(target=body, name="in-namespaces", daemon=True).start()
    cancelled: asyncio.CancelledError | None = None
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return outcome.get()


def new_netns() -> int:
    """A fresh network namespace (its loopback is down); it lives until the last descriptor and process leave it.

    Raises:
        KernelError: no right to make one; the hint says how to get it.
    """

    def make() -> int:
        libc.unshare(CLONE_NEWNET)
        return open_netns("/proc/thread-self/ns/net")

    return run_on_thread(make)


def open_netns(path: str) -> int:
    """A descriptor of the namespace at ``path`` (``/proc/PID/ns/net`` or a bind mount of one).

    Raises:
        NotFound: there is no such file.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotFound(f"namespace {path}: {error.strerror}", "is the pod still running?") from error


def open_socket(netns_fd: int, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A socket that lives in that network namespace and can be used from anywhere.

    Raises:
        KernelError: the namespace cannot be entered.
        OSError: socket(2) refused.
    """
    return run_in(netns_fd, lambda: socket.socket(family, kind, proto))


def _run(where: Namespaces | int | None, fn: Callable[[], T]) -> T:
    outcome: _Outcome[T] = _Outcome()
    thread = threading.Thread(target=outcome.fill, args=(where, fn), name="in-namespaces", daemon=True)
    thread.start()
    thread.join()
    return outcome.get()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
