"""The images of a user: unpacked once, found by name, shared by all clusters of one home. In: archives; out: Images.

``index.json`` is the truth and is replaced as a whole; a directory that it does not name is a draft that nobody finished, and
goes with the next change. Changes are made under a lock. A container holds a shared lock on its image (:func:`hold`), so that
nobody removes it. Not here: what is in archives (``archive``, ``unpack``), and containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from netloom.errors import InvalidObject, NotFound, StorageError, Unavailable, UsageError
from netloom.local.images import archive, references
from netloom.local.images.archive import Packed, RunConfig
from netloom.local.images.limits import BadImage, Limits
from netloom.local.images.references import Reference
from netloom.local.images.sources import Source, open_source
from netloom.local.images.tree import remove
from netloom.local.images.unpack import Unpacker

_INDEX, _LOCK, _HELD = "index.json", "lock", "held"
_DRAFT = "draft-"


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One image that is there."""

    id: str
    """``sha256:...`` of its configuration."""
    names: tuple[str, ...] = ()
    """Whole references with tags."""
    digests: tuple[str, ...] = ()
    """``sha256:...`` of manifests that described it."""
    size: int = 0
    """Bytes of its files."""
    created: str = ""
    loaded: float = 0.0
    """Seconds since the epoch."""
    run: RunConfig = RunConfig()


class _Index(msgspec.Struct, frozen=True):
    images: tuple[Image, ...] = ()


