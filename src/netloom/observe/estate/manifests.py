"""Manifests, read for what they say of reachability: files, directories and standard input, in YAML or JSON.

Comes in: paths. Goes out: typed objects, each with its file and place, and what was passed over. Everything is read before anything
is done with it. Policies and ports of Services are read as strictly as the model reads them: what an API server would refuse is an
error here, too. Not here: objects of a cluster (``cluster.py``).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import yaml

from netloom.api.cluster_policy import ClusterNetworkPolicy
from netloom.api.core import Service
from netloom.api.meta import KubeObject
from netloom.api.networking import NetworkPolicy
from netloom.api.nulls import without_nulls
from netloom.errors import UsageError
from netloom.kube.manifests import MAX_BYTES, SUFFIXES
from netloom.kube.yaml_loader import Loader
from netloom.model.policy.reading.cluster_policy import read_cluster_policy
from netloom.model.policy.reading.network_policy import read_network_policy
from netloom.model.provenance import Finding, source_of
from netloom.model.services.ports import read_ports
from netloom.observe.estate.estate import Ref, ref_of
from netloom.observe.estate.kinds import BY_NAME, FOREIGN_POLICIES

STDIN = "-"
_AT = re.compile(r"(?P<problem>.*?)(?: - at `\$?\.?(?P<field>.*)`)?", re.DOTALL)
_NOT_YET = "are not looked up yet"
"""A rule that can be read, and has no effect yet: told, but no error."""


class Given(msgspec.Struct, frozen=True):
    """One object of one file."""

    ref: Ref
    obj: KubeObject
    file: str
    place: int
    """Which document of the file, from 1."""


class Manifests(msgspec.Struct, frozen=True):
    """All objects that were given, in order, and what else was found."""

    given: tuple[Given, ...] = ()
    notes: tuple[str, ...] = ()


def read_manifests(paths: Sequence[str], namespace: str = "default") -> Manifests:
    """Every object in these files and directories (recursively, in order of names), and of ``-``, standard input.

    Kinds that say nothing of reachability are passed over, and counted in a note. Objects without a namespace are of ``namespace``.

    Raises:
        UsageError: a file cannot be read, is no YAML, or holds something that is no object, or none that can be used.
    """
    given: list[Given] = []
    passed: Counter[str] = Counter()
    notes: list[str] = []
    for path in paths:
        for name, text in _texts(path):
            for place, document in _documents(name, text):
                reader = _Reader(name, place, namespace)
                given += reader.read(document)
                passed += reader.passed
                notes += reader.notes
    foreign = sorted(set(passed) & FOREIGN_POLICIES)
    notes += [
        f"{kind} is a policy that is not read: the answer is as though there were none" for kind in foreign
    ]
    others = sorted(set(passed) - FOREIGN_POLICIES)
    if others:
        notes.append(f"passed over: {', '.join(f'{passed[kind]} {kind}' for kind in others)}")
    return Manifests(tuple(given), tuple(notes))


def _texts(path: str) -> Iterator[tuple[str, str]]:
    """Name and text of each file."""
    if path == STDIN:
        yield "standard input", sys.stdin.read()
        return
    root = Path(path)
    if root.is_dir():
        files = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES and p.is_file())
        if not files:
            raise UsageError(f"{path}: no manifests in this directory", "they end in .yaml, .yml or .json")
    elif root.exists():
        files = [root]
    else:
        raise UsageError(f"{path}: no such file or directory", "give a manifest or a directory of them")
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise UsageError(f"{file}: larger than {MAX_BYTES // 1024**2} MiB", "split the file")
            yield str(file), file.read_text()
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}", "give a readable file") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{file}: is not UTF-8 text (byte {error.start})", "save it as UTF-8") from error


def _documents(name: str, text: str) -> Iterator[tuple[int, object]]:
    try:
        documents = list(yaml.load_all(text, Loader=Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}:" if mark else ""
        raise UsageError(f"{name}:{where} {error.problem or 'is no YAML'}", "mend the YAML there") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: is no YAML: {error}", "mend the file") from error
    return ((place, document) for place, document in enumerate(documents, 1) if document is not None)


class _Reader:
    """One document of one file."""

    def __init__(self, file: str, place: int, namespace: str) -> None:
        self._file = file
        self._place = place
        self._namespace = namespace
        self.passed: Counter[str] = Counter()
        self.notes: list[str] = []

    def read(self, document: object) -> Iterator[Given]:
        """The objects in it."""
        where = f"{self._file}: document {self._place}"
        if not isinstance(document, dict):
            raise UsageError(f"{where}: is no object", "each document needs apiVersion, kind and metadata")
        kind, version = document.get("kind"), document.get("apiVersion")
        for field, value in (("apiVersion", version), ("kind", kind)):
            if not isinstance(value, str) or not value:
                hint = "each document needs apiVersion, kind and metadata"
                raise UsageError(f"{where}: {field}: is not set", hint)
        if str(kind).endswith("List") and isinstance(document.get("items"), list):
            for item in document["items"]:
                yield from self.read(item)
            return
        known = BY_NAME.get(str(kind))
        if known is None or (known.resource.group != str(version).rpartition("/")[0] and "." in str(version)):
            self.passed[str(kind)] += 1
            return
        if version != known.resource.api_version:
            hint = f"write apiVersion: {known.resource.api_version}"
            raise UsageError(f"{where}: apiVersion: {version} {kind} is not served", hint)
        yield self._object(where, str(kind), document)

    def _object(self, where: str, kind: str, document: dict[str, object]) -> Given:
        document = without_nulls(document)
        metadata = document.get("metadata")
        if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
            raise UsageError(f"{where}: {kind}: metadata.name: is not set", "name the object")
        metadata.setdefault("name", f"{metadata.get('generateName')}x")
        known = BY_NAME[kind]
        if not known.resource.namespaced:
            metadata.pop("namespace", None)
        elif not metadata.get("namespace"):
            metadata["namespace"] = self._namespace
        name = (
            f"{metadata['namespace']}/{metadata['name']}" if known.resource.namespaced else metadata["name"]
        )
        subject = f"{self._file}: document {self._place}: {kind} {name}"
        try:
            obj = msgspec.convert(document, known.type)
        except msgspec.ValidationError as error:
            raise _unusable(subject, str(error)) from error
        for finding in _findings(obj):
            text = f"{subject}: {finding.source.field}: {finding.problem}"
            if _NOT_YET not in finding.problem:
                raise UsageError(text, finding.hint)
            self.notes.append(text)
        return Given(ref_of(kind, obj), obj, self._file, self._place)


def _findings(obj: KubeObject) -> tuple[Finding, ...]:
    match obj:
        case NetworkPolicy():
            return read_network_policy(obj).findings
        case ClusterNetworkPolicy():
            return read_cluster_policy(obj).findings
        case Service():
            return read_ports(obj, source_of("Service", obj.metadata))[1]
        case _:
            return ()


def _unusable(subject: str, message: str) -> UsageError:
    match = _AT.fullmatch(message)
    field = match["field"] if match is not None else None
    problem = match["problem"] if match is not None else message
    where = f"{subject}: {field}" if field else subject
    return UsageError(f"{where}: {problem[:1].lower()}{problem[1:]}", "correct the field that is named")
