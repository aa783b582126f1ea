"""A pod's default route, moved to another of its interfaces. In: what its networks gave, and the pod's namespace. Out: routes, rules.

As Multus does, the annotation's ``default-route`` takes the default route away from the pod's first interface. What makes a pod part
of the cluster stays there: the ranges of pods and Services, the node's own addresses, and every answer to what came in through it
(packets from its address ask a table of their own, so probes, NodePorts and clients of the cluster see no difference). Not here: the
interfaces themselves.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Iterator, Sequence

import msgspec

from netloom.cni.attach import PodInterface
from netloom.cni.networks.results import Attached
from netloom.cni.networks.selection import Selection
from netloom.errors import InvalidObject, KernelError
from netloom.linux import rtrule
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.program.routes import Route, Scope
from netloom.units import Addr, Cidr, Family, family_of


class DefaultRoute(msgspec.Struct, frozen=True):
    """Where the default route of one family goes."""

    interface: str
    via: Addr

    @property
    def family(self) -> Family:
        """The IP family."""
        return family_of(self.via)

    def route(self) -> Route:
        """As the pod has it."""
        everything = ipaddress.ip_network("0.0.0.0/0" if self.family is Family.V4 else "::/0")
        return Route(
            destination=everything, device=self.interface, via=self.via, protocol=names.POD_ROUTE_PROTOCOL
        )


def wanted(selection: Selection, attached: Attached, *, pod: str) -> tuple[DefaultRoute, ...]:
    """The default routes that a pod wants through a network: through the gateways that it names, else those of the network.

    Raises:
        InvalidObject: it names none, and the network gives none; or it names one of a family in which it has no address.
    """
    if selection.default_route is None:
        return ()
    subject, field = f"Pod {pod}", f"{selection.where}.default-route"
    families = {one.address.version for one in attached.addresses}
    if selection.default_route:
        strange = [str(via) for via in selection.default_route if via.version not in families]
        if strange:
            problem = f"the interface has no address of the family of {strange[0]}"
            raise InvalidObject(subject, field, problem, "see what the network's IPAM gives")
        return tuple(DefaultRoute(selection.interface, via) for via in selection.default_route)
    given = [r.via for r in attached.routes if r.via is not None and not r.destination.prefixlen]
    given += [one.gateway for one in attached.addresses if one.gateway is not None]
    first = {via.version: via for via in reversed(given)}
    if not first:
        problem = f"is empty, and network {selection.network} gives no gateway"
        raise InvalidObject(subject, field, problem, "name the gateway")
    return tuple(DefaultRoute(selection.interface, via) for _, via in sorted(first.items()))


def check_one_of_each(routes: Sequence[DefaultRoute], *, pod: str) -> None:
    """Pass where no two networks want the default route of one family.

    Raises:
        InvalidObject: two do.
    """
    taken: dict[Family, str] = {}
    for route in routes:
        other = taken.setdefault(route.family, route.interface)
        if other != route.interface:
            raise InvalidObject(
                f"Pod {pod}",
                "metadata.annotations",
                f"default-route of {other} and of {route.interface} are both of {route.family.address_type}",
                "a pod has one default route of each family",
            )


def move(netns_fd: int, first: PodInterface, routes: Sequence[DefaultRoute], keep: Sequence[Cidr]) -> None:
    """Let the pod's default routes go there; may be repeated.

    Args:
        netns_fd: the pod's namespace.
        first: its first interface.
        routes: one of a family.
        keep: ranges that stay reachable through the first interface.

    Raises:
        KernelError: refused, such as for a gateway that no address of the interface reaches.
    """
    with Rtnl(netns_fd) as pod:
        for route in routes:
            old = [r for r in first.pod_routes() if r.family is route.family and not r.destination.prefixlen]
            for one in old:
                for stays in _stay(first, one, keep):
                    pod.replace_route(stays)
            for address in first.addresses:
                if old and family_of(address) is route.family:
                    _add_rule(pod, address)
            pod.replace_route(route.route())
            for one in old:
                pod.delete_route(one)


def defects(netns_fd: int, routes: Sequence[DefaultRoute]) -> list[str]:
    """Default routes that are not as :func:`move` leaves them, one line each."""
    with Rtnl(netns_fd) as pod:
        live = set(pod.routes())
    return [f"pod: no route {r.route()}" for r in routes if r.route() not in live]


def _stay(first: PodInterface, old: Route, keep: Sequence[Cidr]) -> Iterator[Route]:
    """The first interface's own default route in a table of its own, and what else goes on through it."""
    yield msgspec.structs.replace(old, table=names.POD_SOURCE_TABLE)
    if old.via is not None:
        near = ipaddress.ip_network(old.via)
        scope = Scope.LINK if old.family is Family.V4 else Scope.UNIVERSE
        for table in (old.table, names.POD_SOURCE_TABLE):
            yield Route(destination=near, device=old.device, scope=scope, protocol=old.protocol, table=table)
    ranges = [*keep, *(ipaddress.ip_network(a) for a in first.node_addresses)]
    for cidr in dict.fromkeys(ranges):
        if family_of(cidr) is old.family:
            yield msgspec.structs.replace(old, destination=cidr)


def _add_rule(pod: Rtnl, source: Addr) -> None:
    request = rtrule.new_rule(
        source,
        names.POD_SOURCE_TABLE,
        priority=names.POD_SOURCE_PRIORITY,
        protocol=names.POD_ROUTE_PROTOCOL,
    )
    try:
        pod.batch([request])
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
