"""Sets of completion indexes as Jobs write them: `1,3-5,7` (batch/v1 JobStatus). Pure."""

from __future__ import annotations

from collections.abc import Collection

MOST = 100_000
"""More completions than any Indexed Job may have; text that names more is cut."""


def read(text: str | None, limit: int = MOST) -> frozenset[int]:
    """The indexes below ``limit`` that the text names; what cannot be read names none."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            continue
        found.update(range(int(first), min(int(last or first) + 1, limit)))
    return frozenset(found)


def written(indexes: Collection[int]) -> str:
    """The text for a set; three and more in a row are a range, two are not."""
    parts: list[str] = []
    row: list[int] = []
    for index in [*sorted(indexes), None]:
        if row and index != row[-1] + 1:
            parts += [f"{row[0]}-{row[-1]}"] if len(row) > 2 else map(str, row)
            row = []
        if index is not None:
            row.append(index)
    return ",".join(parts)
