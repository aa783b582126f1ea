"""Asks the place outside of a running local cluster for something. In: a wish and descriptors; out: what it answers.

For commands: nothing heavy is imported, and the caller's own standard streams are handed over.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from netloom.errors import Unavailable, UsageError
from netloom.local.outside.words import MOST_BYTES, Answer, Done, Wish, decode_answer, encode
from netloom.local.paths import ClusterPaths
from netloom.local.refusal import Failed, Refused


def ask(paths: ClusterPaths, wish: Wish, descriptors: Sequence[int]) -> Done:
    """Wait until it is done; who is interrupted ends what was asked for.

    Raises:
        Unavailable: nobody listens there.
        UsageError: the wish is too long.
        Refused: it cannot be done.
    """
    message = encode(wish)
    if len(message) > MOST_BYTES:
        raise UsageError("the command and its environment are too long", f"use at most {MOST_BYTES} bytes")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            connection.connect(str(paths.outside_socket))
            socket.send_fds(connection, [message], list(descriptors))
            data = connection.recv(MOST_BYTES)
        except OSError as error:
            raise _away(paths, str(error.strerror)) from error
    if not data:
        raise _away(paths, "it ended")
    answer: Answer = decode_answer(data)
    if isinstance(answer, Failed):
        raise Refused(answer)
    return answer


def _away(paths: ClusterPaths, why: str) -> Unavailable:
    return Unavailable(
        f"the client outside of cluster {paths.root.name} does not answer: {why}",
        f"its log: {paths.log / 'client.log'}",
    )
