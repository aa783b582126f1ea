"""``netloom dns``: the node's DNS server, in the foreground."""

from __future__ import annotations

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="JSON, see netloom.dns.main.DnsConfig"
    )


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from netloom.dns.main import main  # noqa: PLC0415 - heavy, and --help must answer at once

    return main([options.config])
