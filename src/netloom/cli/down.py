"""``netloom down``: end clusters and remove everything of them."""

from __future__ import annotations

import argparse
import asyncio

from netloom.cli.output import Progress, add_cluster, add_output, emit
from netloom.local import cluster


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    add_cluster(parser)
    parser.add_argument("--all", action="store_true", help="all clusters of this user")
    add_output(parser)


def run(options: argparse.Namespace) -> int:
    """End one cluster, or all."""
    names = cluster.all_names() if options.all else (options.name,)
    progress = Progress(quiet=options.output != "text")
    for name in names:
        asyncio.run(cluster.stop(name, step=progress.step))
    progress.done()
    emit(
        {"ended": names},
        options.output,
        "\n".join(f"cluster {n} is gone" for n in names) or "there is no cluster",
    )
    return 0
