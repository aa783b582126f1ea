"""Images made here, for tests: layers of files in a docker-archive, an OCI layout or an OCI archive. In: entries; out: files.

They are what producers of images write, by the letter of the formats (image-spec 1.1, Docker's ``manifest.json``). Not here:
what reads them (``local/images``).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.local.images.archive import machine

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a layer."""

    name: str
    content: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    uid: int = 0
    gid: int = 0
    mtime: int = 1_700_000_000
    pax: Mapping[str, str] = {}


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image."""

    layers: tuple[bytes, ...]
    """Tar archives, the lowest first."""
    config: Mapping[str, Any] = {}
    """``Entrypoint``, ``Cmd``, ``Env``, ``User`` ..."""
    architecture: str = msgspec.field(default_factory=machine)

    @property
    def document(self) -> bytes:
        """The configuration."""
        return msgspec.json.encode(
            {
                "architecture": self.architecture,
                "os": "linux",
                "created": "2024-01-01T00:00:00Z",
                "config": dict(self.config),
                "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in self.layers]},
            }
        )

    @property
    def id(self) -> str:
        """Its id."""
        return digest(self.document)


def digest(data: bytes) -> str:
    """As images name their parts."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def layer(entries: Iterable[Entry]) -> bytes:
    """A layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.name)
            member.type, member.mode, member.linkname = entry.kind, entry.mode, entry.link
            member.uid, member.gid, member.mtime = entry.uid, entry.gid, entry.mtime
            member.pax_headers = dict(entry.pax)
            member.size = len(entry.content)
            archive.addfile(member, io.BytesIO(entry.content))
    return out.getvalue()


def directory(name: str, mode: int = 0o755) -> Entry:
    """A directory."""
    return Entry(name=name, mode=mode, kind=tarfile.DIRTYPE)


def symlink(name: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(name=name, kind=tarfile.SYMTYPE, link=target, mode=0o777)


def programs(files: Mapping[str, Path], links: Mapping[str, str] | None = None) -> list[Entry]:
    """Files of this machine at other places, executable, and links to them."""
    found = [Entry(name=name, content=path.read_bytes(), mode=0o755) for name, path in files.items()]
    return [*found, *(symlink(name, target) for name, target in (links or {}).items())]


def docker_archive(path: Path, image: Image, names: Sequence[str]) -> Path:
    """As ``docker save`` and ``podman save`` write it."""
    config = f"{image.id.removeprefix('sha256:')}.json"
    layers = [f"{digest(data).removeprefix('sha256:')}.tar" for data in image.layers]
    manifest = [{"Config": config, "RepoTags": list(names), "Layers": layers}]
    parts = {
        config: image.document,
        **dict(zip(layers, image.layers, strict=True)),
        "manifest.json": msgspec.json.encode(manifest),
    }
    path.write_bytes(layer(Entry(name=name, content=data) for name, data in parts.items()))
    return path


def oci_parts(image: Image, names: Sequence[str], *, packed: bool = True) -> dict[str, bytes]:
    """An OCI layout as files by their names."""
    blobs = [gzip.compress(data, 1, mtime=0) if packed else data for data in image.layers]
    manifest = msgspec.json.encode(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(image.document, _CONFIG),
            "layers": [_descriptor(blob, _LAYER + ("+gzip" if packed else "")) for blob in blobs],
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**_descriptor(manifest, _MANIFEST), "annotations": {"org.opencontainers.image.ref.name": name}}
            for name in names
        ]
        or [_descriptor(manifest, _MANIFEST)],
    }
    parts = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": msgspec.json.encode(index)}
    return parts | {
        "blobs/" + digest(blob).replace(":", "/"): blob for blob in (manifest, image.document, *blobs)
    }


def oci_archive(path: Path, image: Image, names: Sequence[str]) -> Path:
    """As ``skopeo copy ... oci-archive:`` writes it."""
    parts = oci_parts(image, names)
    path.write_bytes(layer(Entry(name=name, content=data) for name, data in parts.items()))
    return path


def oci_layout(path: Path, image: Image, names: Sequence[str]) -> Path:
    """A directory."""
    for name, data in oci_parts(image, names).items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def _descriptor(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data)}
