"""Writes the files of a volume so that readers see all of the old or all of the new. In: files, a directory. Out: whether it changed.

As a kubelet lays them out: files lie in a directory of their own, ``..data`` leads to it, and what users see are links through
``..data``; an update is one rename. Whoever mounts a single file by ``subPath`` keeps the old one. Not here: which files
(``payload``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path, PurePosixPath

from netloom.linux.namespaces import has_one_user
from netloom.local.runner.volumes.payload import File, Files, MountFailed
from netloom.local.runner.volumes.places import OPEN, make_open

DATA = "..data"
_NEW = "..data_tmp"
_TO_GROUP_READ_ONLY, _TO_GROUP = 0o440, 0o660
_DIRECTORY_BITS, _SETGID = 0o110, 0o2000


def write(directory: Path, files: Files, *, group: int | None = None) -> bool:
    """Make the volume show these files; False where it did already.

    Args:
        directory: of the volume; made where it is missing.
        files: all of them.
        group: who else may read them (``fsGroup``).

    Raises:
        MountFailed: a path leads out of the volume.
        OSError: they cannot be written.
    """
    for path in files:
        _check(path)
    wanted = {path: File(file.content, _mode(file, group)) for path, file in files.items()}
    if _present(directory) == wanted:
        return False
    make_open(directory)
    old = _target(directory)
    new = Path(tempfile.mkdtemp(prefix=f"..{_stamp(directory)}.", dir=directory))
    new.chmod(OPEN)
    for path, file in files.items():
        _write_file(new / path, file)
    if group is not None:
        give_to_group(new, group, read_only=True)
    link = directory / _NEW
    with contextlib.suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(new.name)
    link.rename(directory / DATA)
    _show(directory, {PurePosixPath(path).parts[0] for path in files})
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def give_to_group(root: Path, gid: int, *, read_only: bool = False) -> None:
    """Let a group read, and unless it is read-only write, everything below (``fsGroup``); new files get the group, too.

    Where the pod knows one user only nobody else can be given anything, and nothing is done.
    """
    if has_one_user():
        return
    for _, _, names, here in os.fwalk(root):
        for name in (".", *names):
            held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            try:
                _give(held, gid, read_only=read_only)
            finally:
                os.close(held)


def _give(held: int, gid: int, *, read_only: bool) -> None:
    """Of a descriptor (O_PATH), since pods may exchange a name for a link at any time."""
    mode = os.fstat(held).st_mode
    if stat.S_ISLNK(mode):
        return
    bits = _TO_GROUP_READ_ONLY if read_only else _TO_GROUP
    if stat.S_ISDIR(mode):
        bits |= _DIRECTORY_BITS | _SETGID
    path = f"/proc/self/fd/{held}"
    os.chown(path, -1, gid)
    os.chmod(path, os.fstat(held).st_mode & 0o7777 | bits)


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or parts[0].startswith(".."):
        raise MountFailed(f"invalid path {path!r}: must be relative, without '..'")


def _mode(file: File, group: int | None) -> int:
    return file.mode if group is None or has_one_user() else file.mode | _TO_GROUP_READ_ONLY


def _write_file(target: Path, file: File) -> None:
    make_open(target.parent)
    with open(target, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as out:
        out.write(file.content)
    if file.user is not None:
        with contextlib.suppress(OSError):  # a user namespace that maps one user
            os.chown(target, file.user, -1)
    target.chmod(file.mode)


def _target(directory: Path) -> str | None:
    try:
        return os.readlink(directory / DATA)
    except OSError:
        return None


def _present(directory: Path) -> dict[str, File] | None:
    """What it shows now; None where nothing was ever written."""
    target = _target(directory)
    if target is None:
        return None
    root = directory / target
    found = {}
    for path in root.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(root))] = File(path.read_bytes(), path.stat().st_mode & 0o777)
    return found


def _show(directory: Path, names: set[str]) -> None:
    """A link for each first part of a path, and none for what is gone."""
    shown = {entry.name for entry in os.scandir(directory) if not entry.name.startswith("..")}
    for name in sorted(names - shown):
        (directory / name).symlink_to(f"{DATA}/{name}")
    for name in shown - names:
        (directory / name).unlink()


def _stamp(directory: Path) -> str:
    """A name part that tells directories of one volume apart by age."""
    old = _target(directory)
    count = old.removeprefix("..").split(".")[0] if old is not None else "0"
    return f"{int(count) + 1 if count.isdigit() else 1:08d}"
