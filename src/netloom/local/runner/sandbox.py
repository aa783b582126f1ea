"""Sandboxes: the namespaces of a pod, held by a process that does nothing but reap. In: a plan; out: a Sandbox.

The holder is `catatonit -P`, process 1 of the pod's pid namespace: when it ends, everything in the pod ends. Not here: the
interface (CNI), what listens inside (stand-ins), and the order of things (``lifecycle``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import msgspec

from netloom.errors import KernelError, NetloomError, NotFound, Unavailable, Unsupported
from netloom.linux import process
from netloom.linux.netns import Namespaces, run_in_async
from netloom.linux.process import NEW_IPC, NEW_MNT, NEW_NET, NEW_PID, NEW_UTS, Command, Completed, Process
from netloom.linux.rtnl import Rtnl
from netloom.local.runner import rootfs
from netloom.local.runner.records import SandboxRecord
from netloom.local.runner.rootfs import PodView

log = logging.getLogger(__name__)

_KINDS = ("net", "mnt", "uts", "ipc", "pid")
_END_S = 5.0


class SandboxPlan(msgspec.Struct, frozen=True):
    """What a pod's sandbox is to be."""

    view: PodView
    host_network: bool = False
    """The pod lives in the node's network namespace."""


class Sandbox:
    """A running sandbox, made by us or by a runner before us."""

    def __init__(self, *, pid: int, pidfd: int, namespaces: Namespaces, process: Process | None) -> None:
        self.pid = pid
        self.namespaces = namespaces
        """All namespaces of the pod; where it uses the node's network, ``net`` is the node's."""
        self._pidfd = pidfd
        self._process = process
        self._ended: asyncio.Event | None = None

    @property
    def netns_path(self) -> str:
        """The network namespace as a path, for whoever opens it."""
        return f"/proc/{self.pid}/ns/net"

    @property
    def start_ticks(self) -> int:
        """Start time of the holder, for the record."""
        return start_ticks(self.pid)

    async def ended(self) -> None:
        """Wait until the holder is gone, and the pod with it."""
        if self._ended is None:
            self._ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)
        await self._ended.wait()

    async def destroy(self) -> None:
        """End everything in it and let go of the namespaces."""
        if self._pidfd < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        # The kernel lets process 1 of a pid namespace end only when all others there are collected: commands of exec are our
        # own children, so this waits while their tasks do that, and must never block the loop.
        has_ended = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self.ended()
                has_ended = True
        if not has_ended:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            log.warning("process %d, which holds a sandbox, was killed and does not end", self.pid)
        self.namespaces.close()
        os.close(self._pidfd)
        self._pidfd = -1
        if self._process is not None and has_ended:
            self._process.close()

    async def run(
        self, argv: tuple[str, ...], *, env: Mapping[str, str] | None = None, timeout_s: float = 30
    ) -> Completed:
        """Run a command inside, to its end.

        Raises:
            NotFound: no such program.
            Unavailable: it did not end in time.
        """
        return await process.run(argv, env=env, timeout_s=timeout_s, ns=self.namespaces)

    async def write_hosts(self, text: str) -> None:
        """Change the pod's /etc/hosts, once its address is known."""
        await run_in_async(Namespaces(mnt=self.namespaces.mnt), functools.partial(rootfs.write_hosts, text))

    async def spawn(self, command: Command) -> Process:
        """Start a command inside.

        Raises:
            NotFound: no such program.
        """
        return await process.spawn(command, ns=self.namespaces)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        if self._ended is not None:
            self._ended.set()


def holder() -> str:
    """Path of the program that holds sandboxes.

    Raises:
        Unsupported: it is not installed.
    """
    found = shutil.which("catatonit") or shutil.which("catatonit", path="/usr/libexec/podman:/usr/bin")
    if found is None:
        raise Unsupported(
            "catatonit is not installed; it holds the namespaces of each pod", "apt-get install catatonit"
        )
    return found


async def make(plan: SandboxPlan) -> Sandbox:
    """Make a sandbox: namespaces, file system view, loopback up.

    Raises:
        Unsupported: the holder is not installed.
        KernelError: the kernel refused a namespace, a mount or a link.
    """
    new = NEW_MNT | NEW_UTS | NEW_IPC | NEW_PID | (0 if plan.host_network else NEW_NET)
    command = Command(argv=(holder(), "-P"), env={"PATH": "/usr/bin:/bin"})
    made = await process.spawn(command, new=new, prepare=functools.partial(rootfs.prepare, plan.view))
    try:
        sandbox = _open(made.pid, made)
    except BaseException:
        made.close()
        raise
    try:
        await _mount_proc(sandbox)
        if not plan.host_network and sandbox.namespaces.net is not None:
            with Rtnl(sandbox.namespaces.net) as link:
                link.set_up("lo")
    except BaseException:
        await sandbox.destroy()
        raise
    return sandbox


def adopt(record: SandboxRecord) -> Sandbox | None:
    """The sandbox that a runner before us left, if it is still the same process."""
    if record.pid <= 0 or start_ticks(record.pid) != record.start_ticks:
        return None
    try:
        return _open(record.pid, None)
    except (NetloomError, OSError):
        return None  # it ended between the two looks


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc_pid_stat(5), field 22); 0 where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


async def _mount_proc(sandbox: Sandbox) -> None:
    # A mount of proc shows the pid namespace of the process that mounts, and a thread of ours never is inside.
    argv = ("mount", "-n", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    done = await sandbox.run(argv, env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"})
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise KernelError("mount proc in a pod", 1, text, "look whether /proc of the host is complete")


def _open(pid: int, made: Process | None) -> Sandbox:
    with contextlib.ExitStack() as undo:
        pidfd = os.pidfd_open(pid)
        undo.callback(os.close, pidfd)
        fds: dict[str, int] = {}
        for kind in _KINDS:
            try:
                fds[kind] = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise NotFound(
                    f"sandbox of process {pid}: {error.strerror}", "it ended; make it anew"
                ) from error
            undo.callback(os.close, fds[kind])
        if _gone(pidfd):
            raise Unavailable(f"sandbox of process {pid} ended at once", "look at the node's log")
        undo.pop_all()
    namespaces = Namespaces(net=fds["net"], mnt=fds["mnt"], uts=fds["uts"], ipc=fds["ipc"], pid=fds["pid"])
    return Sandbox(pid=pid, pidfd=pidfd, namespaces=namespaces, process=made)


def _gone(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    return False
