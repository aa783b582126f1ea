"""Unix sockets that only their owner can reach. In: a path. Out: a socket that listens, or StorageError."""

from __future__ import annotations

import socket
from pathlib import Path

from netloom.errors import StorageError


def listen(path: Path, *, what: str, backlog: int) -> socket.socket:
    """A listening stream socket with mode 0600; what lay at the path before goes.

    Args:
        path: where.
        what: whose socket it is, for the error: ``CNI socket``.
        backlog: connections that wait to be taken.

    Raises:
        StorageError: the socket cannot be made there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(0o600)  # before listen(): nobody can connect until then
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise StorageError(
            f"{what} {path}: {error.strerror or error}",
            "see that its directory exists and is writable, and that the path has at most 107 bytes",
        ) from error
    return listener
