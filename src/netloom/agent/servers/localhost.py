"""NodePorts and host ports at localhost: listens where the kernel does not translate, and hands on to the node's own address.

Comes in: the model's frontends of these kinds, and at which addresses this node serves NodePorts. Goes out: open ports. Which endpoint
answers, with what affinity and policy, is decided by the kernel's rules when the connection that is made here meets them; only where
the node serves NodePorts at loopback alone is there no such address, and then the model's endpoints are taken in turn. A host port
whose ``hostIP`` is a loopback address is served here alone, and comes before one of all addresses.

A port at which the node's own connections would be refused is not listened on, so that it is refused here, too. SCTP is not handed on.
Nor are ports that a runtime maps to a container outside of the cluster: podman binds them itself, behind CNI, and must find them free.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterable, Mapping

from netloom.agent.servers.datagrams import UdpRelay
from netloom.agent.servers.listeners import Listener, Listeners
from netloom.agent.servers.relay import TcpRelay
from netloom.agent.servers.sockets import NodeSockets, Place
from netloom.clock import Clock
from netloom.metrics import Sample, counter, gauge
from netloom.model.attachments import CONTAINER
from netloom.model.inputs import NodeFacts
from netloom.model.provenance import Finding, Source
from netloom.model.services.frontends import Frontend, FrontendAction, FrontendKey, FrontendKind, Pool
from netloom.units import Addr, Cidr, Family, Protocol, family_of

LOOPBACK: dict[Family, Addr] = {
    Family.V4: ipaddress.IPv4Address("127.0.0.1"),
    Family.V6: ipaddress.IPv6Address("::1"),
}
_PROTOCOLS = (Protocol.TCP, Protocol.UDP)


class LocalhostNodePorts:
    """All NodePorts and host ports of a node at localhost.

    Args:
        sockets: of the node.
        clock: for idle times.
    """

    def __init__(self, *, sockets: NodeSockets, clock: Clock) -> None:
        self._sockets = sockets
        self._tcp = TcpRelay(sockets=sockets, clock=clock)
        self._udp = UdpRelay(sockets=sockets, clock=clock)
        self._frontends: dict[FrontendKey, Frontend] = {}
        self._served: frozenset[Family] = frozenset()
        self._targets: Mapping[Family, Addr] = {}
        self._turn = itertools.count()
        self._listeners: Listeners[FrontendKey] = Listeners(open_one=self._open, source_of=self._source_of)

    def serve_at(self, facts: NodeFacts, addresses: Iterable[Addr]) -> None:
        """What the node is, and all of its addresses at this moment."""
        self._served = served_at_loopback(facts)
        self._targets = targets(facts, addresses)
        self._want_all()

    def start(self, frontends: Mapping[FrontendKey, Frontend]) -> None:
        """These are all frontends of the node; only NodePorts and host ports are looked at."""
        self._frontends = {key: one for key, one in frontends.items() if _is_forwarded(one)}
        self._want_all()

    def apply(self, changes: Mapping[FrontendKey, Frontend | None]) -> None:
        """By key, the new frontend, or None where it is gone."""
        for key, frontend in changes.items():
            if frontend is not None and _is_forwarded(frontend):
                self._frontends[key] = frontend
                if self._is_wanted(key):
                    self._listeners.add(key)
            elif self._frontends.pop(key, None) is not None:
                self._listeners.drop(key)
            if key.address is not None and key.address.is_loopback:
                self._want_all()

    def retry(self) -> None:
        """Try ports again that were taken, and end what has rested for too long."""
        self._listeners.retry()
        self._tcp.expire()
        self._udp.expire()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left for :meth:`settle`."""
        return self._listeners.is_settled

    async def settle(self) -> tuple[Finding, ...]:
        """Open what is missing; the findings that are new."""
        return await self._listeners.settle()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Ports that could not be opened."""
        return self._listeners.findings

    def close(self) -> None:
        """Close all ports and end all connections."""
        self._frontends.clear()
        self._listeners.close()
        self._tcp.close()
        self._udp.close()

    def samples(self) -> Iterable[Sample]:
        """What is open and what went through."""
        tcp, udp = self._tcp, self._udp
        text = "NodePorts and host ports open at localhost."
        yield gauge("netloom_localhost_ports", text, self._listeners.open_count)
        text = "Connections through NodePorts at localhost at this moment."
        yield gauge("netloom_localhost_connections", text, tcp.open_count)
        text = "Connections accepted at NodePorts at localhost."
        yield counter("netloom_localhost_connections_total", text, tcp.connections)
        text = "Of them, those that the Service did not accept."
        yield counter("netloom_localhost_refused_total", text, tcp.refused)
        yield counter(
            "netloom_localhost_bytes_total", "Bytes relayed over TCP, both ways together.", tcp.bytes
        )
        text = "Clients of UDP NodePorts at localhost at this moment."
        yield gauge("netloom_localhost_associations", text, udp.open_count)
        text = "Datagrams handed on, both ways together."
        yield counter("netloom_localhost_datagrams_total", text, udp.datagrams)
        text = "Datagrams that could not be handed on."
        yield counter("netloom_localhost_datagrams_dropped_total", text, udp.dropped)

    def _want_all(self) -> None:
        self._listeners.want(key for key in self._frontends if self._is_wanted(key))

    def _is_wanted(self, key: FrontendKey) -> bool:
        """At a loopback address always, at all addresses where these have loopback among them and nobody asks for it alone."""
        if key.address is not None:
            return True
        alone = FrontendKey(key.family, LOOPBACK[key.family], key.protocol, key.port)
        return key.family in self._served and alone not in self._frontends

    def _source_of(self, key: FrontendKey) -> Source:
        return self._frontends[key].source

    async def _open(self, key: FrontendKey) -> Listener:
        place = Place(key.address or LOOPBACK[key.family], key.port)
        if key.protocol is Protocol.TCP:
            return self._tcp.listen(self._sockets.listen(place), lambda: self._target(key))
        return self._udp.listen(self._sockets.bind_datagrams(place), lambda: self._target(key))

    def _target(self, key: FrontendKey) -> tuple[Addr, int] | None:
        own = self._targets.get(key.family)
        if own is not None and key.address is None:
            return own, key.port
        frontend = self._frontends.get(key)
        if frontend is None:
            return None
        backends = _for_the_node(frontend).backends
        if not backends:
            return None
        backend = backends[next(self._turn) % len(backends)]
        return backend.address, backend.port


def served_at_loopback(facts: NodeFacts) -> frozenset[Family]:
    """Families of which NodePorts are answered at localhost.

    Those of the node's own addresses, if the addresses chosen for NodePorts are all, or have loopback among them (kube-proxy
    ``--nodeport-addresses`` in its iptables mode).
    """
    cidrs = facts.node_port_cidrs
    own = {family_of(address) for address in facts.addresses}
    return frozenset(family for family in own if cidrs is None or is_in(LOOPBACK[family], cidrs))


def targets(facts: NodeFacts, addresses: Iterable[Addr]) -> dict[Family, Addr]:
    """For each family an address of the node at which the kernel serves NodePorts: the node's own where that is one."""
    found: dict[Family, Addr] = {}
    for address in (*facts.addresses, *addresses):
        if address.is_loopback or family_of(address) in found:
            continue
        if facts.node_port_cidrs is None or is_in(address, facts.node_port_cidrs):
            found[family_of(address)] = address
    return found


def is_in(address: Addr, cidrs: Iterable[Cidr]) -> bool:
    """Whether an address lies in one of these networks."""
    return any(address.version == cidr.version and address in cidr for cidr in cidrs)


def _for_the_node(frontend: Frontend) -> Frontend | Pool:
    return frontend if frontend.inside is None else frontend.inside


def _is_forwarded(frontend: Frontend) -> bool:
    if frontend.key.protocol not in _PROTOCOLS or frontend.source.kind == CONTAINER:
        return False
    if frontend.key.address is not None:
        return frontend.kind is FrontendKind.HOST_PORT and frontend.key.address.is_loopback
    return _for_the_node(frontend).action is FrontendAction.BALANCE
