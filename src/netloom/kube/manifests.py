"""Manifests as people write them: files and directories of YAML or JSON, read whole before anything is done.

In: paths. Out: Manifests that know their file and place in it, or one UsageError that names them. Not here: what a field
may hold; the API server says that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from netloom.errors import UsageError
from netloom.kube import resources
from netloom.kube.resources import Resource
from netloom.kube.yaml_loader import Loader

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_BYTES = 8 * 1024 * 1024
_KINDS = {(r.group, r.version, r.kind): r for r in vars(resources).values() if isinstance(r, Resource)}
_FIRST = ("Namespace", "ServiceAccount", "ConfigMap", "Secret")
"""Kinds that others need: applied before the rest, whatever the order of files."""


class Manifest(msgspec.Struct, frozen=True):
    """One object of one file."""

    file: str
    place: int
    """Which document of the file, from 1."""
    resource: Resource
    body: dict[str, Any]

    @property
    def subject(self) -> str:
        """How messages name it: ``Service shop/cart (examples/shop/30-cart.yaml, document 2)``."""
        metadata = self.body["metadata"]
        namespace = metadata.get("namespace", "")
        name = f"{namespace}/{metadata.get('name', '')}" if namespace else metadata.get("name", "")
        return f"{self.resource.kind} {name} ({self.file}, document {self.place})"


def load(paths: Sequence[str]) -> list[Manifest]:
    """Every object in these files and directories (recursively, in order of names), namespaces first.

    Raises:
        UsageError: a file cannot be read, is no YAML, or holds something that is no object of a known kind.
    """
    found = [manifest for path in paths for file in _files(Path(path)) for manifest in _read(file)]
    rank = {kind: i for i, kind in enumerate(_FIRST)}
    return sorted(found, key=lambda m: rank.get(m.resource.kind, len(_FIRST)))


def documents(paths: Sequence[str]) -> list[dict[str, Any]]:
    """Every object in these files and directories, whatever its kind, lists taken apart; ``-`` is standard input.

    Raises:
        UsageError: a file cannot be read, is no YAML, or holds something that is no object.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        if path == "-":
            found += _plain(Path("standard input"), _parsed(Path("standard input"), sys.stdin.read()))
        else:
            for file in _files(Path(path)):
                found += _plain(file, _parsed(file, _text(file)))
    return found


def _plain(path: Path, parsed: Iterable[object]) -> Iterator[dict[str, Any]]:
    for place, document in enumerate(parsed, 1):
        if document is None:
            continue
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise UsageError(
                f"{path}: document {place}: is no object", "each document needs apiVersion and kind"
            )
        if document["kind"].endswith("List") and isinstance(document.get("items"), list):
            yield from _plain(path, document["items"])
        else:
            yield document


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not inside:
            raise UsageError(f"-f {path}: no manifests in this directory", "they end in .yaml, .yml or .json")
        yield from inside
    elif path.exists():
        yield path
    else:
        raise UsageError(f"-f {path}: no such file or directory", "give a manifest or a directory of them")


def _read(path: Path) -> Iterator[Manifest]:
    for place, document in enumerate(_parsed(path, _text(path)), 1):
        if document is not None:
            yield from _objects(path, place, document)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES // 1024**2} MiB", "split the file")
        return path.read_text()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "give a readable file") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def _parsed(path: Path, text: str) -> list[object]:
    try:
        return list(yaml.load_all(text, Loader=Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UsageError(f"{path}:{where} {error.problem or 'is no YAML'}", "mend the YAML there") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: is no YAML: {error}", "mend the file") from error


def _objects(path: Path, place: int, document: object) -> Iterable[Manifest]:
    where = f"{path}: document {place}"
    if not isinstance(document, dict):
        raise UsageError(f"{where}: is no object", "each document needs apiVersion, kind and metadata")
    if document.get("kind") == "List":
        for item in document.get("items") or ():
            yield from _objects(path, place, item)
        return
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str):
            raise UsageError(
                f"{where}: {field}: is not set", "each document needs apiVersion, kind and metadata"
            )
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        raise UsageError(f"{where}: metadata.name: is not set", "name the object")
    group, _, version = document["apiVersion"].rpartition("/")
    resource = _KINDS.get((group, version, document["kind"]))
    if resource is None:
        known = sorted({k for g, v, k in _KINDS if (g, v) == (group, version)})
        hint = f"{document['apiVersion']} has: {', '.join(known)}" if known else "see: kubectl api-resources"
        raise UsageError(
            f"{where}: apiVersion/kind: unknown kind {document['apiVersion']} {document['kind']}", hint
        )
    yield Manifest(str(path), place, resource, document)
