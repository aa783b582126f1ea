r"""How text of users gets into HAProxy's configuration, its map files and its runtime commands: the only place that quotes.

Comes in: any text. Goes out: text that means that text there, and nothing else. Not here: what it is used for. HAProxy reads a line in
up to three steps, and each has its own escapes: words of a line (``\xHH`` stands for a byte), then log formats (``%%``), then arguments
of a sample fetch (quotes). HAProxy 2.6 configuration manual, 2.2 "Quoting and escaping" and 8.2.4 "Custom log format".
"""

from __future__ import annotations

import hashlib
import re

_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b"\"'\\#$")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_NOT_IN_A_LABEL = re.compile(r"[^\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_IN_A_PATH = re.compile(r"[\x21\x22\x24-\x3e\x40-\x7e]*")  # no space, no ``#``, no ``?``


def word(text: str) -> str:
    """One word of a line, whatever it holds. NUL, which ends a line there, is left out."""
    data = text.encode().replace(b"\0", b"")
    if not data:
        return '""'
    return "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in data)


def literal(text: str) -> str:
    """Part of a log format that stands for itself; becomes a word with :func:`word`."""
    return text.replace("%", "%%")


def header_value(text: str) -> str:
    """The value of a header without what would end it: control characters become spaces (RFC 9110, 5.5)."""
    return _CONTROL.sub(" ", text).strip()


def argument(text: str) -> str:
    """An argument of a sample fetch or converter; becomes part of a word with :func:`word`."""
    return "'" + _CONTROL.sub(" ", text).replace("'", "'\\''") + "'"


def name(text: str) -> str:
    """Something that may be in the name of a proxy: what may not becomes ``_``."""
    return _NOT_IN_A_NAME.sub("_", text)


def label(text: str) -> str:
    """A name for people that ends in logs and behind the key of a map: on one line, bounded."""
    return _NOT_IN_A_LABEL.sub(" ", text).strip()[:120] or "-"


def digest(*parts: str) -> str:
    """A short name for a meaning: the same on all nodes and in all processes."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()


def is_token(text: str) -> bool:
    """Whether this can be the name of a header or a method (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """Whether a request can have this path. A rule for another can never match, and would be two words in a map file."""
    return text.startswith("/") and _IN_A_PATH.fullmatch(text) is not None


def command_word(text: str) -> str:
    """One argument of a runtime command: spaces, semicolons and backslashes stand for themselves."""
    return re.sub(r"([\\; ])", r"\\\1", text)
