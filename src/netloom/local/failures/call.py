"""Asks process 1 of a running local cluster to break something or to mend it. In: a wish; out: how things are then. For commands."""

from __future__ import annotations

import socket

from netloom.errors import Unavailable
from netloom.local.failures.words import MOST_BYTES, Answer, State, Wish, decode_answer, encode
from netloom.local.paths import ClusterPaths
from netloom.local.refusal import Failed, Refused

_ANSWER_S = 60.0


def ask(paths: ClusterPaths, wish: Wish) -> State:
    """Wait until it is done.

    Raises:
        Unavailable: nobody answers.
        Refused: it cannot be done.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(str(paths.failures_socket))
            connection.send(encode(wish))
            data = connection.recv(MOST_BYTES)
        except OSError as error:
            raise _away(paths, str(error)) from error
    if not data:
        raise _away(paths, "it ended")
    answer: Answer = decode_answer(data)
    if isinstance(answer, Failed):
        raise Refused(answer)
    return answer


def _away(paths: ClusterPaths, why: str) -> Unavailable:
    return Unavailable(
        f"process 1 of cluster {paths.root.name} does not answer: {why}",
        f"its log: {paths.log / 'supervisor.log'}",
    )
