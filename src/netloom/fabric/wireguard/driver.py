"""Who encrypts: the kernel, or ``wireguard-go`` where the kernel cannot. In: the interface's name. Out: a driver, or an error.

Both are one face: the interface is there afterwards, and peers are read and changed. A ``wireguard-go`` that runs already is
taken over, whoever started it: one of an agent before this one, or a container of its own. One that we start outlives us.
Not here: which peers (``compile``), and what leads to the interface (``apply``).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
from pathlib import Path
from typing import Protocol

from netloom.errors import KernelError, Unavailable, Unsupported
from netloom.linux import mounts, process, rtmsg
from netloom.linux.netns import Namespaces
from netloom.linux.process import Command
from netloom.linux.rtnl import Rtnl
from netloom.linux.tun import open_tun
from netloom.linux.wireguard import KernelWireguard
from netloom.linux.wireguard_uapi import UserspaceWireguard
from netloom.program.names import FABRIC_LINK_PREFIX
from netloom.program.wireguard import WireguardChange, WireguardState

log = logging.getLogger(__name__)

PROGRAM = "wireguard-go"
KIND = "wireguard"
_PROBE = FABRIC_LINK_PREFIX + "probe"
_START_S = 10.0
_PLACES = "/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin:/sbin"


class Driver(Protocol):
    """One interface of either kind. Methods block for about a millisecond, :meth:`bring_up` for some more."""

    def bring_up(self) -> None:
        """Have the interface; one that is there stays.

        Raises:
            KernelError: refused.
            Unsupported: this kind is not to be had here.
        """

    def read(self) -> WireguardState:
        """What the driver has."""

    def change(self, change: WireguardChange) -> None:
        """Put a change in force."""

    def take_down(self) -> None:
        """Have no interface; no error where there is none."""

    def lifeline(self) -> socket.socket | None:
        """A connection that ends when the driver does; None where that is the kernel."""


class KernelDriver:
    """The kernel's own."""

    def __init__(self, name: str, *, netns_fd: int | None = None) -> None:
        self._name = name
        self._netns_fd = netns_fd
        self._control = KernelWireguard(name, netns_fd=netns_fd)
        self.read = self._control.read
        self.change = self._control.change

    def bring_up(self) -> None:
        """Have the interface."""
        with Rtnl(self._netns_fd) as rtnl:
            link = rtnl.find_link(self._name)
            if link is not None and link.kind == KIND:
                return
            if link is not None:
                # the one that wireguard-go has goes only when the kernel has shown that it can do better
                self._make(rtnl, _PROBE)
                rtnl.delete_link(_PROBE)
                rtnl.delete_link(self._name)
            self._make(rtnl, self._name)

    def _make(self, rtnl: Rtnl, name: str) -> None:
        try:
            rtnl.batch([rtmsg.new_link(name, KIND)])
        except KernelError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise Unsupported("this kernel has no wireguard", "load its wireguard module") from error
            if error.errno != errno.EEXIST or name != _PROBE:  # of an agent that was killed
                raise

    def take_down(self) -> None:
        """Have no interface."""
        with Rtnl(self._netns_fd) as rtnl:
            rtnl.delete_link(self._name)

    def lifeline(self) -> socket.socket | None:
        """None: the kernel stays."""
        return None


class ProcessDriver:
    """``wireguard-go``. Its interface is a TUN device that stays when the process ends, so that no route goes with it.

    Args:
        name: of the interface.
        directory: for its socket, short enough for one; the agent's own.
        netns_fd: the node's network namespace; None for the caller's own.
        program: the command.
    """

    def __init__(
        self, name: str, *, directory: Path, netns_fd: int | None = None, program: str = PROGRAM
    ) -> None:
        self._name = name
        self._directory = directory
        self._netns_fd = netns_fd
        self._program = program
        self._control = UserspaceWireguard(directory / f"{name}.sock")
        self.read = self._control.read
        self.change = self._control.change

    def bring_up(self) -> None:
        """Have the process, and with it the interface."""
        if self._answers():
            return
        program = shutil.which(self._program, path=os.pathsep.join((os.environ.get("PATH", ""), _PLACES)))
        if program is None:
            raise Unsupported(
                f"neither the kernel's wireguard nor {self._program} is here",
                f"load the kernel's wireguard module, or install {self._program}",
            )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        open_tun(self._name, netns_fd=self._netns_fd, persistent=True).close()
        self._start(program)
        if not self._answers():
            raise Unavailable(f"{self._program} for {self._name} does not answer", "look at its own log")

    def take_down(self) -> None:
        """End the process, and take the interface away."""
        (self._directory / f"{self._name}.sock").unlink(
            missing_ok=True
        )  # the process ends when its socket goes
        with Rtnl(self._netns_fd) as rtnl:
            rtnl.delete_link(self._name)

    def lifeline(self) -> socket.socket | None:
        """A connection to the process.

        Raises:
            Unavailable: it is not there.
        """
        return self._control.connect()

    def _answers(self) -> bool:
        try:
            self._control.connect().close()
        except Unavailable:
            return False
        with Rtnl(self._netns_fd) as rtnl:
            if rtnl.find_link(self._name) is not None:
                return True
        # its interface has been deleted under it: it cannot go on, and ends when its socket goes
        (self._directory / f"{self._name}.sock").unlink(missing_ok=True)
        return False

    def _start(self, program: str) -> None:
        """Start it and wait until it serves: it goes into the background by itself once it does, and so outlives us."""
        started = process.spawn_now(
            Command(argv=(program, self._name), env={"PATH": _PLACES, "LOG_LEVEL": "error"}),
            ns=Namespaces(net=self._netns_fd),
            new=process.NEW_MNT,
            prepare=lambda: _own_run_directory(self._directory),
        )
        try:
            code = started.wait_now(_START_S)
        finally:
            started.close()
        if code:
            raise KernelError(f"start {self._program} {self._name}", errno.EIO, f"it ended with {code}")


def _own_run_directory(directory: Path) -> None:
    """Let the process find its socket's directory at the one place where it looks, each node of a machine its own."""
    mounts.make_private()
    # opened here: the place may lie below what is covered next, and a mount of another mount namespace cannot be shown
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        run = Path("/var/run").resolve()
        mounts.mount(
            "tmpfs", str(run), "tmpfs", flags=mounts.MS_NOSUID | mounts.MS_NODEV, data="mode=755,size=64k"
        )
        target = run / "wireguard"
        target.mkdir()
        mounts.bind(f"/proc/thread-self/fd/{place}", str(target))
    finally:
        os.close(place)
