"""A JSON value taken apart, field by field.

Comes in: what was written. Goes out: its parts, None where they are not what they must be, with a Finding for each. Null is
absent, as in the API's own decoder. Not here: what a field means.
"""

from __future__ import annotations

from collections.abc import Mapping

from netloom.model.provenance import Finding, Source


class Document:
    """One object under reading; ``findings`` grow with what could not be read."""

    def __init__(self, subject: Source) -> None:
        self.subject = subject
        self.findings: list[Finding] = []

    def note(self, field: str, problem: str, hint: str = "") -> None:
        """This field cannot be used as written."""
        self.findings.append(Finding(self.subject.at(field), problem, hint))

    def mapping(self, value: object, field: str, known: tuple[str, ...]) -> Mapping[str, object] | None:
        """An object that has none but the known fields: what an unknown one would mean, nobody can tell."""
        if not isinstance(value, dict):
            self.note(field, f"is no object: {short(value)}", f"write an object with {listed(known)}")
            return None
        if all(name in known for name in value) and None not in value.values():
            return value
        unknown = [str(name) for name, given in value.items() if given is not None and name not in known]
        for name in unknown:
            self.note(f"{field}.{name}", "is a field that is not known here", f"use {listed(known)}")
        return None if unknown else {name: given for name, given in value.items() if given is not None}

    def items(self, value: object, field: str) -> list[object] | None:
        """A list."""
        if isinstance(value, list):
            return value
        self.note(field, f"is no list: {short(value)}", "write a list")
        return None

    def number(self, value: object, field: str, first: int, last: int) -> int | None:
        """A whole number in a range."""
        if isinstance(value, int) and not isinstance(value, bool) and first <= value <= last:
            return value
        self.note(field, f"{short(value)} is not from {first} to {last}", "write a number in this range")
        return None


def listed(words: tuple[str, ...]) -> str:
    """``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def short(value: object) -> str:
    """A value as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
