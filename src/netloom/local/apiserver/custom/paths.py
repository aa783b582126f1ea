"""Paths of definitions: the JSONPath of columns, and the simple ones of scale and selectable fields. Pure.

Comes in: a text such as ``.status.conditions[?(@.type=="Ready")].status``. Goes out: a Path that finds values in documents. Source: Kubernetes' JSONPath
("JSONPath Support"), as far as columns use it: fields, indices, slices, wildcards, recursive descent, filters, unions.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from netloom.local.apiserver.jsonvalue import Json

_FIELD = re.compile(r"((?:[^.\[\]\\'\"()?@*]|\\.)+)")
_FILTER = re.compile(
    r"""\[\?\(\s*@(?P<path>(?:[.\[][^=!<>]*?)?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>"[^"]*"|'[^']*'|-?\d+(?:\.\d+)?|true|false|null))?\s*\)\]"""
)
_SLICE = re.compile(r"\[(-?\d*):(-?\d*)(?::(\d+))?\]")
_INDEX = re.compile(r"\[(-?\d+(?:\s*,\s*-?\d+)*)\]")
_NAMES = re.compile(r"""\[((?:'[^']*'|"[^"]*")(?:\s*,\s*(?:'[^']*'|"[^"]*"))*)\]""")
_SIMPLE = re.compile(r"(\.[A-Za-z_$][-A-Za-z0-9_$]*)+\Z")
_LONGEST = 4096

Step = Callable[[Json], Iterator[Json]]
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class BadPath(ValueError):
    """Not a path; the message says where."""


class Path:
    """A path as the steps that it takes."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps

    def values(self, document: Json) -> list[Json]:
        """All values that the path leads to, in the document's order."""
        found = [document]
        for step in self._steps:
            found = [below for one in found for below in step(one)]
        return found


@functools.lru_cache(maxsize=4096)
def path(text: str) -> Path:
    """The path that a text is.

    Raises:
        BadPath: it is none.
    """
    if len(text) > _LONGEST:
        raise BadPath(f"longer than {_LONGEST} characters")
    text = text.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    steps: list[Step] = []
    index = 0
    while index < len(text):
        index, step = _step(text, index)
        steps.append(step)
    return Path(tuple(steps))


def _step(text: str, index: int) -> tuple[int, Step]:
    if text.startswith("..", index):
        end, below = _step(text, index + 1)
        return end, lambda value: (found for one in _deep(value) for found in below(one))
    if text.startswith((".*", "[*]"), index):
        return index + (2 if text[index] == "." else 3), _all
    if text[index] != "[":
        name = _FIELD.match(text, index + (text[index] == "."))
        if name is None:
            raise BadPath(f"unrecognized character at {index} of {text!r}")
        return name.end(), _field(re.sub(r"\\(.)", r"\1", name[1]))
    for pattern, made in ((_FILTER, _filter), (_SLICE, _slice), (_INDEX, _indices), (_NAMES, _names)):
        if match := pattern.match(text, index):
            return match.end(), made(match)
    raise BadPath(f"invalid array index or filter at {index} of {text!r}")


def _all(value: Json) -> Iterator[Json]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _deep(value: Json) -> Iterator[Json]:
    yield value
    for below in _all(value):
        yield from _deep(below)


def _field(name: str) -> Step:
    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _names(match: re.Match[str]) -> Step:
    names = [name for pair in re.findall(r"'([^']*)'|\"([^\"]*)\"", match[1]) for name in pair if name]

    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, dict):
            yield from (value[name] for name in names if name in value)

    return step


def _indices(match: re.Match[str]) -> Step:
    wanted = [int(number) for number in match[1].split(",")]

    def step(value: Json) -> Iterator[Json]:
        if isinstance(value, list):
            yield from (value[number] for number in wanted if -len(value) <= number < len(value))

    return step


def _slice(match: re.Match[str]) -> Step:
    first, last, width = (int(part) if part else None for part in match.groups())
    if width == 0:
        raise BadPath("step of a slice must be >= 1")
    part = slice(first, last, width)
    return lambda value: iter(value[part]) if isinstance(value, list) else iter(())


def _filter(match: re.Match[str]) -> Step:
    below = path(match["path"]) if match["path"] else Path(())
    word, compare = match["value"], _COMPARE.get(match["op"] or "")
    wanted = _literal(word) if word else None

    def holds(item: Json) -> bool:
        found = below.values(item)
        if compare is None:
            return bool(found)
        try:
            return bool(found) and compare(found[0], wanted)
        except TypeError:
            return False

    def step(value: Json) -> Iterator[Json]:
        yield from (item for item in _all(value) if holds(item))

    return step


def _literal(word: str) -> Json:
    return word[1:-1] if word[0] in "'\"" else msgspec.json.decode(word)


def is_simple(text: str) -> bool:
    """Fields only, such as ``.spec.replicas``."""
    return _SIMPLE.match(text) is not None


def get(document: Mapping[str, Any], simple: str) -> Json:
    """The value at a simple path; None where it leads nowhere."""
    found: Json = document
    for name in simple.lstrip(".").split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def put(document: dict[str, Any], simple: str, value: Json) -> None:
    """Write a value at a simple path; what is on the way is made where it is missing."""
    *parents, last = simple.lstrip(".").split(".")
    here = document
    for name in parents:
        if not isinstance(here.get(name), dict):
            here[name] = {}
        here = here[name]
    here[last] = value