class ImageStore:
    """The images below one directory.

    Args:
        root: the directory; it is made when the first image comes.
        limits: of one image.
    """

    def __init__(self, root: Path, *, limits: Limits | None = None) -> None:
        self.root = root
        self._limits = limits or Limits()
        self._known: tuple[tuple[int, int, int], _Index] | None = None

    def all(self) -> tuple[Image, ...]:
        """All images, by name.

        Raises:
            StorageError: the index cannot be read.
        """
        return tuple(sorted(self._index().images, key=lambda image: image.names or (image.id,)))

    def find(self, text: str) -> Image | None:
        """The image of a name, or of an id or 12 digits of its beginning.

        Raises:
            InvalidObject: it is no name.
            StorageError: the index cannot be read.
        """
        images = self._index().images
        if digits := references.image_id(text):
            found = [image for image in images if image.id.startswith(f"sha256:{digits}")]
            if len(found) == 1:
                return found[0]
        reference = references.parse(text)
        for called in references.meanings(reference):
            for image in images:
                if _is_called(image, called):
                    return image
        return None

    def files(self, image_id: str) -> Path:
        """The root directory of an image's files."""
        return self._directory(image_id) / "rootfs"

    def load(self, path: Path, *, names: Sequence[str] = (), now: float) -> tuple[Image, ...]:
        """Take all images of an archive or layout.

        Args:
            path: of a docker-archive, an OCI archive or an OCI layout.
            names: further names, for an archive with one image.
            now: seconds since the epoch.

        Raises:
            NotFound: no such file.
            BadImage: it is no image, or one that cannot be used; nothing of it is kept.
            InvalidObject: a name is none.
            StorageError: it does not fit, or the directory cannot be written.
        """
        wanted = tuple(_tagged(name) for name in names)
        with self._changing(), self._draft() as draft:
            with open_source(path, draft=draft, limits=self._limits) as source:
                packed = archive.images(source, where=str(path), limits=self._limits)
                if wanted and len(packed) > 1:
                    raise UsageError(f"{path} holds {len(packed)} images", "load it without --tag")
                named = [_named(image, wanted, path) for image in packed]
                have = {image.id for image in self._index().images}
                for image in packed:
                    if image.id not in have:
                        self._unpack(source, image, draft, str(path), now)
            return tuple(
                self._add(draft, image, called, now) for image, called in zip(packed, named, strict=True)
            )

    def remove(self, text: str) -> tuple[str, ...]:
        """Remove a name, and the image with its last one; by id, with all names.

        Returns:
            What was removed: names, and the id where the image went.

        Raises:
            NotFound: there is none.
            Unavailable: a container runs it.
        """
        with self._changing():
            image = self.find(text)
            if image is None:
                raise NotFound(f"image {text} is not loaded", "see: netloom image ls")
            others = self._without(image)
            gone = image.names
            if not references.image_id(text) or not image.id.startswith(
                f"sha256:{references.image_id(text)}"
            ):
                reference = references.parse(text)
                gone = tuple(n for n in image.names if n == str(reference)) or image.names
            left = tuple(name for name in image.names if name not in gone)
            if left:
                self._write((*others, msgspec.structs.replace(image, names=left)))
                return gone
            with self._alone(image):
                self._write(others)
            self._sweep()
            return (*gone, image.id)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile, and what others left unfinished is gone."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"{self.root}: {error.strerror}", "set NETLOOM_HOME to a directory of yours"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._sweep()
            yield
        except OSError as error:
            raise StorageError(
                f"{self.root}: {error.strerror or error}", "free some space, or look at it"
            ) from error
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _draft(self) -> Iterator[Path]:
        """A directory for what is not finished; whatever is in it at the end goes."""
        draft = self.root / f"{_DRAFT}{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        try:
            yield draft
        finally:
            _remove(draft)

    def _sweep(self) -> None:
        named = {image.id.removeprefix("sha256:") for image in self._index().images}
        for entry in self.root.iterdir():
            if entry.is_dir() and entry.name not in named:
                _remove(entry)

    def _unpack(self, source: Source, image: Packed, draft: Path, where: str, now: float) -> None:
        directory = draft / image.id.removeprefix("sha256:")
        if directory.exists():
            return  # twice in one archive
        (directory / "rootfs").mkdir(parents=True, mode=0o755)
        root = os.open(directory / "rootfs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            unpacker = Unpacker(root, where=where, limits=self._limits)
            for part, diff_id in zip(image.layers, image.config.rootfs.diff_ids, strict=True):
                with source.open(part) as packed:
                    unpacker.layer(packed, diff_id)
        finally:
            os.close(root)
        (directory / _HELD).touch(mode=0o600)
        made = Image(
            id=image.id,
            size=unpacker.size,
            created=image.config.created,
            loaded=now,
            run=image.config.config or RunConfig(),
        )
        (directory / "image.json").write_bytes(msgspec.json.encode(made))

    def _add(self, draft: Path, packed: Packed, names: Sequence[str], now: float) -> Image:
        """Put what is unpacked into its place, then into the index; names that others had are its own now."""
        made = draft / packed.id.removeprefix("sha256:")
        target = self._directory(packed.id)
        if made.exists():
            _remove(target)
            os.rename(made, target)
        known = msgspec.json.decode((target / "image.json").read_bytes(), type=Image)
        former = next((i for i in self._index().images if i.id == packed.id), known)
        image = msgspec.structs.replace(
            former,
            names=tuple(dict.fromkeys((*former.names, *names))),
            digests=tuple(dict.fromkeys((*former.digests, *([packed.digest] if packed.digest else [])))),
            loaded=now,
        )
        others = [
            msgspec.structs.replace(other, names=tuple(n for n in other.names if n not in names))
            for other in self._without(image)
        ]
        self._write((*others, image))
        return image

    def _without(self, image: Image) -> tuple[Image, ...]:
        return tuple(other for other in self._index().images if other.id != image.id)

    @contextlib.contextmanager
    def _alone(self, image: Image) -> Iterator[None]:
        """No container runs the image, and none begins to.

        Raises:
            Unavailable: one does.
        """
        fd = os.open(self._directory(image.id) / _HELD, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            name = next(iter(image.names), image.id)
            raise Unavailable(f"image {name} is in use by a container", "delete its pods first") from error
        finally:
            os.close(fd)

    def hold(self, image_id: str) -> int:
        """A descriptor that keeps an image from being removed while anybody has it open.

        Raises:
            NotFound: the image is not there (any more).
        """
        try:
            fd = os.open(self._directory(image_id) / _HELD, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            raise NotFound(f"image {image_id[:19]} is being removed", "load it again") from error
        return fd

    def _directory(self, image_id: str) -> Path:
        return self.root / image_id.removeprefix("sha256:")

    def _index(self) -> _Index:
        path = self.root / _INDEX
        try:
            found = path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if self._known is None or self._known[0] != mark:
                self._known = mark, msgspec.json.decode(path.read_bytes(), type=_Index)
        except FileNotFoundError:
            return _Index()
        except (OSError, msgspec.DecodeError) as error:
            raise StorageError(
                f"{path}: {error}", "remove the directory, and load the images again"
            ) from error
        return self._known[1]

    def _write(self, images: Sequence[Image]) -> None:
        new = self.root / f"{_INDEX}.new"
        with new.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.encode(_Index(tuple(images))))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self.root / _INDEX)


def _named(image: Packed, wanted: Sequence[str], path: Path) -> tuple[str, ...]:
    """Whole names of an image of an archive.

    Raises:
        UsageError: it has none, or only a tag.
    """
    if wanted:
        return tuple(wanted)
    found = []
    for name in image.names:
        with contextlib.suppress(InvalidObject):
            reference = references.parse(name)
            # OCI layouts name an image by a tag alone, which reads like a name
            if "/" in name or ":" in name:
                found.append(str(reference))
    if not found:
        raise BadImage(f"{path}: does not say what the image is called", "load it with --tag NAME[:TAG]")
    return tuple(found)


def _tagged(name: str) -> str:
    reference = references.parse(name, subject="--tag")
    if reference.digest:
        raise InvalidObject("--tag", "", f"{name!r} has a digest", "write NAME[:TAG]")
    return str(reference)


def _is_called(image: Image, reference: Reference) -> bool:
    if reference.digest:
        repositories = {references.parse(name).repository for name in image.names}
        return reference.digest in (*image.digests, image.id) and reference.repository in repositories
    return str(reference) in image.names


def _remove(path: Path) -> None:
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove(path.name, fd)
    finally:
        os.close(fd)
