"""A container's root directory: its image's files, and over them what it writes. In: two directories; out: mounts, or a copy.

To be called in ``prepare`` of ``process.spawn``: the mounts belong to conmon's own mount namespace and go with it, so that
there is nothing to undo. Of the ways it takes the first that the kernel allows: overlayfs with the layer on disk (in a user
namespace its attributes are ``user.*``, Linux 5.11), with the layer in memory (where the disk itself is an overlay), a copy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from netloom.errors import KernelError
from netloom.linux import mounts
from netloom.local.images.tree import Tree, split
from netloom.local.runner.crun.places import Bundle

_CGROUPS = "/sys/fs/cgroup"
_MEMORY = "size=50%,mode=700"
_ESCAPED = str.maketrans({"\\": "\\\\", ":": "\\:", ",": "\\,"})


def prepare(bundle: Bundle, image: Path, cwd: str) -> None:
    """Make the root directory of a container in this thread's mount namespace.

    Args:
        bundle: of the container.
        image: the image's files, which nobody changes.
        cwd: the program's directory, which is made where it is missing.

    Raises:
        KernelError: the kernel refused all ways, or the disk is full.
    """
    mounts.make_private("/")
    hide_cgroups()
    for place in (bundle.root, bundle.upper, bundle.work):
        place.mkdir(exist_ok=True, mode=0o755)
    bundle.upper.chmod(image.stat().st_mode & 0o7777)
    if not (_overlay(bundle.upper, bundle.work, bundle.root, image) or _in_memory(bundle, image)):
        _copy(bundle, image)
    _make_directory(bundle.root, cwd)


def hide_cgroups() -> None:
    """Show crun no cgroups: none are made, and it refuses to start beside a mixture of both versions."""
    if Path(_CGROUPS).is_dir():
        with contextlib.suppress(KernelError):
            mounts.mount("tmpfs", _CGROUPS, "tmpfs", flags=mounts.MS_RDONLY, data="size=4k,mode=755")


def _overlay(upper: Path, work: Path, target: Path, image: Path) -> bool:
    places = {"lowerdir": image, "upperdir": upper, "workdir": work}
    options = ",".join(f"{name}={str(path).translate(_ESCAPED)}" for name, path in places.items())
    for more in (",userxattr", ""):
        with contextlib.suppress(KernelError):
            mounts.mount("overlay", str(target), "overlay", data=options + more)
            return True
    return False


def _in_memory(bundle: Bundle, image: Path) -> bool:
    try:
        mounts.mount("tmpfs", str(bundle.work), "tmpfs", data=_MEMORY)
    except KernelError:
        return False
    upper, work = bundle.work / "upper", bundle.work / "work"
    upper.mkdir(mode=0o755)
    work.mkdir(mode=0o700)
    if _overlay(upper, work, bundle.root, image):
        return True
    mounts.umount(str(bundle.work))
    return False


def _copy(bundle: Bundle, image: Path) -> None:
    """The last way: slow, and each container has all of it."""
    shutil.copytree(image, bundle.upper, symlinks=True, dirs_exist_ok=True)
    if os.geteuid() == 0:
        for directory, _, files in os.walk(image):
            inside = bundle.upper / Path(directory).relative_to(image)
            for name in (".", *files):
                found = os.lstat(Path(directory, name))
                with contextlib.suppress(OSError):
                    os.chown(inside / name, found.st_uid, found.st_gid, follow_symlinks=False)
    mounts.bind(str(bundle.upper), str(bundle.root))


def _make_directory(root: Path, path: str) -> None:
    """As container runtimes do with a working directory that the image lacks; where that fails, the start tells why."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError), Tree(fd).parent([p for p in split(path) if p != ".."], make=True):
            pass
    finally:
        os.close(fd)
