"""Processes: started in namespaces of one's choice, waited for without threads, killed without races.

In: a :class:`Command` and where to start it. Out: a :class:`Process`, or (with :func:`run`) what it wrote.

A child is started with vfork from a thread that has entered the namespaces, and so is born inside them, in the pid namespace
too. It leads a session of its own: signals of our terminal do not reach it, and it can be killed with its offspring.
Its parent-death signal stays off, since the parent that the kernel means is the thread, which dies at once; what must not
outlive us belongs into a pid namespace. Not here: the zygote of the local cluster, which forks without exec.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import resource
import signal
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from typing import IO

import msgspec

from netloom.errors import KernelError, NotFound, Unavailable
from netloom.linux import libc, netns
from netloom.linux.netns import Namespaces

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL

NEW_MNT = libc.CLONE_NEWNS
NEW_UTS = libc.CLONE_NEWUTS
NEW_IPC = libc.CLONE_NEWIPC
NEW_PID = libc.CLONE_NEWPID
NEW_NET = libc.CLONE_NEWNET

_MAX_FILE = 256 << 20
"""Largest file, and so the largest output, that a command under :func:`run` may write, in bytes."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """What to execute. Standard streams are descriptors, PIPE, or DEVNULL.

    ``env`` None inherits ours. ``terminal`` makes stdin, which must be a terminal then, the controlling one.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    stdin: int = DEVNULL
    stdout: int = DEVNULL
    stderr: int = DEVNULL
    terminal: bool = False
    pass_fds: tuple[int, ...] = ()


class Completed(msgspec.Struct, frozen=True):
    """How a command ended (as ``Process.wait`` says) and what it wrote."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Process:
    """A child. Whoever started it waits for it, and then calls :meth:`close`.

    ``stdin``, ``stdout`` and ``stderr`` are our ends of the pipes that were asked for. ``namespaces`` are descriptors of
    those that were made for it; they keep the namespaces alive until :meth:`close`.
    """

    def __init__(self, popen: subprocess.Popen[bytes], pidfd: int, namespaces: Namespaces) -> None:
        self._popen = popen
        self._pidfd = pidfd
        self._ended: asyncio.Event | None = None
        self.namespaces = namespaces
        self.terminal = -1
        """Our end of a terminal that was made for it; none is: what it has came with its command."""

    @property
    def pid(self) -> int:
        """Its number in our pid namespace."""
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        """Our end of its standard input, if that is a pipe."""
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        """Our end of its standard output, if that is a pipe."""
        return self._popen.stdout

    @property
    def stderr(self) -> IO[bytes] | None:
        """Our end of its standard error, if that is a pipe."""
        return self._popen.stderr

    @property
    def returncode(self) -> int | None:
        """Exit code, the negative number of the signal that ended it, or None while it runs."""
        return self._popen.poll()

    async def wait(self) -> int:
        """Wait until it has ended, and give its exit code or the negative number of the signal that ended it."""
        if self._popen.poll() is None:
            loop = asyncio.get_running_loop()
            if self._ended is None:
                self._ended = asyncio.Event()
                loop.add_reader(self._pidfd, self._on_end, loop)
            await self._ended.wait()
        return self._popen.wait()

    def wait_now(self, timeout_s: float) -> int:
        """As :meth:`wait`, for a thread that may block.

        Raises:
            Unavailable: it still runs after ``timeout_s``; it has been killed.
        """
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.kill_group()
            raise Unavailable(
                f"process {self.pid} did not end within {timeout_s:g} s and was killed"
            ) from error

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal; no error where it has ended. The pidfd cannot mean another process that got its number."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)

    def kill_group(self, signum: int = signal.SIGKILL) -> None:
        """Send a signal to it and to all of its offspring that stayed in its process group, while it is not waited for."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signum)

    def leave(self) -> None:
        """Let go of it: it lives on, and whoever is process 1 collects it. Nobody may wait for it any more."""
        if self._popen.poll() is None:
            self._popen.returncode = 0  # otherwise the interpreter warns of it at the end
        self.close()

    def close(self) -> None:
        """Kill it if it still runs, collect it, and close all descriptors."""
        if self._popen.poll() is None:
            self.kill()
            self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if stream is not None:
                stream.close()
        self.namespaces.close()
        if self._pidfd >= 0:
            if self._ended is not None and not self._ended.is_set():
                self._on_end(asyncio.get_running_loop())
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._pidfd)
        if self._ended is not None:
            self._ended.set()


def spawn_now(
    command: Command,
    *,
    ns: Namespaces | None = None,
    new: int = 0,
    prepare: Callable[[], None] | None = None,
) -> Process:
    """Start a command in namespaces.

    Args:
        command: what to execute; its path is looked up in the mount namespace that it will have.
        ns: namespaces to enter first.
        new: NEW_* bits: namespaces to make for it; with NEW_PID it becomes process 1 of its own.
        prepare: runs inside all of them, just before the start: mounts, hostname, links. It may change the thread's
            root and working directory. The /proc of a new pid namespace comes after the start: :func:`mount_proc`.

    Raises:
        NotFound: no such executable.
        KernelError: no right to enter or make the namespaces.
    """
    return netns.run_on_thread(lambda: _start(command, ns, new, prepare))


