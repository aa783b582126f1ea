"""Sizes and words that every file keeps to; the directions of imports are contracts in ``.importlinter``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import netloom

SRC = Path(netloom.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
# Path and reason. None at present: split the file instead.
LONG: dict[str, str] = {}


def ids(path: Path) -> str:
    return str(path.relative_to(SRC))


def too_long(tree: ast.Module) -> list[str]:
    return [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MOST_LINES_OF_A_FUNCTION
    ]


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_file_is_short_and_says_what_it_is_for(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    if ids(path) not in LONG:
        assert text.count("\n") <= MOST_LINES, "split it along what it does"
        assert too_long(tree) == []
    assert ast.get_docstring(tree), "what comes in, what goes out, what is not here"


def test_a_function_that_is_too_long_is_found():
    body = "\n".join(["    pass"] * MOST_LINES_OF_A_FUNCTION)
    assert too_long(ast.parse(f"def f():\n{body}\n")) == [f"f: {MOST_LINES_OF_A_FUNCTION + 1} lines"]


def test_every_directory_of_modules_is_a_package():
    assert {path.parent for path in FILES} == {
        path.parent for path in FILES if (path.parent / "__init__.py").exists()
    }


def test_exceptions_are_still_needed():
    for name in LONG:
        tree = ast.parse((SRC / name).read_text())
        assert (SRC / name).read_text().count("\n") > MOST_LINES or too_long(tree)


def test_no_module_is_named_after_nothing():
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    assert [str(path) for path in FILES if path.stem in empty] == []
