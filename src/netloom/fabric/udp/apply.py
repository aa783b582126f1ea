"""The udp fabric on a node. In: peers of the model. Out: the process's table, the interface's settings, routes; or KernelError.

Implements ``fabric/face.py``. Not here: what there should be (``compile``), the packets (``forward``), who runs the process.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path

from netloom.errors import KernelError, NetloomError, Unavailable
from netloom.fabric.route_set import RouteSet
from netloom.fabric.tunnel_device import set_up
from netloom.fabric.tunnel_rules import UDP_TABLE
from netloom.fabric.tunnel_rules_apply import put_rules, take_rules
from netloom.fabric.udp.compile import Tunnel, compile_routes, compile_table, compile_tunnel
from netloom.fabric.udp.feed import connect, push
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.names import UDP_LINK, UDP_ROUTE_PROTOCOL
from netloom.units import Cidr

log = logging.getLogger(__name__)

_RETRY_S = 0.2


class UdpFabric:
    """The tunnels of one node.

    Args:
        feed_socket: of the process (``main``).
        netns_fd: the node's network namespace; None for the caller's own.
    """

    def __init__(self, *, feed_socket: Path, netns_fd: int | None = None) -> None:
        self._feed_socket = feed_socket
        self._netns_fd = netns_fd
        self._turn = asyncio.Lock()
        self._started = asyncio.Event()
        self._peers: dict[Cidr, PeerRoute] = {}
        self._tunnel = Tunnel(None, 0, 0)
        self._routes = RouteSet(UDP_ROUTE_PROTOCOL)
        self._run = secrets.token_hex(4)
        self._pushes = 0
        self.dropped: Mapping[str, int] = {}
        """Packets that the process dropped, by reason, as far as it has told."""

    @property
    def generation(self) -> str:
        """Name of the last table that the process was given."""
        return f"{self._run}.{self._pushes}"

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring process and kernel to these peers from whatever a former run left; right routes are not touched."""
        async with self._turn:
            self._peers = dict(routes)
            self._tunnel = compile_tunnel(facts)
            if not self._started.is_set():
                log.warning(
                    "fabric udp is a fallback for networks that drop all else: expect a fraction of the speed of vxlan"
                )
            await put_rules(UDP_TABLE, facts, self._netns_fd)
            await self._reconcile_all()
            self._started.set()

    async def apply(self, changes: Mapping[Cidr, PeerRoute | None]) -> None:
        """Add, change or (None) take away peers, touching no others."""
        async with self._turn:
            for cidr, peer in changes.items():
                if peer is None:
                    self._peers.pop(cidr, None)
                else:
                    self._peers[cidr] = peer
            try:
                await netns.run_in_async(None, lambda: self._change(changes.keys()))
            except Unavailable as error:
                raise KernelError(f"change {UDP_LINK}", errno.EPIPE, error.problem, error.hint) from error

    async def remove(self) -> None:
        """Take everything of this fabric out of the kernel. Its process, if there is one, ends with its interface."""
        async with self._turn:
            self._started.clear()
            self._peers = {}
            await netns.run_in_async(None, self._remove)
            await take_rules(UDP_TABLE, self._netns_fd)

    async def run(self) -> None:
        """Give a process that comes anew all that it needs, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._started.wait()
            try:
                sock, told = await netns.run_in_async(None, lambda: connect(self._feed_socket))
                with sock:
                    self.dropped = told.dropped
                    if told.generation != self.generation:
                        log.warning("the tunnels' process has not this agent's table: it is told")
                        async with self._turn:
                            if self._started.is_set():
                                await self._reconcile_all()
                    sock.setblocking(False)
                    await loop.sock_recv(sock, 1)  # nothing comes without a question but the end
            except (NetloomError, OSError) as error:
                log.info("%s: again in %.1f s: %s", UDP_LINK, _RETRY_S, error)
            await asyncio.sleep(_RETRY_S)

    async def _reconcile_all(self) -> None:
        try:
            await netns.run_in_async(None, self._reconcile)
        except Unavailable as error:
            raise KernelError(f"start {UDP_LINK}", errno.EPIPE, error.problem, error.hint) from error

    def _reconcile(self) -> None:
        self._push()
        with Rtnl(self._netns_fd) as rtnl:
            set_up(rtnl, UDP_LINK, self._tunnel.mtu, self._tunnel.addresses)
            self._routes.reconcile(rtnl, compile_routes(self._peers.values(), self._tunnel).values())

    def _change(self, destinations: Collection[Cidr]) -> None:
        self._push()
        changed = [self._peers[cidr] for cidr in destinations if cidr in self._peers]
        with Rtnl(self._netns_fd) as rtnl:
            self._routes.change(rtnl, compile_routes(changed, self._tunnel).values(), destinations)

    def _push(self) -> None:
        self._pushes += 1
        told = push(self._feed_socket, compile_table(self.generation, self._peers.values(), self._tunnel))
        self.dropped = told.dropped

    def _remove(self) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            rtnl.delete_link(UDP_LINK)
            self._routes.reconcile(rtnl, ())
