"""A matrix for a terminal: words where they fit, signs where there are many columns. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.observe.matrix import Cell, Extent, Matrix

_WIDEST = 140
_MOST_WORDS = 24
_SIGNS = {Extent.ALL: "#", Extent.PORTS: "+", Extent.SOME: "~", Extent.NONE: ".", Extent.UNASKED: ""}
_LEGEND = "rows send, columns receive; # all   + some ports   ~ differs within a group   . none"
_LEGEND_PORT = "rows send, columns receive; # yes   ~ differs within a group   . no"


def render_matrix(matrix: Matrix) -> str:
    """The table, with a legend where it needs one."""
    what = f"port {matrix.port}" if matrix.port else "all traffic"
    lines = [f"who reaches whom ({what}; rows send, columns receive)", ""]
    rows = [[name, *(_word(cell, matrix.port) for cell in cells)] for name, cells in matrix.rows()]
    wide = _table(["", *matrix.groups], rows)
    if max(map(len, wide)) <= _WIDEST:
        lines += wide
    else:
        lines += _narrow(matrix)
    lines += [f"note: {note}" for note in ("", *matrix.notes) if note]
    return "\n".join(lines)


def _narrow(matrix: Matrix) -> Iterator[str]:
    """Columns by number, one sign each."""
    numbers = [str(place) for place in range(1, len(matrix.groups) + 1)]
    rows = [
        [str(cells[0].sender + 1), name, *(_SIGNS[cell.extent] for cell in cells)]
        for name, cells in matrix.rows()
    ]
    yield from _table(["", "", *numbers], rows, gap=" ")
    yield ""
    yield _LEGEND_PORT if matrix.port else _LEGEND


def _word(cell: Cell, port: str) -> str:
    match cell.extent:
        case Extent.ALL:
            return "yes" if port else "all"
        case Extent.NONE:
            return "-"
        case Extent.UNASKED:
            return ""
        case extent:
            text = "some" if port or len(cell.ports) > _MOST_WORDS else cell.ports
            return f"some: {text}" if extent is Extent.SOME and text != "some" else text


def _table(header: list[str], rows: list[list[str]], gap: str = "  ") -> list[str]:
    lines = [header, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    return [
        gap.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
