"""What is compared: an attachment with its record and its previous result, and what GC may take. In: values, the kernel. Out: errors.

Functions that ask the kernel block for about a millisecond and are to be called on a thread that dies
(``netns.run_in_async(None, ...)``). Not here: changing anything.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netloom.cni import attach, beside, link_notes
from netloom.cni.attach import PodInterface
from netloom.cni.codes import CniError, Code
from netloom.cni.ipam.lease import Attachment, Lease, PortMapping
from netloom.cni.previous import PreviousResult
from netloom.cni.request import CniRequest
from netloom.cni.versions import is_older
from netloom.errors import Untrue
from netloom.linux.rtnl import Rtnl
from netloom.program import names
from netloom.units import Family, parse_addr

_REMEDY = "delete the pod"


def recorded(request: CniRequest, lease: Lease | None) -> Lease:
    """The record of an attachment, seen to be what its previous result says.

    Raises:
        Untrue: there is none, or they differ.
    """
    if lease is None:
        raise Untrue(f"attachment {request.attachment}: no address is recorded for it", _REMEDY)
    previous = request.previous
    said = {interface.ip for interface in previous.addresses} if previous is not None else set()
    missing = [str(a) for a in lease.addresses if a not in said]
    if missing:
        raise Untrue(
            f"attachment {request.attachment}: prevResult.ips lacks {', '.join(missing)}, which is recorded for it",
            _REMEDY,
        )
    lost = [_words(port) for port in request.wishes.ports if port not in lease.ports]
    if lost:
        raise Untrue(
            f"attachment {request.attachment}: runtimeConfig.portMappings has {', '.join(lost)}, which is not recorded",
            _REMEDY,
        )
    return lease


def check(request: CniRequest, netns_fd: int, wanted: PodInterface) -> None:
    """Pass where the kernel has the interface that ADD made. Plugins behind us may have changed its MTU and its MAC.

    Raises:
        Untrue: it has not; the message lists the differences.
        KernelError: it cannot be asked.
    """
    previous = request.previous
    found = previous.sandbox_interface(wanted.interface) if previous is not None else None
    if found is None:
        raise Untrue(
            f"attachment {request.attachment}: prevResult.interfaces lacks {wanted.interface} of the container",
            _REMEDY,
        )
    _, said = found
    elsewhere = _led_elsewhere(previous, wanted)
    wanted = msgspec.structs.replace(
        wanted,
        mtu=said.mtu or wanted.mtu,
        requested_mac=said.mac.lower() or wanted.requested_mac,
        moved_families=wanted.moved_families | elsewhere,
    )
    # Before 1.1.0 a result does not tell the MTU, so that a plugin behind us may have made it smaller unseen.
    defects = attach.defects(netns_fd, wanted, smaller_mtu=is_older(request.version, "1.1.0"))
    if not defects and elsewhere:
        with Rtnl() as pod:  # the thread is in the pod by now
            still = elsewhere & beside.led_elsewhere(pod, wanted.interface)
            defects = beside.defects(pod, still, wanted.ways_out(), wanted.addresses)
    if defects:
        raise Untrue(f"attachment {request.attachment}: {'; '.join(defects)}", _REMEDY)


def check_ports(request: CniRequest, leases: Iterable[Lease]) -> None:
    """Pass where nobody else has a port of the node that this attachment asks for.

    An earlier sandbox of the same pod does not count: its runtime may still be cleaning up.

    Raises:
        CniError: code 104.
    """
    for lease in leases:
        if lease.attachment == request.attachment or (lease.pod and lease.pod == request.pod):
            continue
        for theirs in lease.ports:
            for i, ours in enumerate(request.wishes.ports):
                if _overlap(ours, theirs):
                    raise CniError(
                        Code.PORT_TAKEN,
                        f"runtimeConfig.portMappings[{i}]: {_words(ours)} of the node leads to "
                        f"{lease.pod or lease.attachment} already",
                        "choose another hostPort or hostIP, or remove that container first",
                    )


def is_of(network: str, attachment: Attachment) -> bool:
    """Whether GC of a network may take an attachment: not where its interface was made for another network.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    with Rtnl() as rtnl:
        link = rtnl.find_link(names.pod_link(attachment.container, attachment.interface))
    return link is None or link_notes.network_of(link) in {"", network}


def strays(network: str, keep: Iterable[Attachment]) -> list[str]:
    """Interfaces of pods, made for this network, that belong to nobody who stays.

    Raises:
        KernelError: the kernel cannot be asked.
    """
    kept = {names.pod_link(a.container, a.interface) for a in keep}
    with Rtnl() as rtnl:
        links = rtnl.links()
    return [
        link.name
        for link in links
        if link.kind == "veth"
        and names.is_pod_link(link.name)
        and link.name not in kept
        and link_notes.network_of(link) in {"", network}
    ]


def _led_elsewhere(previous: PreviousResult | None, wanted: PodInterface) -> frozenset[Family]:
    """Families in which this interface did not become the one that leads to everything."""
    routes = previous.routes if previous is not None else ()
    listed = {(route.get("dst"), route.get("gw")) for route in routes}
    return frozenset(
        way.family for way in wanted.ways_out() if (str(way.destination), str(way.via)) not in listed
    )


def _overlap(one: PortMapping, other: PortMapping) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    a, b = parse_addr(one.host_ip), parse_addr(other.host_ip)
    # none, 0.0.0.0 and :: are all addresses
    return a is None or b is None or a == b or a.is_unspecified or b.is_unspecified


def _words(port: PortMapping) -> str:
    where = f"{port.host_ip} " if port.host_ip else ""
    return f"{where}port {port.host_port}/{port.protocol}"
