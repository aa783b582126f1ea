"""Regular expressions of matches, checked before any engine sees them: RE2's language, and bounded.

Comes in: a pattern as written. Goes out: what is wrong with it, in words; empty where it can be used. Not here: matching.

An engine's matcher may go back and try again, so what costs without bound there is refused here: references back, looking around, and a
repetition of nothing but a repetition, as in ``(a+)+``.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

LONGEST = 1024
_MOST_TIMES = 1000
"""RE2's limit of a counted repetition."""
_COUNT = re.compile(r"\{(\d*)(,?)(\d*)\}")
_LOOK = ("?=", "?!", "?<=", "?<!")
_OTHER = ("?>", "?(", "?P=", "?#")


class _Level:
    """One open group: whether its last alternative is a single repeated thing so far."""

    def __init__(self) -> None:
        self.atoms = 0
        self.is_repeated = False
        """The only atom of this alternative is repeated without bound."""
        self.was_repeated = False
        """So was that of an alternative before."""


@lru_cache(maxsize=4096)
def trouble(pattern: str) -> str:
    """What is wrong with this pattern; empty: nothing."""
    if len(pattern) > LONGEST:
        return f"is longer than {LONGEST} characters"
    found = _Scan(pattern).trouble()
    if found:
        return found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    except Warning:
        # ``[[:alpha:]]``, ``[a&&b]``: a class within a class to some, characters to others
        return "has [, --, &&, ~~ or || within a class, which is not read alike everywhere; escape it"
    return ""


def cost(pattern: str) -> str:
    """What of this could cost an engine that goes back too much; empty: nothing. Whether it is a pattern is not asked."""
    return _Scan(pattern).trouble()


class _Scan:
    """One reading of a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._levels = [_Level()]
        self._last_repeats = False
        """The last atom was a group that is nothing but a repetition."""

    def trouble(self) -> str:
        while self._at < len(self._text):
            found = self._step(self._text[self._at])
            if found:
                return found
        return ""

    def _step(self, char: str) -> str:
        match char:
            case "\\":
                return self._escape()
            case "[":
                self._class()
            case "(":
                return self._open()
            case ")":
                self._close()
            case "|":
                self._alternative()
            case "*" | "+" | "?" | "{":
                return self._quantifier(char)
            case _:
                self._atom()
                self._at += 1
        return ""

    def _atom(self, *, repeats: bool = False) -> None:
        level = self._levels[-1]
        level.atoms += 1
        level.is_repeated = repeats
        self._last_repeats = repeats

    def _escape(self) -> str:
        following = self._text[self._at + 1 : self._at + 2]
        if following.isdigit() and following != "0":
            return f"refers back with \\{following}, which is not supported"
        self._atom()
        self._at += 2
        return ""

    def _class(self) -> None:
        at = self._at + 1
        if self._text[at : at + 1] == "^":
            at += 1
        if self._text[at : at + 1] == "]":
            at += 1
        while at < len(self._text) and self._text[at] != "]":
            at += 2 if self._text[at] == "\\" else 1
        self._at = at + 1
        self._atom()

    def _open(self) -> str:
        rest = self._text[self._at + 1 : self._at + 4]
        if rest.startswith(_LOOK):
            return "looks around with (?= (?! (?<= or (?<!, which is not supported"
        if rest.startswith(_OTHER):
            return f"has (?{rest[1:2]}...), which is not supported"
        self._levels.append(_Level())
        self._at += 1
        if rest.startswith("?"):
            # flags, names: (?:, (?i), (?P<name>
            self._at += 1
            while self._at < len(self._text) and self._text[self._at] not in ":>)":
                self._at += 1
            if self._text[self._at : self._at + 1] != ")":
                self._at += 1
        return ""

    def _close(self) -> None:
        self._at += 1
        if len(self._levels) == 1:
            self._atom()  # unbalanced: the compiler says so
            return
        level = self._levels.pop()
        repeats = level.was_repeated or (level.atoms == 1 and level.is_repeated)
        self._atom(repeats=repeats)

    def _alternative(self) -> None:
        level = self._levels[-1]
        level.was_repeated |= level.atoms == 1 and level.is_repeated
        level.atoms = 0
        level.is_repeated = False
        self._last_repeats = False
        self._at += 1

    def _quantifier(self, char: str) -> str:
        is_unbounded = char in "*+"
        size = 1
        if char == "{":
            counted = _COUNT.match(self._text, self._at)
            if counted is None or not (counted[1] or counted[3]):
                self._atom()
                self._at += 1
                return ""
            if any(
                len(number) > 4 or int(number) > _MOST_TIMES for number in (counted[1], counted[3]) if number
            ):
                return f"repeats more than {_MOST_TIMES} times"
            is_unbounded = bool(counted[2]) and not counted[3]
            size = counted.end() - self._at
        self._at += size
        following = self._text[self._at : self._at + 1]
        if following == "+":
            return "has a possessive repetition, which is not supported"
        if following == "?":
            self._at += 1
        if is_unbounded and self._last_repeats:
            return "repeats a repetition, which can take for ever; write one of the two"
        if is_unbounded:
            self._levels[-1].is_repeated = True
        self._last_repeats = self._last_repeats or is_unbounded
        return ""
