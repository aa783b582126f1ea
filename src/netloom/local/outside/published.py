"""One port of the host that leads to a Service: connections relayed to its LoadBalancer address, as the client outside reaches it.

In: a socket that listens on the host. Out: TCP connections from this process's network namespace. The address is asked for with each
connection, so that one that changes is followed. Who connects while there is none is turned away. Not here: other protocols.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct

from netloom.errors import NetloomError, Unavailable
from netloom.kube.client import KubeClient
from netloom.kube.resources import SERVICES
from netloom.local.outside.publication import Publication
from netloom.local.relay import carry

log = logging.getLogger(__name__)

CONNECT_S = 5.0
_CHUNK = 64 << 10


class Published:
    """Relays until cancelled.

    Args:
        publication: from where to where.
        listener: listens on the host; closed at the end.
        client: of the API server.
    """

    def __init__(self, publication: Publication, listener: socket.socket, client: KubeClient) -> None:
        self._publication = publication
        self._listener = listener
        self._client = client
        self._said = ""

    async def run(self) -> None:
        """Take connections until cancelled."""
        self._listener.setblocking(False)
        server = await asyncio.start_server(self._relay, sock=self._listener, limit=_CHUNK)
        async with server:
            await server.serve_forever()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                address = await self._address()
                async with asyncio.timeout(CONNECT_S):
                    there, back = await asyncio.open_connection(address, self._publication.service_port)
            except (NetloomError, OSError) as error:  # TimeoutError is one
                self._tell(f"{self._publication}: {str(error) or type(error).__name__}")
                _reset(writer)
                return
            self._tell("")
            with contextlib.closing(back), contextlib.suppress(OSError):
                async with asyncio.TaskGroup() as group:
                    group.create_task(carry(reader, back), name="published-in")
                    group.create_task(carry(there, writer), name="published-out")

    async def _address(self) -> str:
        key = self._publication.service
        service = await self._client.get(SERVICES, key)
        for ingress in (service.get("status", {}).get("loadBalancer") or {}).get("ingress") or ():
            if ingress.get("ip"):
                return str(ingress["ip"])
        raise Unavailable(
            f"Service {key} has no LoadBalancer address", f"see kubectl describe service {key.name}"
        )

    def _tell(self, what: str) -> None:
        """The first time that it is so; the others are the same story."""
        if what and what != self._said:
            log.warning("%s", what)
        self._said = what


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side learns that nobody took it, instead of an answer of nothing."""
    ours = writer.get_extra_info("socket")
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
