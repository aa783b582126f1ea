"""How results are printed: text for people, JSON or YAML for programs. Progress goes to standard error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import msgspec

FORMATS = ("text", "json", "yaml")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Give a verb its ``--output``."""
    parser.add_argument(
        "-o", "--output", choices=FORMATS, default="text", help="how to print the result (default: text)"
    )


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Give a verb its ``--name``."""
    parser.add_argument("--name", default="default", help="which cluster (default: %(default)s)")


def emit(value: Any, output: str, text: str) -> None:  # noqa: ANN401 - whatever msgspec can encode
    """Print a result in the wanted format; ``text`` is what people read."""
    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    elif output == "yaml":
        print(msgspec.yaml.encode(value).decode(), end="")
    else:
        print(text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned, two spaces between them, as kubectl prints them."""
    lines = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


class Progress:
    """Tells what is going on: one line rewritten on a terminal, one line a step elsewhere, nothing when quiet."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._last = ""

    def step(self, text: str) -> None:
        """Say what is being done now."""
        if self._quiet or text == self._last:
            return
        self._last = text
        if self._live:
            self._stream.write(f"\r\033[K{text}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def done(self, text: str = "") -> None:
        """Say that it is done; the line stays."""
        if self._quiet:
            return
        if self._live:
            self._stream.write("\r\033[K")
        if text:
            self._stream.write(f"{text}\n")
        self._stream.flush()
        self._last = ""
