"""Connections from a node's own network to an address: what the API server's ``proxy`` subresources go through.

In: an address and a port, asked by the API server on the runner's unix socket. Out: bytes both ways once we have said 101. Not here:
which address that is, and HTTP. The API server itself is on no network that knows pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from netloom.local.runner.http1 import BadRequest, response_head
from netloom.units import parse_addr

_CONNECT_S = 10.0
_PIECE = 64 << 10


async def serve_dial(
    address: str, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Connect, and carry bytes until either side has ended.

    Raises:
        BadRequest: that is no address or port (400), or nobody answers there (502).
    """
    if parse_addr(address) is None or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRequest(f"dial {address} {port}: no address and port")
    try:
        async with asyncio.timeout(_CONNECT_S):
            far_reader, far_writer = await asyncio.open_connection(address, int(port))
    except (OSError, TimeoutError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number).lower() if number else "no answer"
        raise BadRequest(f"dial tcp {address}:{port}: {reason}", 502) from error
    try:
        writer.write(response_head(101, {"Connection": "Upgrade", "Upgrade": "tcp"}))
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, far_writer), name="dial out")
            down = both.create_task(_copy(far_reader, writer), name="dial back")
            await asyncio.wait((down,))
            # whoever waits for the caller's next word waits for nobody: what was to be said back has been said
            far_writer.close()
            reader.feed_eof()
    finally:
        far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
