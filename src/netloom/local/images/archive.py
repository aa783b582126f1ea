"""What is in an image archive: docker-archive (``docker save``), OCI archive and OCI layout. In: parts; out: Packed images.

Formats: image-spec 1.1 (``oci-layout``, ``index.json``, ``blobs``), and Docker's ``manifest.json``. Every document is checked
against the digest that names it. Not here: the layers' contents (``unpack``).
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from netloom.local.images.limits import BadImage, Limits
from netloom.local.images.sources import BAD, Source

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INDEXES = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
"""Annotations that name an image; the second may be a tag alone."""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_T = TypeVar("_T")
DOCKER, LAYOUT, INDEX = "manifest.json", "oci-layout", "index.json"


class RunConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """How a container of the image starts (image-spec ``config``)."""

    user: str = ""
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    stop_signal: str = ""
    volumes: dict[str, dict[str, str]] | None = None
    labels: dict[str, str] | None = None


class RootFs(msgspec.Struct, frozen=True):
    """Digests of the layers, unpacked, the lowest first."""

    diff_ids: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """An image's configuration, as far as it is read."""

    architecture: str = ""
    os: str = ""
    config: RunConfig | None = None
    rootfs: RootFs = RootFs()
    created: str = ""


class Packed(msgspec.Struct, frozen=True):
    """One image as it lies in an archive."""

    id: str
    """``sha256:...`` of its configuration."""
    config: Config
    layers: tuple[str, ...]
    """Names of parts."""
    names: tuple[str, ...] = ()
    digest: str = ""
    """Of its manifest, where the archive has one."""


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: str
    media_type: str = ""
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Index(msgspec.Struct, frozen=True):
    manifests: tuple[_Descriptor, ...] = ()


class _Manifest(msgspec.Struct, frozen=True):
    config: _Descriptor
    layers: tuple[_Descriptor, ...] = ()


class _DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: tuple[str, ...] = ()
    repo_tags: tuple[str, ...] | None = None


def machine() -> str:
    """This machine's architecture, as images name it."""
    return _MACHINES.get(platform.machine(), platform.machine())


def images(source: Source, *, where: str, limits: Limits) -> tuple[Packed, ...]:
    """All images of an archive or layout that this machine can run.

    Raises:
        BadImage: it holds none, or is damaged.
    """
    reader = _Reader(source, where, limits)
    if source.has(DOCKER):
        found = tuple(reader.docker())
    elif source.has(INDEX):
        found = tuple(reader.layout())
    else:
        raise BadImage(
            f"{where}: not an image: it has neither {DOCKER} nor {INDEX}",
            "make one with: docker save, podman save, skopeo copy",
        )
    if not found:
        raise BadImage(f"{where}: holds no image for linux/{machine()}", "pull or save it for this machine")
    return found


class _Reader:
    def __init__(self, source: Source, where: str, limits: Limits) -> None:
        self._source = source
        self._where = where
        self._limits = limits

    def docker(self) -> Iterator[Packed]:
        for image in self._decode(self._document(DOCKER), tuple[_DockerImage, ...], DOCKER):
            raw = self._document(image.config)
            found = _digest(raw)
            named = re.search(r"[0-9a-f]{64}", image.config)
            if named is not None and f"sha256:{named[0]}" != found:
                raise BadImage(f"{self._where}: {image.config} is damaged: its digest is {found}")
            yield self._packed(found, raw, image.layers, image.repo_tags or (), "")

    def layout(self) -> Iterator[Packed]:
        if not self._source.has(LAYOUT):
            raise BadImage(f"{self._where}: not an OCI layout: it has no {LAYOUT}")
        index = self._decode(self._document(INDEX), _Index, INDEX)
        for descriptor in index.manifests:
            yield from self._described(descriptor, _names(descriptor), self._limits.depth)

    def _described(self, descriptor: _Descriptor, names: Sequence[str], depth: int) -> Iterator[Packed]:
        if not _is_for_us(descriptor.platform):
            return
        raw = self._blob(descriptor)
        if descriptor.media_type in _INDEXES:
            if depth == 0:
                raise BadImage(f"{self._where}: indexes within indexes, more than {self._limits.depth}")
            for inner in self._decode(raw, _Index, descriptor.digest).manifests:
                yield from self._described(inner, (*names, *_names(inner)), depth - 1)
            return
        manifest = self._decode(raw, _Manifest, descriptor.digest)
        layers = tuple(self._path(layer.digest) for layer in manifest.layers)
        config = self._blob(manifest.config)
        if not _is_for_us(self._decode(config, _Platform, manifest.config.digest)):
            return
        yield self._packed(manifest.config.digest, config, layers, names, descriptor.digest)

    def _packed(
        self, found: str, raw: bytes, layers: Sequence[str], names: Sequence[str], digest: str
    ) -> Packed:
        config = self._decode(raw, Config, found)
        subject = f"{self._where}: image {found[:19]}"
        if config.os not in {"", "linux"} or config.architecture not in {"", machine()}:
            raise BadImage(
                f"{subject} is for {config.os}/{config.architecture}, and this machine is linux/{machine()}",
                "pull or save it for this machine",
            )
        if len(layers) > self._limits.layers:
            raise BadImage(f"{subject} has {len(layers)} layers; at most {self._limits.layers} are taken")
        if len(layers) != len(config.rootfs.diff_ids):
            raise BadImage(
                f"{subject} has {len(layers)} layers, and its configuration names {len(config.rootfs.diff_ids)}"
            )
        if not all(_DIGEST.fullmatch(digest) for digest in config.rootfs.diff_ids):
            raise BadImage(f"{subject}: rootfs.diff_ids are no sha256 digests")
        return Packed(found, config, tuple(layers), tuple(dict.fromkeys(names)), digest)

    def _blob(self, descriptor: _Descriptor) -> bytes:
        raw = self._document(self._path(descriptor.digest))
        if _digest(raw) != descriptor.digest:
            raise BadImage(f"{self._where}: {descriptor.digest} is damaged: its digest is {_digest(raw)}")
        return raw

    def _path(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise BadImage(f"{self._where}: {digest[:80]!r} is no sha256 digest")
        return "blobs/" + digest.replace(":", "/")

    def _document(self, name: str) -> bytes:
        try:
            with self._source.open(name) as part:
                raw = part.read(self._limits.document + 1)
        except BAD as error:
            raise BadImage(f"{self._where}: {name} is damaged: {error}") from error
        if len(raw) > self._limits.document:
            raise BadImage(f"{self._where}: {name} has more than {self._limits.document >> 20} MiB")
        return raw

    def _decode(self, raw: bytes, kind: type[_T], name: str) -> _T:
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadImage(f"{self._where}: {name}: {error}") from error


def _names(descriptor: _Descriptor) -> tuple[str, ...]:
    annotations = descriptor.annotations or {}
    return tuple(annotations[key] for key in _NAMES if annotations.get(key))[:1]


def _is_for_us(where: _Platform | None) -> bool:
    return where is None or (where.os in {"", "linux"} and where.architecture in {"", machine()})


def _digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"
