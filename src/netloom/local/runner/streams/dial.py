"""Connections from a node's own network to an address: what the API server's ``proxy`` subresources go through.

In: an address and a port, asked by the API server on the runner's unix socket. Out: bytes both ways once we have said 101. Not here:
which address that is, and HTTP. The API server itself is on no network that knows pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from netloom.local.runner.http1 import BadRequest, response_head
from netloom.units import parse_addr

_CONNECT_S = 10.0
_PIECE = 64 << 10


async def serve_dial(
    address: str, port: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Connect, and carry bytes until either side has ended.

    Raises:
        BadRequest: that is no address or port or one of the node alone (400), or nobody answers there (502).
    """
    if parse_addr(address) is None or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadRequest(f"dial {address} {port}: no address and port")
    if refusal := _refusal(address):
        raise BadRequest(f"address not allowed: {address} {refusal}")
    await carry(address, int(port), reader, writer)


async def carry(address: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Connect to any address, and carry bytes until either side has ended.

    Raises:
        BadRequest: nobody answers there (502).
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as far:
        far.setblocking(False)
        try:
            async with asyncio.timeout(_CONNECT_S):
                await loop.sock_connect(far, (address, port))
        except (OSError, TimeoutError) as error:
            number = getattr(error, "errno", None)
            reason = os.strerror(number).lower() if number else "no answer"
            raise BadRequest(f"dial tcp {address}:{port}: {reason}", 502) from error
        writer.write(response_head(101, {"Connection": "Upgrade", "Upgrade": "tcp"}))
        async with asyncio.TaskGroup() as both:
            up = both.create_task(_out(reader, far), name="dial out")
            down = both.create_task(_back(far, writer), name="dial back")
            await asyncio.wait((down,))
            # whoever waits for the caller's next word waits for nobody: what was to be said back has been said
            up.cancel()
    # until the caller has read it all and hangs up; an end before that could cost it the answer
    with contextlib.suppress(OSError):
        while await reader.read(_PIECE):
            pass


def _refusal(address: str) -> str:
    """Why nobody is taken to this address: what is there is the node's own, as kube-apiserver's proxy has it (400)."""
    found = parse_addr(address)
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    if found is None:
        return "is no address"
    kinds = {
        "loopback": found.is_loopback, "link-local": found.is_link_local, "unspecified": found.is_unspecified, "multicast": found.is_multicast,
    }  # fmt: skip
    return next((f"is {kind}" for kind, is_so in kinds.items() if is_so), "")


async def _out(reader: asyncio.StreamReader, far: socket.socket) -> None:
    """A plain socket, as a stream that fails to send would lose what has come back before."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            await asyncio.get_running_loop().sock_sendall(far, piece)
        far.shutdown(socket.SHUT_WR)


async def _back(far: socket.socket, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await asyncio.get_running_loop().sock_recv(far, _PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()
