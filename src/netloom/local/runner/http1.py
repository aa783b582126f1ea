"""Heads of HTTP/1.1 requests: what the stand-in apps and the runner's streaming server read. Pure.

In: the bytes up to the empty line. Out: a Request, or BadRequest with the status to answer (RFC 9112). Not here: bodies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from netloom.errors import NetloomError

MAX_HEAD = 32 << 10
"""Largest request line and headers, in bytes."""
END = b"\r\n\r\n"
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)

REASONS: Mapping[int, str] = {
    101: "Switching Protocols",
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class BadRequest(NetloomError):
    """The request cannot be read; ``status`` is the answer."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


class Request(msgspec.Struct, frozen=True):
    """The head of a request. Header names are lower case; repeated ones are joined by a comma (RFC 9110, 5.3)."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path, percent-decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's parts, each decoded on its own."""
        return tuple(unquote(part) for part in urlsplit(self.target).path.split("/") if part)

    @property
    def query(self) -> dict[str, list[str]]:
        """Query parameters, in order, blanks kept."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def keeps_alive(self) -> bool:
        """The connection may carry another request (RFC 9112, 9.3)."""
        said = self.tokens("connection")
        return "keep-alive" in said if self.version == "HTTP/1.0" else "close" not in said

    def tokens(self, name: str) -> tuple[str, ...]:
        """A comma-separated header's words in lower case."""
        return tuple(t.strip().lower() for t in self.headers.get(name, "").split(",") if t.strip())

    def words(self, name: str) -> tuple[str, ...]:
        """A comma-separated header's words as they were written."""
        return tuple(t.strip() for t in self.headers.get(name, "").split(",") if t.strip())

    @property
    def content_length(self) -> int:
        """Bytes of the body that the head announces; 0 where it says nothing.

        Raises:
            BadRequest: no number.
        """
        text = self.headers.get("content-length", "0")
        if not (text.isascii() and text.isdigit()):
            raise BadRequest(f"Content-Length {text!r} is no number")
        return int(text)

    @property
    def is_chunked(self) -> bool:
        """The body comes in chunks (RFC 9112, 7.1)."""
        return "chunked" in self.tokens("transfer-encoding")


def parse(head: bytes) -> Request:
    """Read a head; ``head`` may end with the empty line or not.

    Raises:
        BadRequest: it is none.
    """
    lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not _METHOD.fullmatch(words[0]) or words[2] not in {"HTTP/1.1", "HTTP/1.0"}:
        raise BadRequest("the first line is no HTTP/1.1 request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(f"header line {line[:80]!r} has no name")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(words[0], words[1], words[2], headers)


def response_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line, headers and the empty line."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


class Body:
    """Reads past a request's body and counts it; nothing of it is kept."""

    __slots__ = ("_chunked", "_left", "done", "size")

    def __init__(self, request: Request) -> None:
        self._chunked = request.is_chunked
        self._left = 0 if self._chunked else request.content_length
        self.size = 0
        self.done = not self._chunked and self._left == 0

    def feed(self, buffer: bytearray) -> None:
        """Take what belongs to the body from the front of the buffer.

        Raises:
            BadRequest: the chunks cannot be read.
        """
        while buffer and not self.done:
            if self._left:
                taken = min(self._left, len(buffer))
                del buffer[:taken]
                self._left -= taken
                self.size += taken
                self.done = not self._chunked and not self._left
            elif not self._next_chunk(buffer):
                return

    def _next_chunk(self, buffer: bytearray) -> bool:
        """Read a chunk's size line; False where more bytes are needed. CRLF after a chunk counts with its data."""
        end = buffer.find(b"\r\n")
        if end < 0:
            if len(buffer) > 1024:
                raise BadRequest("a chunk's size line is too long")
            return False
        text = bytes(buffer[:end]).split(b";")[0].strip()
        try:
            size = int(text, 16)
        except ValueError:
            raise BadRequest("a chunk has no size") from None
        if size == 0:
            finish = buffer.find(END, end)  # "0", then trailers or none, then the empty line
            if finish < 0:
                return False
            del buffer[: finish + len(END)]
            self.done = True
            return True
        del buffer[: end + 2]
        self._left = size + 2
        self.size -= 2
        return True
