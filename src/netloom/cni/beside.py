"""An interface beside others in one container: who leads to everything, and what answers from where. In: the container's netlink.

A container may be in several networks of its runtime. Whoever comes first leads to everything; the specification asks plugins to leave
such a route alone. What has the later interface's address goes out through it nevertheless, by a table of its own that a rule asks: the
node takes from an interface only what has its address. Not here: what the interface is (``attach``).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable

from netloom.errors import KernelError
from netloom.linux import netns, rtrule
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.program.routes import MAIN_TABLE, Route
from netloom.units import Addr, Family, family_of

_TABLES = 10_000
"""Table of an interface's own routes: this, and the interface's number."""


def led_elsewhere(pod: Rtnl, interface: str) -> frozenset[Family]:
    """Families in which another interface than this one leads to everything.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    if all(link.name in {"lo", interface} for link in pod.links()):
        return frozenset()  # nearly always, and routes need not be asked for
    return frozenset(
        route.family
        for route in pod.routes()
        if route.destination.prefixlen == 0
        and route.table == MAIN_TABLE
        and route.device not in {"", "lo", interface}
    )


def answer_through(
    pod: Rtnl, families: frozenset[Family], routes: Iterable[Route], addresses: Iterable[Addr]
) -> None:
    """What has one of these addresses takes these routes, whatever the others say; only for these families. It may be repeated.

    Raises:
        KernelError: refused.
    """
    if not families:
        return
    table = 0
    for route in routes:
        if route.family in families:
            table = _table_of(pod, route.device)
            pod.replace_route(_in_table(route, table))
    for address in addresses:
        if family_of(address) in families:
            _forget(pod, address)  # of an interface of the same address and another number
            rule = rtrule.new_rule(
                address, table, priority=names.POD_SOURCE_PRIORITY, protocol=names.POD_ROUTE_PROTOCOL
            )
            pod.batch([rule])


def defects(
    pod: Rtnl, families: frozenset[Family], routes: Iterable[Route], addresses: Iterable[Addr]
) -> list[str]:
    """What is not as :func:`answer_through` leaves it, one line each.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    live, found, table = set(pod.routes(names.POD_ROUTE_PROTOCOL)), [], 0
    for route in routes:
        if route.family in families:
            table = _table_of(pod, route.device)
            if _in_table(route, table) not in live:
                found.append(f"pod: no route {route} in table {table}")
    rules = {rule for family in families for rule in pod.source_rules(family)}
    return found + [
        f"pod: no rule from {address} to table {table}"
        for address in addresses
        if family_of(address) in families and (address.packed, table) not in rules
    ]


def forget(pod_netns: int, addresses: Iterable[Addr]) -> None:
    """Take the rules away; no error where there are none, and where the container is gone. Leaves the thread inside the container."""
    with contextlib.suppress(KernelError):
        netns.enter(pod_netns)
        with Rtnl() as pod:
            for address in addresses:
                _forget(pod, address)


def _table_of(pod: Rtnl, interface: str) -> int:
    """Number of the table of an interface's own routes."""
    return _TABLES + pod.index(interface)


def _in_table(route: Route, table: int) -> Route:
    return Route(
        destination=route.destination,
        device=route.device,
        via=route.via,
        onlink=route.onlink,
        protocol=route.protocol,
        table=table,
    )


def _forget(pod: Rtnl, address: Addr) -> None:
    try:
        pod.batch([rtrule.delete_rule(address, priority=names.POD_SOURCE_PRIORITY)])
    except KernelError as error:
        if error.errno not in {errno.ENOENT, errno.EAFNOSUPPORT}:
            raise
