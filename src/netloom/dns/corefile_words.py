"""The language of a Corefile: words, lines and blocks. Pure. In: a text. Out: directives, or UsageError with the line. Not here: what they mean."""

from __future__ import annotations

import re

import msgspec

from netloom.errors import UsageError

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]\S*)')


class Directive(msgspec.Struct, frozen=True):
    """A plugin with its arguments, and the lines of its block."""

    line: int
    words: tuple[str, ...]
    block: tuple[Directive, ...] = ()

    @property
    def name(self) -> str:
        """The plugin, or the option."""
        return self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows it."""
        return self.words[1:]


def parse(text: str) -> list[Directive]:
    """All server blocks.

    Raises:
        UsageError: braces do not match; names the line.
    """
    lines = [
        (number, words)
        for number, line in enumerate(text.splitlines(), 1)
        if (words := words_of(line, number))
    ]
    found, rest = _block(lines, 0, top=True)
    if rest < len(lines):
        raise wrong(lines[rest][0], "a closing brace without an opening one")
    return found


def words_of(line: str, number: int) -> list[str]:
    """The words of one line, without its comment.

    Raises:
        UsageError: a variable of the environment is asked for.
    """
    words = []
    for match in _TOKEN.finditer(line):
        word = match[1] if match[1] is not None else match[2]
        if match[2] is not None and word.startswith("#"):
            break
        if "{$" in word or "{%" in word:
            raise wrong(number, f"{word}: environment variables are not read", "write the value itself")
        words.append(word)
    return words


def _block(lines: list[tuple[int, list[str]]], at: int, *, top: bool = False) -> tuple[list[Directive], int]:
    found: list[Directive] = []
    while at < len(lines):
        number, words = lines[at]
        if words == ["}"]:
            if top:
                return found, at
            return found, at + 1
        at += 1
        if words[-1] == "{":
            block, at = _block(lines, at)
            found.append(Directive(number, tuple(words[:-1]), tuple(block)))
        elif "{" in words and words[-1] == "}":  # all on one line
            cut = words.index("{")
            inner = (Directive(number, tuple(words[cut + 1 : -1])),) if words[cut + 1 : -1] else ()
            found.append(Directive(number, tuple(words[:cut]), inner))
        else:
            found.append(Directive(number, tuple(words)))
        if not found[-1].words:
            raise wrong(number, "an opening brace with nothing before it")
    if not top:
        raise wrong(lines[-1][0] if lines else 1, "a block is not closed", "add a closing brace")
    return found, at


def wrong(line: int, problem: str, hint: str = "") -> UsageError:
    """What is wrong with a line."""
    return UsageError(f"Corefile line {line}: {problem}", hint)
