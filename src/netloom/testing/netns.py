"""Network namespaces for tests: anonymous, held by descriptors of this process, gone with it however it ends.

In: nothing. Out: descriptors. The process itself never enters one (``linux/netns.py`` does that on threads). Not here: what is
built inside, see ``topologies``.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator

from netloom.errors import KernelError
from netloom.linux import netns
from netloom.linux.rtnl import Rtnl


@functools.cache
def has_rights() -> bool:
    """True where this process may make network namespaces: as root, or started in a user namespace of its own."""
    try:
        os.close(netns.new_netns())
    except KernelError:
        return False
    return True


@contextlib.contextmanager
def fresh_netns() -> Iterator[int]:
    """The descriptor of a new namespace whose loopback is up."""
    fd = netns.new_netns()
    try:
        with Rtnl(fd) as rtnl:
            rtnl.set_up("lo")
        yield fd
    finally:
        os.close(fd)


def fingerprint() -> tuple[object, ...]:
    """Links, addresses and routes of this process's own namespace, to be compared before and after tests.

    Interfaces of others come and go on a busy machine, so only what netloom could have left is counted: veth pairs,
    bridges, and routes of our protocol numbers.
    """
    with Rtnl() as rtnl:
        links = sorted((link.name, link.kind) for link in rtnl.links() if link.kind in {"veth", "bridge"})
        routes = sorted(str(r) for protocol in (201, 202) for r in rtnl.routes(protocol))
    return (*links, *routes)
