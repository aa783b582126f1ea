"""Pages of text over HTTP/1.1, for whoever looks at a process from its own node. In: what gives each page; out: a port.

One request is one connection; heads are bounded, and so is the time. Not here: what stands on a page, and the node agent's own servers,
which serve strangers too (``agent/servers``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from netloom.errors import UsageError

log = logging.getLogger(__name__)

_MOST_HEAD = 8 << 10
_TIMEOUT_S = 5.0
_AT_ONCE = 16
_RETRY_S = 10.0

Page = tuple[str, str]
"""Content type and text."""


def parse_place(text: str) -> tuple[str, int]:
    """``127.0.0.1:10264`` or ``[::1]:10264`` as host and port.

    Raises:
        UsageError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(f"{text!r} is no address with a port", "write it as 127.0.0.1:10264")
    return host.strip("[]"), int(port)


class PageServer:
    """Serves pages until cancelled. A port that is taken is tried again; it ends nothing.

    Args:
        place: host and port.
        pages: by path, what gives its page; must not block.
    """

    def __init__(self, place: tuple[str, int], pages: Mapping[str, Callable[[], Page]]) -> None:
        self._place = place
        self._pages = dict(pages)
        self._connections = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Serve until cancelled."""
        host, port = self._place
        is_told = False
        while True:
            try:
                server = await asyncio.start_server(self._serve, host, port, limit=_MOST_HEAD)
            except OSError as error:
                if not is_told:
                    log.warning("no pages at %s port %d: %s", host, port, error.strerror or error)
                is_told = True
                await asyncio.sleep(_RETRY_S)
                continue
            async with server:
                await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._connections, asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("pages: %s", error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        path = words[1].partition("?")[0] if len(words) == 3 else ""
        page = self._pages.get(path)
        if words[0] not in {"GET", "HEAD"} or page is None:
            status, (kind, text) = "404 Not Found", ("text/plain", f"there is {' '.join(self._pages)}\n")
        else:
            status, (kind, text) = "200 OK", page()
        body = text.encode()
        lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return lines.encode() + (b"" if words[0] == "HEAD" else body)
