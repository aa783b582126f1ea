"""A matrix as a page: HTML or SVG, complete in one file, without a script and without anything from elsewhere. Pure.

All names are escaped: they come from whoever wrote the objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from netloom.observe.matrix import Cell, Extent, Matrix

_COLOURS = {
    Extent.ALL: "#2e7d32",
    Extent.PORTS: "#81c784",
    Extent.SOME: "#ffd54f",
    Extent.NONE: "#eceff1",
    Extent.UNASKED: "#ffffff",
}
_WORDS = {
    Extent.ALL: "all traffic",
    Extent.PORTS: "some ports",
    Extent.SOME: "differs within a group",
    Extent.NONE: "none",
}
_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;color:#212121;background:#fff}
h1{font-size:1.3em}
.frame{overflow:auto;max-height:85vh;border:1px solid #cfd8dc;display:inline-block;max-width:100%}
table{border-collapse:separate;border-spacing:0}
th,td{border:1px solid #fff;padding:0 .3em;white-space:nowrap;font-weight:normal;height:1.7em}
td{min-width:1.7em;text-align:center;font-size:.8em}
th{background:#fff;text-align:left;position:sticky;z-index:1}
thead th{top:0;vertical-align:bottom;height:auto}
thead th span{writing-mode:vertical-rl;transform:rotate(180deg);padding:.3em 0}
tbody th{left:0}
thead th:first-child{left:0;z-index:2}
tr:hover td{outline:1px solid #546e7a}
.key{display:inline-block;width:1em;height:1em;vertical-align:middle;margin:0 .3em 0 1em;border:1px solid #b0bec5}
"""
_CELL = 16
_LETTER = 6.6
_SHORTEST = 60
_LONGEST_WORD = 12


def render_html(matrix: Matrix) -> str:
    """A table with names that stay in sight; each cell says its ports to the pointer, short ones to the eye."""
    return "\n".join(_html(matrix)) + "\n"


def _html(matrix: Matrix) -> Iterator[str]:
    title = _title(matrix)
    colours = "".join(f".{extent.value}{{background:{colour}}}" for extent, colour in _COLOURS.items())
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(title)}</title><style>{_STYLE}.all{{color:#fff}}{colours}</style></head><body>"
    yield f"<h1>{escape(title)}</h1><p>Rows send, columns receive."
    for extent, word in _WORDS.items():
        yield f'<span class="key {extent.value}"></span>{word}'
    yield '</p><div class="frame"><table><thead><tr><th></th>'
    for name in matrix.groups:
        yield f'<th scope="col"><span>{escape(name)}</span></th>'
    yield "</tr></thead><tbody>"
    for name, cells in matrix.rows():
        yield f'<tr><th scope="row">{escape(name)}</th>{"".join(_html_cell(matrix, cell) for cell in cells)}</tr>'
    yield "</tbody></table></div>"
    for note in matrix.notes:
        yield f"<p>{escape(note)}</p>"
    yield "</body></html>"


def _html_cell(matrix: Matrix, cell: Cell) -> str:
    word = cell.ports if len(cell.ports) <= _LONGEST_WORD else ""
    return f'<td class="{cell.extent.value}" title="{escape(_said(matrix, cell))}">{escape(word)}</td>'


def render_svg(matrix: Matrix) -> str:
    """A picture: one square for each pair, with its ports to the pointer."""
    return "\n".join(_svg(matrix)) + "\n"


def _svg(matrix: Matrix) -> Iterator[str]:
    size, rows = len(matrix.groups), list(matrix.rows())
    longest = max((len(name) for name in matrix.groups), default=0)
    margin = max(_SHORTEST, int(longest * _LETTER) + 12)
    top = margin + 24
    width, height = max(margin + size * _CELL + 12, 560), top + len(rows) * _CELL + 40
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="system-ui,sans-serif" font-size="11">'
    )
    yield f"<title>{escape(_title(matrix))}</title>"
    yield f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    yield f'<text x="8" y="16" font-size="13">{escape(_title(matrix))}; rows send, columns receive</text>'
    for place, name in enumerate(matrix.groups):
        x, y = margin + place * _CELL + 12, top - 6
        yield f'<text transform="translate({x},{y}) rotate(-90)">{escape(name)}</text>'
    for row, (name, cells) in enumerate(rows):
        y = top + row * _CELL
        yield f'<text x="{margin - 6}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
        for column, cell in enumerate(cells):
            if cell.extent is not Extent.UNASKED:
                yield (
                    f'<rect x="{margin + column * _CELL}" y="{y}" width="{_CELL - 1}" height="{_CELL - 1}"'
                    f' fill="{_COLOURS[cell.extent]}"><title>{escape(_said(matrix, cell))}</title></rect>'
                )
    x, y = 8, height - 24
    for extent, word in _WORDS.items():
        yield f'<rect x="{x}" y="{y}" width="12" height="12" fill="{_COLOURS[extent]}" stroke="#b0bec5"/>'
        yield f'<text x="{x + 18}" y="{y + 10}">{word}</text>'
        x += 34 + int(len(word) * _LETTER)
    yield "</svg>"


def _title(matrix: Matrix) -> str:
    return f"Who reaches whom on port {matrix.port}" if matrix.port else "Who reaches whom"


def _said(matrix: Matrix, cell: Cell) -> str:
    if cell.extent is Extent.UNASKED:
        return ""
    ports = cell.ports or _WORDS[cell.extent]
    some = "some: " if cell.extent is Extent.SOME else ""
    return f"{matrix.groups[cell.sender]} -> {matrix.groups[cell.receiver]}: {some}{ports}"
