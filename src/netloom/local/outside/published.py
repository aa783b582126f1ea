"""One port of the host that leads to a Service: connections relayed to its LoadBalancer address, as the client outside reaches it.

In: a socket that listens on the host. Out: TCP connections from this process's network namespace. The address is asked for at most once a
second, and again by the next one after a connection to it failed, so that one that changes is followed. Who connects while there is none,
or while there are too many others, is turned away. Not here: other protocols.
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
MOST_CONNECTIONS = 512
"""At a time, for each port."""
ASKED_AGAIN_S = 1.0
"""So long an address that was asked for is taken to be the Service's."""
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
        self._connections = 0
        self._known: tuple[str, float] = ("", 0.0)
        """The address, and until when it is not asked for again."""
        self._asking = asyncio.Lock()

    async def run(self) -> None:
        """Take connections until cancelled."""
        self._listener.setblocking(False)
        server = await asyncio.start_server(self._relay, sock=self._listener, limit=_CHUNK)
        async with server:
            await server.serve_forever()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MOST_CONNECTIONS:
            self._tell(f"{self._publication}: {MOST_CONNECTIONS} connections at a time, more are turned away")
            _reset(writer)
            return
        self._connections += 1
        try:
            with contextlib.closing(writer):
                await self._carry(reader, writer)
        finally:
            self._connections -= 1

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                address = await self._address()
                there, back = await asyncio.open_connection(address, self._publication.service_port)
        except (NetloomError, OSError) as error:  # TimeoutError is one
            self._known = ("", 0.0)
            self._tell(f"{self._publication}: {str(error) or type(error).__name__}")
            _reset(writer)
            return
        self._tell("")
        with contextlib.closing(back):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(carry(reader, back), name="published-in")
                    group.create_task(carry(there, writer), name="published-out")
            except* OSError as errors:  # one that stays away, say: it ends the connection, and nothing else
                log.debug("%s: %s", self._publication, errors.exceptions)

    async def _address(self) -> str:
        loop = asyncio.get_running_loop()
        async with self._asking:  # who comes meanwhile has the same answer
            if loop.time() >= self._known[1]:
                self._known = (await self._ask(), loop.time() + ASKED_AGAIN_S)
            return self._known[0]

    async def _ask(self) -> str:
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
