"""Where the parts of an image lie: members of a tar archive, or files of a directory. In: a path; out: parts by their names.

Links in an archive lead to other parts of it and nowhere else; a directory's files are read without following links. Not
here: what the parts mean (``archive``).
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, Self, cast

from netloom.errors import NotFound
from netloom.local.images.limits import BadImage, Limits

_HOPS = 8
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
BAD = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError, ValueError, OverflowError)
"""What Python's readers raise of archives that are damaged, or none."""


class Source(Protocol):
    """The parts of an archive or directory."""

    def has(self, name: str) -> bool:
        """Whether there is such a part."""

    def open(self, name: str) -> IO[bytes]:
        """A part's bytes.

        Raises:
            BadImage: there is no such part.
        """


class Entry(tarfile.TarInfo):
    """A header whose own extent is bounded: what comes before an entry is read into memory."""

    limit = Limits().header

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        is_prelude = self.type in {
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        }
        if is_prelude and not 0 <= self.size <= self.limit:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return cast("tarfile.TarInfo", super()._proc_member(archive))  # type: ignore[misc] # not in the stubs


@contextlib.contextmanager
def open_source(path: Path, *, draft: Path, limits: Limits) -> Iterator[Source]:
    """The parts of an image file or layout directory.

    Args:
        path: as the user gave it.
        draft: a directory for a compressed archive's plain form.
        limits: bounds.

    Raises:
        NotFound: there is no such file.
        BadImage: it is no archive.
    """
    try:
        if path.is_dir():
            with _Directory(path) as directory:
                yield directory
            return
        file = path.open("rb")
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}", "give an image archive or an OCI layout") from error
    with file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadImage(f"{path}: not a file", "give an image archive or an OCI layout")
        plain: IO[bytes] = file
        if file.read(2) == _GZIP:
            plain = _plain(path, file, draft, limits)
        with plain, _Archive(path, plain, limits) as archive:
            yield archive


def _plain(path: Path, file: IO[bytes], draft: Path, limits: Limits) -> IO[bytes]:
    file.seek(0)
    target = (draft / "archive.tar").open("w+b")
    try:
        with gzip.open(file) as unzipped:
            is_whole = _pour(unzipped, target, limits.unpacked)
    except BAD as error:
        target.close()
        raise BadImage(f"{path}: a damaged gzip file: {error}") from error
    except BaseException:
        target.close()
        raise
    if not is_whole:
        target.close()
        raise BadImage(f"{path}: more than {limits.unpacked >> 20} MiB unpacked")
    return target


def _pour(content: IO[bytes] | gzip.GzipFile, target: IO[bytes], most: int) -> bool:
    """Copy; False where there is more than ``most`` bytes."""
    left = most
    while block := content.read(_BLOCK):
        left -= len(block)
        if left < 0:
            return False
        target.write(block)
    return True


class _Archive:
    """A tar archive: its members are found once, and read where they are."""

    def __init__(self, path: Path, file: IO[bytes], limits: Limits) -> None:
        self._path = path
        self._members: dict[str, tarfile.TarInfo] = {}
        file.seek(0)
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:", tarinfo=Entry)  # noqa: SIM115 - closed by __exit__
            for count, member in enumerate(self._tar):
                if count >= limits.members:
                    raise BadImage(f"{path}: more than {limits.members} members")
                self._members[_clean(member.name)] = member
        except BAD as error:
            raise BadImage(
                f"{path}: not an image archive: {error}",
                "make one with: docker save, podman save, skopeo copy",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def has(self, name: str) -> bool:
        return _clean(name) in self._members

    def open(self, name: str) -> IO[bytes]:
        found = _clean(name)
        for _ in range(_HOPS):
            member = self._members.get(found)
            if member is not None and member.isreg():
                content = self._tar.extractfile(member)
                if content is not None:
                    return content
            if member is None or not (member.issym() or member.islnk()):
                break
            beside = Path(found).parent / member.linkname if member.issym() else Path(member.linkname)
            found = _clean(os.path.normpath(beside))
        raise BadImage(f"{self._path}: {name} is missing", "the archive is not whole; make it again")


class _Directory:
    """A directory, entered by a descriptor: what is read is below it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        try:
            self.open(name).close()
        except BadImage:
            return False
        return True

    def open(self, name: str) -> IO[bytes]:
        parts = _clean(name).split("/")
        at = os.dup(self._fd)
        try:
            if ".." in parts:
                raise BadImage(f"{self._path}: {name} is outside of it")
            for part in parts[:-1]:
                at, former = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at), at
                os.close(former)
            fd = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        except OSError as error:
            raise BadImage(f"{self._path}: {name} is missing: {error.strerror}") from error
        finally:
            os.close(at)
        file = os.fdopen(fd, "rb")
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            file.close()
            raise BadImage(f"{self._path}: {name} is not a file")
        return file


def _clean(name: str) -> str:
    return "/".join(part for part in name.split("/") if part not in {"", "."})
