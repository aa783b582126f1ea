"""Answers that the gateway gives itself: status codes, and for gRPC the status in trailers.

Comes in: a status code. Goes out: rules and files of HAProxy. Not here: when they are given.
"""

from __future__ import annotations

from netloom.gateway.haproxy.quote import header_value, literal, word

GRPC_CODES = {
    400: (13, "bad request"),
    401: (16, "who is it?"),
    403: (7, "not allowed"),
    404: (12, "no route takes this call"),
    408: (4, "the request took too long"),
    413: (8, "the message is too large"),
    429: (8, "too many calls"),
    500: (13, "no backend as the route names it"),
    502: (14, "the backend's answer is none"),
    503: (14, "no endpoint of the backend answers"),
    504: (4, "the backend did not answer in time"),
}
"""HTTP status: status and message of gRPC (grpc/doc/statuscodes.md)."""

TEXTS = {
    400: "bad request",
    401: "who is it?",
    403: "not allowed",
    404: "no route takes this request",
    413: "the body is too large",
    421: "this connection is another host's",
    429: "too many requests",
    500: "no backend as the route names it",
    503: "no endpoint of the backend answers",
}

_FILES_FOR = (400, 408, 500, 502, 503, 504)
GRPC_TYPE = (
    "http-after-response set-header content-type application/grpc if { res.hdr(grpc-status) -m found }"
)
"""Of lanes that answer calls: an answer of HAProxy without a body has no type otherwise."""
IS_GRPC = "{ req.hdr(content-type) -m beg application/grpc }"


def answer(status: int, *, is_grpc: bool = False, condition: str = "", headers: str = "") -> str:
    """The rule that answers with a status.

    Args:
        status: of HTTP.
        is_grpc: as a call that failed: status 200, and what went wrong where trailers are.
        condition: as of ``http-request``: ``if ...``; empty: always.
        headers: further words: ``hdr NAME FORMAT``.
    """
    tail = f" {condition}" if condition else ""
    extra = f" {headers}" if headers else ""
    if is_grpc:
        code, message = _grpc(status)
        return (
            f"http-request return status 200 hdr grpc-status {code} "
            f"hdr grpc-message {word(literal(header_value(message)))}{extra}{tail}"
        )
    body = word(TEXTS.get(status, f"status {status}") + "\n")
    return f"http-request return status {status} content-type text/plain string {body}{extra}{tail}"


def grpc_files() -> dict[str, str]:
    """By file name: what HAProxy says in place of its own pages where calls are gRPC."""
    return {_file(status): _raw(status) for status in _FILES_FOR}


def grpc_lines() -> tuple[str, ...]:
    """Lines of a lane whose calls are gRPC."""
    return (GRPC_TYPE, *(f"errorfile {status} {_file(status)}" for status in _FILES_FOR))


def _file(status: int) -> str:
    return f"grpc-{status}.http"


def _raw(status: int) -> str:
    code, message = _grpc(status)
    return (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: {code}\r\ngrpc-message: {message}\r\n"
        "content-length: 0\r\n\r\n"
    )


def _grpc(status: int) -> tuple[int, str]:
    return GRPC_CODES.get(status, (2, f"status {status}"))
