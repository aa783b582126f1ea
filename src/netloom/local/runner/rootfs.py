"""What a pod sees of the file system: the host's, read-only, with a few places of its own. In: a PodView; out: mounts.

Runs on a thread that has a mount and a uts namespace of its own (``process.spawn`` with ``prepare``), and uses only what a
user namespace allows: bind mounts, tmpfs, read-only flags. /proc comes later, from a process inside the pid namespace.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec

from netloom.linux import mounts

_KEEP = "/run/netloom"
"""Where the pod's own files lie, in the tmpfs on /run."""
_TMPFS = (("/tmp", "size=256m,mode=1777"), ("/run", "size=16m,mode=755"), ("/dev/shm", "size=64m,mode=1777"))  # noqa: S108 - places of the pod, not ours


class PodView(msgspec.Struct, frozen=True):
    """What is different from the host."""

    hostname: str
    resolv_conf: str
    hosts: str
    hidden: tuple[str, ...] = ()
    """Directories that are shown empty."""
    shares_tmp: bool = False
    """The place for temporary files is the host's, read-only, too."""


def prepare(view: PodView) -> None:
    """Turn the calling thread's mount and uts namespaces into the pod's.

    Raises:
        KernelError: the kernel refused a mount.
    """
    mounts.make_private("/")
    mounts.set_read_only("/")
    for directory in view.hidden:
        if Path(directory).is_dir():
            mounts.mount("tmpfs", directory, "tmpfs", flags=mounts.MS_RDONLY, data="size=4k,mode=755")
    for place, options in _TMPFS:
        if Path(place).is_dir() and not (view.shares_tmp and place == "/tmp"):  # noqa: S108 - as above
            mounts.mount("tmpfs", place, "tmpfs", flags=mounts.MS_NOSUID | mounts.MS_NODEV, data=options)
    Path(_KEEP).mkdir(parents=True)
    files = {"resolv.conf": view.resolv_conf, "hosts": view.hosts, "hostname": f"{view.hostname}\n"}
    for name, content in files.items():
        made = Path(_KEEP, name)
        made.write_text(content)
        made.chmod(0o644)
    if not all(_show(name) for name in files):
        _copy_etc(frozenset(files))
    socket.sethostname(view.hostname)


def write_hosts(text: str) -> None:
    """Change /etc/hosts; runs inside the pod's mount namespace. The file stays the same one, so the mount onto it holds."""
    Path(_KEEP, "hosts").write_text(text)


def _show(name: str) -> bool:
    """Put one of our files in the place of the host's; False where there is no such place.

    The host's may be a symbolic link (systemd-resolved links resolv.conf into /run, which is ours now and empty): then the
    link's target is what gets the content.
    """
    target = Path(os.path.realpath(f"/etc/{name}"))
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except OSError:
            return False  # a read-only place: the host has no such file, or a link that leads nowhere
    mounts.bind(f"{_KEEP}/{name}", str(target), recursive=False)
    return True


def _copy_etc(ours: frozenset[str]) -> None:
    """Put a directory of links in the place of /etc, for hosts that lack one of the files: nothing can be bound onto nothing."""
    aside = Path(_KEEP, "etc")
    aside.mkdir()
    mounts.bind("/etc", str(aside))
    mounts.mount("tmpfs", "/etc", "tmpfs", data="size=1m,mode=755")
    for entry in os.listdir(aside):
        if entry not in ours:
            Path("/etc", entry).symlink_to(aside / entry)
    for name in ours:
        Path("/etc", name).symlink_to(f"{_KEEP}/{name}")
