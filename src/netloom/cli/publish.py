"""``netloom publish PORT:NAMESPACE/SERVICE:PORT``: a port of this host that leads into a local cluster, until the cluster ends."""

from __future__ import annotations

import argparse

from netloom.cli.output import add_cluster

_EPILOG = """It leads to the LoadBalancer address of the Service, by the client outside (netloom client), for TCP. Nothing of the host is changed but
that port, which is closed when the cluster ends. `netloom up --publish` does the same from the start, and again with each start.

for example:
  netloom publish 8080:shop/web:80 && curl http://127.0.0.1:8080
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument(
        "publication",
        metavar="[ADDRESS:]PORT:NAMESPACE/SERVICE:PORT",
        nargs="+",
        help="from where (127.0.0.1 unless said otherwise) to which port of which Service",
    )
    add_cluster(parser)
    parser.epilog = _EPILOG


def run(options: argparse.Namespace) -> int:
    """Open the ports here, where the host's network is, and hand them over."""
    from netloom.local.cluster import running  # noqa: PLC0415 - heavy, and --help must answer at once
    from netloom.local.outside.call import ask  # noqa: PLC0415 - as above
    from netloom.local.outside.listeners import opened  # noqa: PLC0415 - as above
    from netloom.local.outside.publication import read_publication  # noqa: PLC0415 - as above
    from netloom.local.outside.words import Publish  # noqa: PLC0415 - as above

    paths = running(options.name)
    with opened([read_publication(text) for text in options.publication]) as pairs:
        for publication, listener in pairs:
            ask(paths, Publish(publication.text), (listener.fileno(),))
            print(f"{publication}")
    return 0
