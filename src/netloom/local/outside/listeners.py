"""Sockets of the host for what is published. In: publications; out: sockets that listen, all or none."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence

from netloom.errors import UsageError
from netloom.local.outside.publication import Publication

_BACKLOG = 1024

Pairs = tuple[tuple[Publication, socket.socket], ...]


@contextlib.contextmanager
def opened(publications: Sequence[Publication]) -> Iterator[Pairs]:
    """The sockets; closed at the end, here.

    Raises:
        UsageError: a port is taken, or may not be used.
    """
    with contextlib.ExitStack() as undo:
        yield tuple((one, undo.enter_context(_open(one))) for one in publications)


def _open(publication: Publication) -> socket.socket:
    family = socket.AF_INET6 if publication.host.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(publication.host), publication.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL):
            raise UsageError(
                f"--publish {publication.place}: {os.strerror(error.errno)}", "choose another port"
            ) from error
        raise
    return listener
