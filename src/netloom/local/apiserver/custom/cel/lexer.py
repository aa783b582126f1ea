"""Text of an expression as words. Pure. Source: the CEL specification, "Syntax"."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from netloom.local.apiserver.custom.cel.syntax import CelError
from netloom.local.apiserver.custom.cel.types import MAX_INT, MAX_UINT, UInt

LONGEST = 65_536
"""Characters of an expression."""
_WORD = re.compile(
    r"""(?P<space>[\s]+|//[^\n]*)
    |(?P<text>(?:[rR][bB]?|[bB][rR]?)?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}))
    |(?P<raw>(?:[rR][bB]?|[bB][rR])(?:"[^"\n]*"|'[^'\n]*'))
    |(?P<plain>[bB]?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<int>0[xX][0-9a-fA-F]+[uU]?|\d+[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[A-Za-z0-9_./ -]+`)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))", re.DOTALL
)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
            "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}  # fmt: skip


class Token(msgspec.Struct, frozen=True):
    """One word: its kind (``value``, ``name``, ``sign``, ``end``), its text or value, and where it begins."""

    kind: str
    text: str
    value: Any
    at: int


def tokens(text: str) -> list[Token]:
    """The words of an expression, the end as the last one.

    Raises:
        CelError: there is something that is no word.
    """
    if len(text) > LONGEST:
        raise CelError(f"an expression has at most {LONGEST} characters")
    found, index = [], 0
    while index < len(text):
        match = _WORD.match(text, index)
        if match is None:
            raise CelError(f"{place(text, index)}: Syntax error: token recognition error at: '{text[index]}'")
        kind = match.lastgroup or ""
        if kind in {"name", "sign"}:
            found.append(Token(kind, match[0], None, index))
        elif kind != "space":
            found.append(Token("value", match[0], _value(kind, match[0]), index))
        index = match.end()
    return [*found, Token("end", "<EOF>", None, len(text))]


def place(text: str, index: int) -> str:
    """Where something is, as the CEL compiler says it: line and column."""
    before = text[:index]
    return f"ERROR: <input>:{before.count(chr(10)) + 1}:{index - (before.rfind(chr(10)) + 1) + 1}"


def _value(kind: str, word: str) -> object:
    if kind == "float":
        return float(word)
    if kind == "int":
        number = int(word.rstrip("uU"), 0) if word[:2].lower() == "0x" else int(word.rstrip("uU"))
        if word[-1] in "uU":
            return UInt(number) if number <= MAX_UINT else _too_large(word)
        # the sign is an operator of its own, so the smallest number is one larger than the largest
        return number if number <= MAX_INT + 1 else _too_large(word)
    return _text(word)


def _too_large(word: str) -> int:
    raise CelError(f"invalid int literal: {word} is out of range")


def _text(word: str) -> str | bytes:
    body = word.lstrip("rRbB")
    prefix = word[: len(word) - len(body)].lower()
    width = 3 if body[:3] in {'"""', "'''"} else 1
    body = body[width:-width]
    is_bytes = "b" in prefix
    if "r" not in prefix:
        body = _ESCAPE.sub(lambda match: _escaped(match, is_bytes=is_bytes), body)
    if not is_bytes:
        return body
    return b"".join(
        chr(ord(c) - 0xDC00).encode("latin-1") if "\udc00" <= c <= "\udcff" else c.encode() for c in body
    )


def _escaped(match: re.Match[str], *, is_bytes: bool) -> str:
    byte, short, long, octal, letter = match.groups()
    if byte or octal:
        number = int(byte, 16) if byte else int(octal, 8)
        return chr(0xDC00 + number) if is_bytes else chr(number)
    if short or long:
        try:
            return chr(int(short or long, 16))
        except ValueError as error:
            raise CelError(f"no such character: {match[0]}") from error
    if letter not in _ESCAPES:
        raise CelError(f"no such escape: {match[0]}")
    return _ESCAPES[letter]
