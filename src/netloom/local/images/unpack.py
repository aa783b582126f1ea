"""Layers become one directory (image-spec, layer.md): later ones over earlier ones, whiteouts take away. In: layers; out: files.

What an archive says is not believed: names do not lead out of the directory, links are never followed out of it, sizes and
numbers are bounded, digests are checked. Devices are left out, since a container gets its own /dev. Where we are not root all
files are ours; a user namespace with one user shows them as root's. Not here: where the directory lies (``store``).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import tarfile
from typing import IO, TYPE_CHECKING

from netloom.errors import StorageError
from netloom.local.images.limits import BadImage, Limits
from netloom.local.images.packing import unpacked
from netloom.local.images.sources import BAD, Entry
from netloom.local.images.tree import Tree, remove

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WHITEOUT, _OPAQUE, _AUFS = ".wh.", ".wh..wh..opq", ".wh..wh."
_XATTR = "SCHILY.xattr."
_KEPT_XATTRS = ("security.capability", "user.")
_BLOCK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NAME_BYTES = 255


class Unpacker:
    """Puts layers into a directory, one after the other.

    Args:
        root: descriptor of the directory, which is empty at first.
        where: what is unpacked, for errors.
        limits: bounds of all layers together.
    """

    def __init__(self, root: int, *, where: str, limits: Limits) -> None:
        self._root = root
        self._tree = Tree(root)
        self._where = where
        self._limits = limits
        self._is_root = os.geteuid() == 0
        self._fresh: set[tuple[str, ...]] = set()
        self._directories: dict[tuple[str, ...], tarfile.TarInfo] = {}
        self.size = 0
        """Bytes of all files so far."""
        self.entries = 0

    def layer(self, packed: IO[bytes], diff_id: str) -> None:
        """Put one layer over what is there.

        Args:
            packed: plain, gzip or zstd.
            diff_id: its digest, unpacked.

        Raises:
            BadImage: it is damaged, or does what an image must not.
            StorageError: the disk is full, or refuses.
        """
        self._fresh = set()
        self._directories = {}
        try:
            with unpacked(packed) as content:
                plain = _Counted(content, self._limits.unpacked * 2)
                with tarfile.open(fileobj=plain, mode="r|", tarinfo=Entry) as archive:
                    for member in archive:
                        self._entry(archive, member)
                plain.drain()  # tar's own end may come before the file's: the digest is of all of it
        except BadImage:
            raise
        except BAD as error:
            raise BadImage(f"{self._where}: layer {diff_id[:19]} is damaged: {error}") from error
        except OSError as error:
            raise self._refused(error) from error
        if plain.digest != diff_id:
            raise BadImage(
                f"{self._where}: layer {diff_id[:19]} is damaged: its digest is {plain.digest[:19]}"
            )
        self._finish_directories()

    def _entry(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.entries += 1
        if self.entries > self._limits.entries:
            raise BadImage(f"{self._where}: more than {self._limits.entries} files")
        parts = [part for part in member.name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise BadImage(f"{self._where}: {member.name[:200]!r} leads out of the image")
        if any("\0" in part or len(os.fsencode(part)) > _NAME_BYTES for part in parts):
            raise BadImage(f"{self._where}: {member.name[:200]!r} is no name of a file")
        if not parts:
            if member.isdir():
                self._directories[()] = member
            return
        try:
            with self._tree.parent(parts[:-1], make=True) as directory:
                self._put(archive, member, parts, directory)
        except (NotADirectoryError, FileExistsError, FileNotFoundError, IsADirectoryError) as error:
            raise BadImage(f"{self._where}: {member.name[:200]!r}: {error.strerror}") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise BadImage(f"{self._where}: {member.name[:200]!r}: links that lead nowhere") from error
            raise

    def _put(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, parts: list[str], directory: int
    ) -> None:
        name = parts[-1]
        if name.startswith(_WHITEOUT):
            self._whiteout(parts, directory)
            return
        if member.isdir():
            self._directory(member, parts, directory)
            return
        if member.isdev() and not member.isfifo():
            return
        remove(name, directory)
        if member.islnk():
            self._hardlink(member, name, directory)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=directory)
            self._own(member, name, directory)
        elif member.isfifo():
            os.mkfifo(name, member.mode & 0o777, dir_fd=directory)
            self._own(member, name, directory)
        elif member.isreg():
            self._file(archive, member, name, directory)
        else:
            raise BadImage(f"{self._where}: {member.name[:200]!r} is of an unknown kind ({member.type!r})")
        self._fresh.add(tuple(parts))

    def _whiteout(self, parts: list[str], directory: int) -> None:
        name, above = parts[-1], tuple(parts[:-1])
        if name == _OPAQUE:
            for entry in os.listdir(directory):
                if not self._is_fresh((*above, entry)):
                    remove(entry, directory)
        elif not name.startswith(_AUFS):
            gone = name.removeprefix(_WHITEOUT)
            if gone in {"", ".", ".."}:
                raise BadImage(f"{self._where}: a whiteout of {gone!r}")
            if not self._is_fresh((*above, gone)):
                remove(gone, directory)

    def _is_fresh(self, parts: tuple[str, ...]) -> bool:
        """This layer itself has put it there, or something below it: whiteouts mean the layers before."""
        return parts in self._fresh

    def _directory(self, member: tarfile.TarInfo, parts: list[str], directory: int) -> None:
        name = parts[-1]
        try:
            is_there = stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            is_there = False
        if not is_there:
            remove(name, directory)
            os.mkdir(name, 0o700, dir_fd=directory)
        for length in range(1, len(parts) + 1):
            self._fresh.add(tuple(parts[:length]))
        self._directories[tuple(parts)] = member

    def _hardlink(self, member: tarfile.TarInfo, name: str, directory: int) -> None:
        target = [part for part in member.linkname.split("/") if part not in {"", "."}]
        if not target or ".." in target:
            raise BadImage(f"{self._where}: {member.name[:200]!r} is a link out of the image")
        with self._tree.parent(target[:-1]) as there:
            if stat.S_ISDIR(os.stat(target[-1], dir_fd=there, follow_symlinks=False).st_mode):
                raise BadImage(f"{self._where}: {member.name[:200]!r} is a hard link to a directory")
            os.link(target[-1], name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, directory: int) -> None:
        if member.size < 0 or self.size + member.size > self._limits.unpacked:
            raise BadImage(f"{self._where}: more than {self._limits.unpacked >> 20} MiB unpacked")
        self.size += member.size
        content = archive.extractfile(member)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            if content is not None:
                _copy(content, fd, member.size)
            if self._is_root:
                os.fchown(fd, *_owner(member))
            os.fchmod(fd, member.mode & 0o7777)
            self._xattrs(member, fd)
            os.utime(fd, (_time(member), _time(member)))
        finally:
            os.close(fd)

    def _own(self, member: tarfile.TarInfo, name: str, directory: int) -> None:
        if self._is_root:
            os.chown(name, *_owner(member), dir_fd=directory, follow_symlinks=False)

    def _xattrs(self, member: tarfile.TarInfo, fd: int) -> None:
        for key, value in member.pax_headers.items():
            name = key.removeprefix(_XATTR)
            if not self._is_root or name == key or not name.startswith(_KEPT_XATTRS):
                continue
            try:
                os.setxattr(fd, name, value.encode("utf-8", "surrogateescape"))
            except OSError as error:
                if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.EINVAL}:
                    raise

    def _finish_directories(self) -> None:
        """Owners, modes and times of directories, when nothing more comes into them; the deepest first."""
        for parts, member in sorted(self._directories.items(), key=lambda item: -len(item[0])):
            try:
                with self._tree.parent(list(parts)) as fd:
                    if self._is_root:
                        os.fchown(fd, *_owner(member))
                    # a directory that its owner cannot enter is one that we could not remove
                    os.fchmod(fd, member.mode & 0o7777 | (0 if self._is_root else 0o700))
                    os.utime(fd, (_time(member), _time(member)))
            except FileNotFoundError:
                continue  # a whiteout after it took it away
            except NotADirectoryError:
                continue  # something else took its place
            except OSError as error:
                raise self._refused(error) from error

    def _refused(self, error: OSError) -> Exception:
        if error.errno in _FULL:
            return StorageError(
                f"{self._where}: {error.strerror}", "free some space; nothing of the image was kept"
            )
        return BadImage(f"{self._where}: {error.strerror or error}")


class _Counted(io.RawIOBase):
    """Bytes on their way: counted, bounded and digested."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._left = limit
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(_BLOCK if size < 0 else min(size, _BLOCK))
        self._left -= len(data)
        if self._left < 0:
            raise tarfile.ReadError("it does not end")
        self._hash.update(data)
        return data

    def readinto(self, buffer: WriteableBuffer) -> int:
        raise NotImplementedError

    def drain(self) -> None:
        """Read to the end."""
        while self.read():
            pass


def _copy(content: IO[bytes], fd: int, size: int) -> None:
    left = size
    while left:
        block = content.read(min(left, _BLOCK))
        if not block:
            raise tarfile.ReadError("it ends within a file")
        left -= len(block)
        view = memoryview(block)
        while view:
            view = view[os.write(fd, view) :]


def _owner(member: tarfile.TarInfo) -> tuple[int, int]:
    return max(0, min(member.uid, 0xFFFFFFFE)), max(0, min(member.gid, 0xFFFFFFFE))


def _time(member: tarfile.TarInfo) -> float:
    return max(0.0, min(float(member.mtime), 1 << 34))
