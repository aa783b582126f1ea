"""The addresses of this node, as they are now. In: the kernel's announcements. Out: the addresses, and a call when they change.

A kubelet reports what its machine has; so does the runner, for the one interface that joins the nodes. Not here: who is told
(``node``, ``pods``).
"""

from __future__ import annotations

import errno
import ipaddress
import logging
from collections.abc import Callable, Iterable, Sequence

from netloom.agent.underlay import UnderlayWatch
from netloom.errors import KernelError
from netloom.linux.rtnl import Rtnl
from netloom.linux.sock_diag import end_connections_from
from netloom.units import Addr, Family, family_of

log = logging.getLogger(__name__)


class NodeAddresses:
    """One address of each family of a node.

    Args:
        known: as it was told at the start; the order of families is theirs.
        device: the interface that has them; empty where they never change.
    """

    def __init__(self, known: Sequence[str], *, device: str = "") -> None:
        self._now = tuple(ipaddress.ip_address(text) for text in known)
        self._families = tuple(map(family_of, self._now))
        self._device = device
        self._listeners: list[Callable[[], None]] = []

    @property
    def now(self) -> tuple[str, ...]:
        """Addresses, the preferred family first."""
        return tuple(map(str, self._now))

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call this after each change."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Follow the interface until cancelled."""
        if self._device:
            await UnderlayWatch(self.look).run()

    def look(self) -> None:
        """Take note of what the interface has now; one that has no address at all any more goes on with what it had."""
        try:
            with Rtnl() as rtnl:
                there = [a.interface.ip for a in rtnl.addresses(self._device)]
        except KernelError as error:
            log.warning("addresses of %s: %s", self._device, error)
            return
        chosen = choose(self._families, self._now, there)
        if not chosen or chosen == self._now:
            return
        gone = [address for address in self._now if address not in chosen]
        log.info("this node is at %s now", ", ".join(map(str, chosen)))
        self._now = chosen
        for address in gone:
            _end(address)
        for listener in self._listeners:
            listener()


def choose(families: Sequence[Family], known: Sequence[Addr], there: Iterable[Addr]) -> tuple[Addr, ...]:
    """One address of each family: the known one as long as it is there, else the first one that is no link-local one. Pure."""
    usable = sorted((a for a in there if not a.is_link_local), key=lambda address: address not in known)
    found = (next((a for a in usable if family_of(a) is family), None) for family in families)
    return tuple(address for address in found if address is not None)


def in_order(addresses: Sequence[str], preferred: Sequence[str]) -> tuple[str, ...]:
    """A pod's addresses, those of the node's first family first (as a kubelet writes ``status.podIPs``). Pure."""
    first = ":" in preferred[0] if preferred else False
    return tuple(sorted(addresses, key=lambda address: (":" in address) is not first))


def _end(address: Addr) -> None:
    try:
        count = end_connections_from(address)
    except KernelError as error:
        level = logging.INFO if error.errno == errno.EOPNOTSUPP else logging.WARNING
        log.log(
            level,
            "connections of %s, which this node has no more, go on until they time out: %s",
            address,
            error,
        )
    else:
        log.info("%d connections of %s, which this node has no more, were ended", count, address)