async def spawn(
    command: Command,
    *,
    ns: Namespaces | None = None,
    new: int = 0,
    prepare: Callable[[], None] | None = None,
) -> Process:
    """As :func:`spawn_now`, without blocking the loop. Whoever is cancelled meanwhile leaves no process."""
    started: list[Process] = []
    try:
        await netns.run_in_async(None, lambda: started.append(_start(command, ns, new, prepare)))
    except asyncio.CancelledError:
        for process in started:
            process.close()
        raise
    return started[0]


async def run(
    argv: Sequence[str],
    *,
    input: bytes = b"",  # noqa: A002 - the name that readers know from the standard library
    env: Mapping[str, str] | None = None,
    timeout_s: float = 30,
    ns: Namespaces | None = None,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run a command to its end.

    Input and output go through anonymous files, not pipes: no side can block the other, and offspring that stays in the
    background with our descriptors open keeps nobody waiting. Output is bounded by 256 MiB. It has ``pass_fds``, too.

    Raises:
        NotFound: no such executable.
        Unavailable: it did not end within ``timeout_s``; it has been killed.
        KernelError: the namespaces cannot be entered.
    """
    with contextlib.ExitStack() as files:

        def anonymous(name: str) -> int:
            fd = os.memfd_create(name)
            files.callback(os.close, fd)
            return fd

        out, err = anonymous("stdout"), anonymous("stderr")
        source = DEVNULL
        if input:
            source = anonymous("stdin")
            _write_all(source, input)
        command = Command(
            argv=tuple(argv), env=env, stdin=source, stdout=out, stderr=err, pass_fds=tuple(pass_fds)
        )
        process = await spawn(command, ns=ns)
        files.callback(process.close)
        _bound_output(process.pid)
        try:
            async with asyncio.timeout(timeout_s):
                code = await process.wait()
        except TimeoutError as error:
            raise Unavailable(f"{argv[0]} did not end within {timeout_s:g} s and was killed") from error
        finally:
            process.kill_group()
        return Completed(code, _read_all(out), _read_all(err))


async def mount_proc(ns: Namespaces) -> None:
    """Mount the /proc of a pid namespace in a mount namespace, over what is there.

    Only a process inside can do it: the kernel takes the pid namespace of who mounts, and a thread keeps its own for life.

    Raises:
        KernelError: refused.
        NotFound: no ``mount`` program in that mount namespace.
    """
    done = await run(["mount", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc"], ns=ns)
    if done.returncode != 0:
        raise KernelError("mount proc on /proc", errno.EPERM, done.stderr.decode(errors="replace").strip())


def _start(command: Command, ns: Namespaces | None, new: int, prepare: Callable[[], None] | None) -> Process:
    """On a fresh thread: enter, make, prepare, start."""
    with contextlib.ExitStack() as undo:
        if ns is not None:
            netns.enter(ns)
        made = Namespaces()
        directory = -1
        if new:
            libc.unshare(new | libc.CLONE_FS)
            # Opened before `prepare`, which may hide /proc.
            directory = os.open("/proc/thread-self/ns", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            undo.callback(os.close, directory)
        if prepare is not None:
            prepare()
        popen = _popen(command)
        with contextlib.ExitStack() as rescue:
            rescue.callback(popen.wait)
            rescue.callback(popen.kill)
            if new:
                made = _descriptors(directory, new)
                rescue.callback(made.close)
            pidfd = os.pidfd_open(popen.pid)
            rescue.pop_all()
        return Process(popen, pidfd, made)


def _popen(command: Command) -> subprocess.Popen[bytes]:
    # preexec_fn costs a full fork instead of vfork, and only a controlling terminal needs it.
    try:
        return subprocess.Popen(  # the caller owns it
            command.argv,
            env=command.env,
            cwd=command.cwd,
            stdin=command.stdin,
            stdout=command.stdout,
            stderr=command.stderr,
            bufsize=0,
            start_new_session=True,
            pass_fds=command.pass_fds,
            preexec_fn=_take_terminal if command.terminal else None,  # noqa: PLW1509 - one ioctl, no locks
        )
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise NotFound(
            f"cannot execute {command.argv[0]}: {error.strerror}", "install it, or correct the path"
        ) from error


def _descriptors(directory: int, new: int) -> Namespaces:
    """Descriptors of the thread's namespaces of the kinds in ``new``; the pid namespace exists from its first process on."""

    def fd(flag: int, name: str) -> int | None:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory) if new & flag else None

    return Namespaces(
        net=fd(NEW_NET, "net"),
        mnt=fd(NEW_MNT, "mnt"),
        pid=fd(NEW_PID, "pid_for_children"),
        uts=fd(NEW_UTS, "uts"),
        ipc=fd(NEW_IPC, "ipc"),
    )


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _bound_output(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # ended already, or changed its user
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        if hard == resource.RLIM_INFINITY or hard > _MAX_FILE:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (_MAX_FILE, hard))


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
