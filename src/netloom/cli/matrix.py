"""``netloom matrix``: who reaches whom, as a table for the terminal, for programs, or as a page."""

from __future__ import annotations

import argparse

import msgspec

from netloom.cli.output import emit
from netloom.cli.plan import base_of, uncollected
from netloom.cli.session import add_target
from netloom.observe.matrix import matrix, read_port
from netloom.observe.matrix_pages import render_html, render_svg
from netloom.observe.matrix_text import render_matrix

_EPILOG = """The local cluster is read, or the one of --kubeconfig, or, with -f, manifests alone. What counts is what policies allow between
the pods' own addresses. Where there are more than a hundred workloads, namespaces are shown as one row each.

for example:
  netloom matrix
  netloom matrix -n shop --port 5432
  netloom matrix -f deploy/ -o html > matrix.html
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="manifests, in place of a cluster",
    )
    parser.add_argument(
        "-n", "--namespace", default="", help="show its workloads, and each other namespace as one"
    )
    parser.add_argument("--port", metavar="PORT[/PROTOCOL]", help="look at this port only")
    add_target(parser)
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "html", "svg"),
        default="table",
        help="how to print the result (default: table)",
    )
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Show it."""
    port = read_port(options.port) if options.port else None
    with uncollected():
        loaded, facts = base_of(options, options.filename)
        found = matrix(loaded.estate, facts, namespace=options.namespace, port=port)
    found = msgspec.structs.replace(found, notes=tuple(dict.fromkeys((*loaded.notes, *found.notes))))
    match options.output:
        case "html":
            print(render_html(found), end="")
        case "svg":
            print(render_svg(found), end="")
        case output:
            emit(found, output, render_matrix(found))
    return 0
