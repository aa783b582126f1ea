"""What of a host does not go with being a node, found at the start and not changed: it is the administrator's.

In: the node's network namespace. Out: Findings. Not here: what netloom sets itself (``program/sysctl``).
"""

from __future__ import annotations

from netloom.linux import sysctl
from netloom.linux.rtnl import Rtnl
from netloom.model.provenance import Finding, Source
from netloom.program.names import is_own_link
from netloom.units import Family

_RTPROT_RA = 9
"""Routes from router advertisements (linux/rtnetlink.h)."""


def host_findings(node: str, netns_fd: int | None = None) -> tuple[Finding, ...]:
    """Interfaces whose IPv6 routes end now that the node forwards: the kernel takes no more advertisements then.

    That is what ``accept_ra`` 1 means (kernel documentation, ip-sysctl: "accepted if forwarding is disabled"); 2 takes them all the same.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    with Rtnl(netns_fd) as rtnl:
        advertised = {
            route.device
            for route in rtnl.routes(_RTPROT_RA)
            if route.family is Family.V6 and not is_own_link(route.device)
        }
    found = []
    for device in sorted(advertised):
        path = f"net/ipv6/conf/{device}/accept_ra"
        if sysctl.read(path, netns_fd) == "1":
            name = path.replace("/", ".")
            problem = f"{device} has its IPv6 routes from router advertisements, and a node that forwards takes no more"
            source = Source("Node", "", node, field=f"sysctl {name}")
            found.append(Finding(source, problem, f"set {name}=2, or give it a static route"))
    return tuple(found)
