"""WireGuard to the kernel or to wireguard-go. In: peers of the model. Out: the interface, its peers, routes; or KernelError.

Implements ``fabric/face.py``. What keeps plain text in goes first and leaves last: the rules that drop it at every other
interface, and the routes to nobody below those of the peers. Then the interface, its key, its peers, and last the routes.
Not here: what there should be (``compile``), who encrypts (``driver``), the key's file (``keys``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from netloom.errors import KernelError, NetloomError, Unavailable, Unsupported
from netloom.fabric.route_set import RouteSet
from netloom.fabric.tunnel_device import set_up
from netloom.fabric.tunnel_rules import WIREGUARD_TABLE
from netloom.fabric.tunnel_rules_apply import has_rules, put_rules, take_rules
from netloom.fabric.wireguard.compile import Compiled, Tunnel, compile_guard, compile_peers, compile_tunnel
from netloom.fabric.wireguard.driver import Driver, KernelDriver, ProcessDriver
from netloom.fabric.wireguard.keys import KeyPair, load_or_make
from netloom.fabric.wireguard.watch import Watch
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl
from netloom.model.inputs import NodeFacts
from netloom.model.state import PeerRoute
from netloom.program.names import GUARD_ROUTE_PROTOCOL, WIREGUARD_LINK, WIREGUARD_ROUTE_PROTOCOL
from netloom.program.wireguard import WireguardChange, WireguardState
from netloom.units import Cidr

log = logging.getLogger(__name__)

KEY_FILE = "wireguard.key"
_RETRY_S = 0.5


class WireguardSettings(msgspec.Struct, frozen=True):
    """Where things are on this node."""

    directory: Path
    """Of the key's file, and of wireguard-go's socket below it; the agent's own, and kept over restarts."""
    netns_fd: int | None = None
    """The node's network namespace; None for the caller's own."""
    in_kernel: bool | None = None
    """Whether the kernel encrypts; None: where it can."""


