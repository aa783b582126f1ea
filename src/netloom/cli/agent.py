"""``netloom agent``: the node agent, in the foreground."""

from __future__ import annotations

import argparse
import logging


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="JSON or YAML, see netloom.agent.config.AgentConfig"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from netloom.agent.config import load  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.agent.main import run as serve  # noqa: PLC0415 - as above

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    return serve(load(options.config))
