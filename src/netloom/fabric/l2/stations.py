"""Which pod of the bridge may send from which address, to the kernel. In: MACs and addresses. Out: a table of nftables, or an error.

Pods with an interface of their own are told apart by it. Those of a bridge come in by one interface, and are told apart by their MAC, which their
port holds them to. So there is one set of MAC and address, and one rule that drops what is not in it. What belongs in the set is read
off the bridge's permanent neighbours: nothing else keeps account. Not here: what the table says (``compile``).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable

from netloom.errors import NftError, Unavailable
from netloom.fabric.l2.compile import STATIONS, compile_table, station
from netloom.linux.nft import Nft
from netloom.linux.rtnl import Rtnl
from netloom.program.names import BRIDGE_LINK, NFT_BRIDGE_TABLE, NFT_SPOOFED
from netloom.program.neighbours import Neighbour
from netloom.program.nft import AddElements, DeleteElements, DeleteTable, Key, Op, Transaction
from netloom.units import Family, family_of

changing = threading.Lock()
"""Held while neighbours, routes and stations of the bridge are added, or compared with its ports."""


async def ensure(netns_fd: int | None) -> None:
    """Let the table be there, with the pods that are on the bridge; one that is right is not touched.

    Raises:
        KernelError: the kernel refused.
    """
    with Nft(netns_fd=netns_fd) as nft:
        for family in Family:
            wanted = compile_table(family, _present(netns_fd, family))
            rules = {NFT_SPOOFED: tuple(op.comment for op in wanted.ops if hasattr(op, "comment"))}
            if await nft.chains(family, NFT_BRIDGE_TABLE) != rules:
                await nft.run(wanted)


def align(netns_fd: int | None) -> None:
    """Let the set be what the bridge's neighbours say, as little changed as may be.

    Raises:
        KernelError: the kernel refused.
    """
    with changing, Nft(netns_fd=netns_fd) as nft:
        for family in Family:
            wanted = set(_present(netns_fd, family))
            live = set(nft.read_elements(family, NFT_BRIDGE_TABLE, STATIONS))
            _change(nft, family, add=wanted - live, delete=live - wanted)


async def remove(netns_fd: int | None) -> None:
    """Take the tables away; no error where they are gone."""
    with Nft(netns_fd=netns_fd) as nft:
        for family in Family:
            if await nft.chains(family, NFT_BRIDGE_TABLE) is not None:
                await nft.run(Transaction(family, NFT_BRIDGE_TABLE, (DeleteTable(),)))


def admit(nft: Nft, neighbours: Iterable[Neighbour]) -> None:
    """From now on these may send; while the caller holds ``changing``.

    Raises:
        Unavailable: the table is not there (yet).
        KernelError: the kernel refused.
    """
    keys = list(neighbours)
    for family in Family:
        add = {station(n) for n in keys if family_of(n.address) is family}
        try:
            _change(nft, family, add=add, delete=set())
        except NftError as error:
            if error.errno != errno.ENOENT:
                raise
            raise Unavailable(
                f"nftables table {NFT_BRIDGE_TABLE}: is not there",
                "the agent makes it when it starts; try again",
            ) from error


def dismiss(nft: Nft, neighbours: Iterable[Neighbour]) -> None:
    """From now on these may not send; no error where they could not. As :func:`admit`."""
    for neighbour in neighbours:
        try:
            _change(nft, family_of(neighbour.address), add=set(), delete={station(neighbour)})
        except NftError as error:
            if error.errno != errno.ENOENT:
                raise


def _present(netns_fd: int | None, family: Family) -> list[Key]:
    with Rtnl(netns_fd) as rtnl:
        return [
            station(n)
            for n in rtnl.neighbours()
            if n.device == BRIDGE_LINK and n.permanent and family_of(n.address) is family
        ]


def _change(nft: Nft, family: Family, *, add: set[Key], delete: set[Key]) -> None:
    adding = AddElements(STATIONS, tuple((key, None) for key in sorted(add)))
    deleting = DeleteElements(STATIONS, tuple(sorted(delete)))
    ops: tuple[Op, ...] = (*((adding,) if add else ()), *((deleting,) if delete else ()))
    nft.run_native(Transaction(family, NFT_BRIDGE_TABLE, ops))