class WireguardFabric:
    """The WireGuard of one node.

    Args:
        settings: of this node.
        publish: told our public key before it is in force, each time that it is another one.
    """

    def __init__(self, settings: WireguardSettings, *, publish: Callable[[str], None]) -> None:
        self._settings = settings
        self._netns_fd = settings.netns_fd
        self._publish = publish
        self._turn = asyncio.Lock()
        self._facts: NodeFacts | None = None
        self._peers: dict[Cidr, PeerRoute] = {}
        self._key: KeyPair | None = None
        self._tunnel = Tunnel(0, 0)
        self._in_force = Compiled()
        self._routes = RouteSet(WIREGUARD_ROUTE_PROTOCOL)
        self._guard = RouteSet(GUARD_ROUTE_PROTOCOL)
        self._driver: Driver | None = None
        self._started = asyncio.Event()

    @property
    def key_file(self) -> Path:
        """Where the private key is."""
        return self._settings.directory / KEY_FILE

    async def start(self, routes: Mapping[Cidr, PeerRoute], facts: NodeFacts) -> None:
        """Bring the kernel to these peers from whatever a former run left; what is right already is not touched.

        Sessions go on: a peer that has its key, address and ranges is not even named to the driver.
        """
        async with self._turn:
            self._peers = dict(routes)
            self._facts = facts
            await self._start(facts)
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
                raise KernelError(
                    f"change {WIREGUARD_LINK}", errno.EPIPE, error.problem, error.hint
                ) from error

    async def remove(self) -> None:
        """Take everything of this fabric out of the kernel; the key's file stays."""
        async with self._turn:
            self._started.clear()
            await netns.run_in_async(None, self._remove)
            await take_rules(WIREGUARD_TABLE, self._netns_fd)
            self._peers, self._in_force = {}, Compiled()

    async def run(self) -> None:
        """Put right what others do to the interface, its process or the key's file, until cancelled."""
        while True:
            await self._started.wait()
            try:
                await self._repair()
                with self._lifeline() as lifeline, Watch(self.key_file, self._netns_fd) as watch:
                    if await self._is_whole():  # also what happened before we listened
                        await watch.wait(lifeline)
                    else:
                        await asyncio.sleep(_RETRY_S)
            except NetloomError as error:
                log.warning("%s: again in %.1f s: %s", WIREGUARD_LINK, _RETRY_S, error)
                await asyncio.sleep(_RETRY_S)

    async def _repair(self) -> None:
        async with self._turn:
            if self._facts is None or not self._started.is_set():
                return
            if not await self._is_whole():
                log.warning("%s or its key is not as it was: it is made anew", WIREGUARD_LINK)
                await self._start(self._facts)

    @contextlib.contextmanager
    def _lifeline(self) -> Iterator[socket.socket | None]:
        lifeline = None if self._driver is None else self._driver.lifeline()
        try:
            yield lifeline
        finally:
            if lifeline is not None:
                lifeline.close()

    async def _start(self, facts: NodeFacts) -> None:
        await put_rules(WIREGUARD_TABLE, facts, self._netns_fd)
        await netns.run_in_async(None, lambda: self._guard_routes(facts))
        key = await netns.run_in_async(None, lambda: load_or_make(self.key_file))
        if self._key is None or key.public != self._key.public:
            self._publish(key.public)
        self._key = key
        await netns.run_in_async(None, lambda: self._reconcile(facts, key))

    def _guard_routes(self, facts: NodeFacts) -> None:
        with Rtnl(self._netns_fd) as rtnl:
            self._guard.reconcile(rtnl, compile_guard(facts))

    def _reconcile(self, facts: NodeFacts, key: KeyPair) -> None:
        tunnel = compile_tunnel(facts)
        compiled = _told(compile_peers(self._peers.values(), tunnel, key.public))
        driver = self._driver = self._bring_up()
        live = driver.read()
        change = WireguardChange(
            private_key=None if live.public_key == key.public else key.private,
            port=None if live.port == tunnel.port else tunnel.port,
            put=tuple(
                p for p in compiled.peers.values() if p.key not in live.peers or live.peers[p.key].peer != p
            ),
            remove=tuple(k for k in live.peers if k not in compiled.peers),
        )
        if not change.is_empty:
            driver.change(change)
        with Rtnl(self._netns_fd) as rtnl:
            set_up(rtnl, WIREGUARD_LINK, tunnel.mtu, tunnel.addresses)
            _greet(driver, change, live.peers.keys())
            self._routes.reconcile(rtnl, compiled.routes.values())
        self._tunnel, self._in_force = tunnel, compiled

    def _bring_up(self) -> Driver:
        """Whoever can encrypt here, with the interface there."""
        kernel = KernelDriver(WIREGUARD_LINK, netns_fd=self._netns_fd)
        if self._settings.in_kernel is not False:
            try:
                kernel.bring_up()
            except Unsupported:
                if self._settings.in_kernel:
                    raise
            else:
                return kernel
        process = self._process()
        process.bring_up()
        if not isinstance(self._driver, ProcessDriver):
            log.info("this kernel has no WireGuard: a process encrypts, which costs more")
        return process

    def _process(self) -> ProcessDriver:
        return ProcessDriver(
            WIREGUARD_LINK, directory=self._settings.directory / "wg", netns_fd=self._netns_fd
        )

    def _change(self, destinations: Collection[Cidr]) -> None:
        driver, key = self._driver, self._key
        if driver is None or key is None:
            raise KernelError(f"change {WIREGUARD_LINK}", errno.ENODEV, "it has not been started")
        before = self._in_force
        compiled = _told(compile_peers(self._peers.values(), self._tunnel, key.public), before)
        change = WireguardChange(
            put=tuple(p for p in compiled.peers.values() if before.peers.get(p.key) != p),
            remove=tuple(k for k in before.peers if k not in compiled.peers),
        )
        if not change.is_empty:
            driver.change(change)
        _greet(driver, change, before.peers.keys())
        new = [r for d, r in compiled.routes.items() if before.routes.get(d) != r]
        gone = [d for d in {*before.routes, *destinations} if d not in compiled.routes]
        with Rtnl(self._netns_fd) as rtnl:
            self._routes.change(rtnl, new, gone)
        self._in_force = compiled

    def _remove(self) -> None:
        KernelDriver(WIREGUARD_LINK, netns_fd=self._netns_fd).take_down()
        self._process().take_down()
        self._driver = None
        with Rtnl(self._netns_fd) as rtnl:
            self._routes.reconcile(rtnl, ())
            self._guard.reconcile(rtnl, ())

    async def _is_whole(self) -> bool:
        """Whether guard, interface, driver and key are as we left them."""
        return await has_rules(WIREGUARD_TABLE, self._netns_fd) and await netns.run_in_async(
            None, self._is_in_force
        )

    def _is_in_force(self) -> bool:
        key, driver = self._key, self._driver
        if key is None or driver is None:
            return False
        try:
            if load_or_make(self.key_file).public != key.public:
                return False
            with Rtnl(self._netns_fd) as rtnl:
                link = rtnl.find_link(WIREGUARD_LINK)
                if link is None or not link.up or not self._guard.is_in_force(rtnl):
                    return False
            live: WireguardState = driver.read()
        except NetloomError:
            return False
        return live.public_key == key.public and live.peers.keys() == self._in_force.peers.keys()


def _greet(driver: Driver, change: WireguardChange, known: Collection[str]) -> None:
    """Speak to those that are new, and to all when we are: the interface must be up."""
    again = change.private_key is not None
    new = tuple(peer.key for peer in change.put if again or peer.key not in known)
    if new:
        driver.change(WireguardChange(greet=new))


def _told(compiled: Compiled, before: Compiled | None = None) -> Compiled:
    for finding in compiled.findings:
        if before is None or finding not in before.findings:
            log.warning("%s", finding)
    return compiled
