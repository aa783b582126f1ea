"""JSON patch (RFC 6902) and JSON merge patch (RFC 7386). Pure.

Comes in: a document and a decoded patch. Goes out: a new document; the given one is never changed. Not here: strategic
merge patch (strategic.py), server-side apply (apply.py), what the result must satisfy (validate.py).
"""

from __future__ import annotations

import copy
import re
from typing import Any

from netloom.errors import InvalidObject
from netloom.local.apiserver.jsonvalue import Json

MAX_OPERATIONS = 10_000
"""Most operations of one JSON patch, as kube-apiserver limits them."""

_INDEX = re.compile(r"(0|[1-9]\d*)\Z")
_MEMBERS = {
    "add": ("path", "value"), "remove": ("path",), "replace": ("path", "value"),
    "move": ("from", "path"), "copy": ("from", "path"), "test": ("path", "value"),
}  # fmt: skip


class BadPatch(InvalidObject):
    """A patch that cannot be used.

    Args:
        code: HTTP status: 400 where the patch is malformed, 422 where it does not fit the document.
        field: path within the patch, such as ``[2].path``; may be empty.
        problem: what is wrong.
        hint: what would be right.
    """

    def __init__(self, code: int, field: str, problem: str, hint: str = "") -> None:
        self.code = code
        super().__init__("patch", field, problem, hint)


def merge_patch(document: Json, patch: Json) -> Json:
    """RFC 7386: members of objects replaced one by one, null removes, everything else replaces whole."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def merge_patch_object(document: dict[str, Any], patch: Json) -> dict[str, Any]:
    """A merge patch for an API object.

    Raises:
        BadPatch: 400, the patch is not an object.
    """
    if not isinstance(patch, dict):
        raise BadPatch(400, "", f"a merge patch must be an object, not {_kind(patch)}")
    merged: dict[str, Any] = merge_patch(document, patch)
    return merged


def json_patch(document: dict[str, Any], patch: Json) -> dict[str, Any]:
    """RFC 6902: operations one after the other, all or none.

    Raises:
        BadPatch: 400, not a list of operations; 422, an operation does not fit the document or a test fails.
    """
    if not isinstance(patch, list):
        raise BadPatch(400, "", f"a JSON patch must be a list of operations, not {_kind(patch)}")
    if len(patch) > MAX_OPERATIONS:
        raise BadPatch(
            413, "", f"{len(patch)} operations; at most {MAX_OPERATIONS} are allowed", "split the patch"
        )
    for number, operation in enumerate(patch):
        _check(operation, f"[{number}]")
    # copied once; each operation then works in place
    target: Json = copy.deepcopy(document)
    for number, operation in enumerate(patch):
        target = _Operation(operation, f"[{number}]").run(target)
    if not isinstance(target, dict):
        raise BadPatch(422, "", f"the patched document is {_kind(target)}, not an object")
    return target


def _check(operation: Json, where: str) -> None:
    if not isinstance(operation, dict):
        raise BadPatch(400, where, f"an operation must be an object, not {_kind(operation)}")
    name = operation.get("op")
    if not isinstance(name, str) or name not in _MEMBERS:
        raise BadPatch(400, f"{where}.op", f"unknown operation {name!r}", f"one of {', '.join(_MEMBERS)}")
    for member in _MEMBERS[name]:
        if member not in operation:
            raise BadPatch(400, where, f"operation {name} needs {member!r}")
        if member in ("path", "from") and not isinstance(operation[member], str):
            raise BadPatch(400, f"{where}.{member}", "must be a JSON pointer such as /spec/replicas")


def pointer(text: str, where: str) -> list[str]:
    """The steps of a JSON pointer (RFC 6901).

    Raises:
        BadPatch: 400, it does not begin with a slash.
    """
    if not text:
        return []
    if not text.startswith("/"):
        raise BadPatch(400, where, f"{text!r} is no JSON pointer", "begin it with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


class _Operation:
    """One operation on a document that may be changed in place."""

    def __init__(self, operation: dict[str, Any], where: str) -> None:
        self._operation = operation
        self._where = where
        self._path = pointer(operation["path"], f"{where}.path")

    def run(self, document: Json) -> Json:
        """The document after the operation."""
        match self._operation["op"]:
            case "add":
                return self._add(document, self._path, copy.deepcopy(self._operation["value"]))
            case "remove":
                return self._remove(document, self._path, "path")
            case "replace":
                return self._replace(document)
            case "test":
                if not same(self._get(document, self._path, "path"), self._operation["value"]):
                    raise self._misfit("path", "the value there is not the tested one")
                return document
            case "copy":
                value = copy.deepcopy(self._get(document, self._source(), "from"))
                return self._add(document, self._path, value)
            case _:
                return self._move(document)

    def _source(self) -> list[str]:
        return pointer(self._operation["from"], f"{self._where}.from")

    def _move(self, document: Json) -> Json:
        source = self._source()
        if len(source) < len(self._path) and self._path[: len(source)] == source:
            raise self._misfit("from", "a value cannot be moved into itself")
        value = self._get(document, source, "from")
        return self._add(self._remove(document, source, "from"), self._path, value)

    def _replace(self, document: Json) -> Json:
        self._get(document, self._path, "path")
        value = copy.deepcopy(self._operation["value"])
        if not self._path:
            return value
        parent = self._get(document, self._path[:-1], "path")
        last = self._path[-1]
        parent[int(last) if isinstance(parent, list) else last] = value
        return document

    def _misfit(self, member: str, problem: str) -> BadPatch:
        name, path = self._operation["op"], self._operation[member]
        return BadPatch(422, f"{self._where}.{member}", f"{name} {path!r}: {problem}")

    def _get(self, document: Json, path: list[str], member: str) -> Json:
        found = document
        for step in path:
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and _INDEX.match(step) and int(step) < len(found):
                found = found[int(step)]
            else:
                raise self._misfit(member, f"there is no {step!r}")
        return found

    def _add(self, document: Json, path: list[str], value: Json) -> Json:
        if not path:
            return value
        parent, last = self._get(document, path[:-1], "path"), path[-1]
        if isinstance(parent, dict):
            parent[last] = value
        elif isinstance(parent, list) and last == "-":
            parent.append(value)
        elif isinstance(parent, list) and _INDEX.match(last) and int(last) <= len(parent):
            parent.insert(int(last), value)
        else:
            raise self._misfit("path", f"there is no place {last!r}")
        return document

    def _remove(self, document: Json, path: list[str], member: str) -> Json:
        if not path:
            raise self._misfit(member, "the whole document cannot be removed")
        self._get(document, path, member)
        parent, last = self._get(document, path[:-1], member), path[-1]
        del parent[int(last) if isinstance(parent, list) else last]
        return document


def same(one: Json, other: Json) -> bool:
    """Equality of JSON values: numbers by value, true and 1 differ."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
