"""Documents that may be wrong in places: what can be read is read, and what cannot is named by its field. Pure.

Comes in: a JSON value and a struct all of whose fields have defaults. Goes out: the struct, and each field that was left at its default
because what was written there is none. Not here: what a field means.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

import msgspec

from netloom.api.nulls import without_nulls

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_MOST = 64
"""Fields of one document that are read as absent before nothing of it is believed."""
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class Unread(msgspec.Struct, frozen=True, order=True, gc=False):
    """A field that counts as absent, since what is written there cannot be read."""

    field: str
    """``spec.rules[2].matches[0].path.value``."""
    problem: str


class Reading(msgspec.Struct, Generic[T_co], frozen=True):
    """What a document says."""

    value: T_co
    unread: tuple[Unread, ...] = ()

    def under(self, field: str) -> tuple[Unread, ...]:
        """What could not be read at or below this field."""
        if not self.unread:
            return ()
        return tuple(
            u for u in self.unread if u.field == field or u.field.startswith((field + ".", field + "["))
        )


def read(document: object, type_: type[T], field: str = "spec") -> Reading[T]:
    """The document as this struct.

    Args:
        document: as JSON has it; None is an empty one.
        type_: a struct that can be made of nothing.
        field: where the document stands in its object.
    """
    if document is None:
        return Reading(type_())
    try:
        return Reading(msgspec.convert(document, type_))
    except msgspec.ValidationError:
        return _read_in_places(without_nulls(document), type_, field)


def _read_in_places(document: object, type_: type[T], field: str) -> Reading[T]:
    """``document`` is a copy: what cannot be read is taken out of it, one field after the other."""
    unread: dict[str, Unread] = {}
    for _ in range(_MOST):
        try:
            return Reading(msgspec.convert(document, type_), tuple(unread.values()))
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at ")
            steps = _steps(path.strip("`"), document)
            at = field + _text(steps)
            unread.setdefault(at, Unread(at, problem))
            if not steps or not _take_out(document, steps):
                break
    return Reading(type_(), tuple(unread.values()))


def _steps(path: str, document: object) -> list[str | int]:
    """``$.listeners[0].port`` as keys and numbers; ``[...]`` is some value of an object whose keys are free."""
    steps: list[str | int] = []
    here = document
    for key, number in _STEP.findall(path.removeprefix("$")):
        if number == "...":
            found = _odd_one(here)
            if found is None:
                return steps
            steps.append(found)
        else:
            steps.append(int(number) if number else key)
        here = _inside(here, steps[-1])
    return steps


def _odd_one(mapping: object) -> str | None:
    """The first key whose value is no text: free keys have texts everywhere in the kinds that are read here."""
    if not isinstance(mapping, dict):
        return None
    return next((key for key, value in mapping.items() if not isinstance(value, str)), None)


def _inside(document: object, step: str | int) -> object:
    try:
        return document[step]  # type: ignore[index] # whatever it is, it may have none
    except (TypeError, KeyError, IndexError):
        return None


def _take_out(document: object, steps: list[str | int]) -> bool:
    """Whether there was something to take out. In a list an empty one of the same kind takes the place, so that numbers stay."""
    for step in steps[:-1]:
        document = _inside(document, step)
    last = steps[-1]
    if isinstance(document, dict) and last in document:
        del document[last]
        return True
    if isinstance(document, list) and isinstance(last, int) and last < len(document):
        document[last] = "" if document[last] == {} else {}
        return True
    return False


def _text(steps: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
