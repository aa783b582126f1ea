"""Interfaces of a node at which it can answer for addresses. In: the kernel's. Out: values. Not here: what is answered."""

from __future__ import annotations

import ipaddress

import msgspec

from netloom.linux.rtmsg import mac_bytes
from netloom.linux.rtnl import Rtnl
from netloom.program.names import is_own_link
from netloom.units import Addr, Cidr


class Nic(msgspec.Struct, frozen=True):
    """One interface of a node."""

    index: int
    name: str
    mac: bytes
    networks: tuple[Cidr, ...]


def nics(netns_fd: int | None = None) -> tuple[Nic, ...]:
    """Those that are up, have a MAC, and are not our own; of a network namespace, or the caller's.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    with Rtnl(netns_fd) as rtnl:
        addresses = rtnl.addresses()
        return tuple(
            Nic(
                link.index,
                link.name,
                mac_bytes(link.mac),
                tuple(a.interface.network for a in addresses if a.device == link.name),
            )
            for link in rtnl.links()
            if link.up and link.mac and link.mac != "00:00:00:00:00:00" and not is_own_link(link.name)
        )


def nics_for(address: Addr, all_nics: tuple[Nic, ...], chosen: frozenset[str]) -> tuple[Nic, ...]:
    """Where an address is answered for: at the chosen interfaces; where none are chosen, at those in whose networks it lies.

    A network of a whole address (/32, /128) holds nobody else, and a link-local one is not meant.
    """
    if chosen:
        return tuple(nic for nic in all_nics if nic.name in chosen)
    return tuple(nic for nic in all_nics if any(_holds(network, address) for network in nic.networks))


def _holds(network: Cidr, address: Addr) -> bool:
    if network.version != address.version or network.prefixlen == network.max_prefixlen:
        return False
    return not ipaddress.ip_address(network.network_address).is_link_local and address in network
