"""Who asks: clients by the address that a query comes from, and whether they are answered at all.

Comes in: the agent's word on which pod has which address, and on the networks that may ask. Goes out: a Client for an address, or None
for a stranger: a node's DNS server answers the pods of its node and the node itself, so that nobody outside can use it to
multiply packets. Until the agent has said who may ask, everybody may, and nobody has a search path.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from netloom.dns.prepared import PreparedAnswers, Store
from netloom.dns.wire import Malformed, encode_name
from netloom.model.names.askers import Asker

OTHERS_LIMIT = 4096
"""Addresses that are served without being a pod's, and are remembered."""


_SPARE_PATHS = 64


class SearchPath:
    """One search path, as suffixes on the wire; equal paths are one object."""

    def __init__(self, domains: tuple[bytes, ...], ndots: int) -> None:
        self.first = domains[0]
        self.others = domains[1:]
        self.ndots = ndots


class Client:
    """One address that asks."""

    __slots__ = ("address", "answers", "path", "pod", "queries", "waiting")

    def __init__(self, address: bytes, pod: str, path: SearchPath | None, answers: Store) -> None:
        self.address = address
        self.pod = pod
        """namespace/name; empty where it is no pod that the agent knows."""
        self.path = path
        self.answers = answers
        """What is ready for askers with this search path alone."""
        self.queries = 0
        """Queries by datagram so far."""
        self.waiting: deque[Any] = deque()
        """Its queries that are still to be read (``turns.py``)."""


class Clients:
    """All clients. One owner: the event loop."""

    def __init__(self, *, prepared: PreparedAnswers) -> None:
        self._prepared = prepared
        self._paths: dict[tuple[tuple[str, ...], int], SearchPath] = {}
        self._pods: dict[bytes, Client] = {}
        self._networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] | None = None
        self.by_address: dict[bytes, Client] = {}
        """Clients met so far or told of, by packed address; the receive loop looks into it itself."""

    def replace(self, askers: Mapping[str, Asker], networks: Iterable[str] | None) -> None:
        """Know these pods and networks from now on, and no others.

        Raises:
            Malformed: an address, a network or a domain is none; nothing has changed.
        """
        try:
            allowed = None if networks is None else tuple(ipaddress.ip_network(n) for n in networks)
        except ValueError as error:
            raise Malformed(f"network: {error}") from None
        pods = {(packed := _packed(address)): self._client(packed, one) for address, one in askers.items()}
        self._networks, self._pods = allowed, pods
        self.by_address.clear()
        self.by_address.update(pods)
        self._forget_paths()

    def update(self, upserts: Mapping[str, Asker], removals: Iterable[str]) -> None:
        """Take changes of pods in.

        Raises:
            Malformed: as for ``replace``.
        """
        fresh = {(packed := _packed(address)): self._client(packed, one) for address, one in upserts.items()}
        for address in removals:
            packed = _packed(address)
            self._pods.pop(packed, None)
            self.by_address.pop(packed, None)
        self._pods.update(fresh)
        self.by_address.update(fresh)
        if len(self._paths) > 2 * len(self._pods) + _SPARE_PATHS:
            self._forget_paths()

    def meet(self, address: bytes) -> Client | None:
        """The client at an address that is not in ``by_address``; None for one that is not to be answered."""
        if not self._is_allowed(address):
            return None
        if len(self.by_address) - len(self._pods) >= OTHERS_LIMIT:
            self.by_address.clear()
            self.by_address.update(self._pods)
        client = Client(address, "", None, self._prepared.store(None))
        self.by_address[address] = client
        return client

    def at(self, address: bytes) -> Client | None:
        """The client at an address, whether met before or not."""
        return self.by_address.get(address) or self.meet(address)

    def _is_allowed(self, address: bytes) -> bool:
        if self._networks is None:
            return True
        one = ipaddress.ip_address(address)
        return one.is_loopback or any(one in network for network in self._networks)

    def _forget_paths(self) -> None:
        """Namespaces come and go: what no pod of this node uses any more takes no room."""
        used = {client.path for client in self._pods.values()}
        for key, path in list(self._paths.items()):
            if path not in used:
                del self._paths[key]
                self._prepared.drop_store(path)

    def _client(self, address: bytes, asker: Asker) -> Client:
        path = self._path(asker)
        return Client(address, asker.pod, path, self._prepared.store(path))

    def _path(self, asker: Asker) -> SearchPath | None:
        if not asker.domains:
            return None
        key = (asker.domains, asker.ndots)
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = SearchPath(tuple(map(encode_name, asker.domains)), asker.ndots)
        return path


def _packed(address: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise Malformed(f"client {address!r} is no address") from None
