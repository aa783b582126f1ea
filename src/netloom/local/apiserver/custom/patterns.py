"""Regular expressions of schemas and CEL, in Python's words. Pure.

Comes in: an expression as RE2 has it (github.com/google/re2 wiki, Syntax). Goes out: a compiled pattern that finds the same in text.
Not here: linear time, which RE2 promises and Python does not; so a repetition of nothing but a repetition is refused, as gateways do, and
text of more than `bounds.LONGEST_TEXT` characters is not looked at (whoever calls, says so). Others, `(a|a)+` or `(a+b?)+`, still cost much.
"""

from __future__ import annotations

import functools
import re

from netloom.model.gateways.regexes import cost

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7F", "blank": r"\t ", "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_LETTERS = {"L": r"[^\W\d_]", "Lu": "[A-Z]", "Ll": "[a-z]", "N": r"\d", "Nd": r"\d"}
"""The few classes of Unicode letters that expressions of definitions use, as far as ASCII goes."""
_FLAGS = re.compile(r"\(\?([ims]+)\)")
_GROUP = re.compile(r"\(\?(:|P<\w+>|[imsU]*(-[imsU]+)?[:)])")
_LONGEST = 10_000


class BadPattern(ValueError):
    """Not an expression that can be used; the message says why."""


@functools.lru_cache(maxsize=4096)
def compiled(text: str) -> re.Pattern[str]:
    """The pattern.

    Raises:
        BadPattern: it is no expression, or uses what Python has no words for.
    """
    if len(text) > _LONGEST:
        raise BadPattern(f"longer than {_LONGEST} characters")
    translated = _translated(text)
    if problem := cost(translated):
        raise BadPattern(problem)
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(str(error)) from error


def _translated(text: str) -> str:
    """A dollar is the very end, POSIX classes are spelled out, named groups are as in Python already."""
    found, index, in_class = [], 0, False
    scoped = [0]  # groups that flags opened, for each group that the text has open
    while index < len(text):
        letter = text[index]
        if not in_class and (flags := _FLAGS.match(text, index)):
            found.append(f"(?{flags[1]}:")
            scoped[-1] += 1
            index = flags.end()
            continue
        if letter == "\\":
            step, word = _escape(text, index)
            index += step
            found.append(word)
            continue
        if in_class and text.startswith("[:", index):
            step, word = _posix(text, index)
            index += step
            found.append(word)
            continue
        if letter == "[" and not in_class:
            in_class = True
            start = 2 if text.startswith("[^", index) else 1
            found.append(text[index : index + start])
            index += start
            if text.startswith("]", index):  # the first one in a class is one of its characters
                found.append(r"\]")
                index += 1
            continue
        if not in_class and letter == "(":
            scoped.append(0)
        elif not in_class and letter == ")" and len(scoped) > 1:
            found.append(")" * scoped.pop())
        if not in_class and text.startswith("(?", index) and not _GROUP.match(text, index):
            raise BadPattern(f"invalid or unsupported Perl syntax: {text[index : index + 4]}")
        in_class = in_class and letter != "]"
        found.append(_plain(letter, in_class=in_class))
        index += 1
    return "".join(found) + ")" * scoped[0]


def _posix(text: str, index: int) -> tuple[int, str]:
    """Length of a POSIX class, and its characters in Python."""
    end = text.find(":]", index)
    name = text[index + 2 : end]
    if end < 0 or name not in _CLASSES:
        raise BadPattern(f"invalid character class range: {text[index : index + 12]}")
    return end + 2 - index, _CLASSES[name]


def _plain(letter: str, *, in_class: bool) -> str:
    if in_class:
        return r"\[" if letter == "[" else letter
    return r"\Z" if letter == "$" else letter


def _escape(text: str, index: int) -> tuple[int, str]:
    """Length of an escape, and its words in Python."""
    following = text[index + 1 : index + 2]
    match following:
        case "":
            raise BadPattern("trailing backslash at end of expression")
        case _ if following in "123456789":
            raise BadPattern(f"invalid escape sequence: {text[index : index + 2]}")
        case "z":
            return 2, r"\Z"
        case "Q":
            end = text.find(r"\E", index)
            quoted = text[index + 2 : end if end >= 0 else len(text)]
            return len(quoted) + (4 if end >= 0 else 2), re.escape(quoted)
        case "p":
            name = re.match(r"\{(\w+)\}|(\w)", text[index + 2 :])
            word = (name[1] or name[2]) if name else ""
            if word not in _LETTERS or name is None:
                raise BadPattern(f"class of characters {text[index : index + 8]} is not supported")
            return 2 + name.end(), _LETTERS[word]
        case _:
            return 2, text[index : index + 2]
