"""Connection tracking of one network namespace, over ctnetlink. In: a filter, or flows. Out: flows, or their end.

Not here: which flows may live (the planes say). From ``linux/netfilter/nfnetlink_conntrack.h``.
"""

from __future__ import annotations

import errno
import ipaddress
import os
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from netloom.errors import KernelError, Unsupported
from netloom.linux.netlink import (
    NETLINK_NETFILTER,
    NetlinkSocket,
    Request,
    attr,
    attributes,
    be16,
    nested,
    u8,
    u32,
)
from netloom.program.conntrack import Flow, FlowFilter, Tuple
from netloom.units import Addr, Family

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET = _SUBSYSTEM << 8 | 1
_DELETE = _SUBSYSTEM << 8 | 2
_NFPROTO = {Family.V4: 2, Family.V6: 10}

_CTA_TUPLE_ORIG = 1
_CTA_TUPLE_REPLY = 2
_CTA_ID = 12
_CTA_ZONE = 18
_CTA_FILTER = 25
_FILTER_ORIG_FLAGS = 1
_FILTER_REPLY_FLAGS = 2
_TUPLE_IP = 1
_TUPLE_PROTO = 2
_IP = {Family.V4: (1, 2), Family.V6: (3, 4)}
_PROTO_NUM = 1
_PROTO_SRC_PORT = 2
_PROTO_DST_PORT = 3
_ICMP = {1: (4, 5, 6), 58: (7, 8, 9)}
"""Echo and its like have an identifier, a type and a code instead of ports."""
# Bits of CTA_FILTER: which parts of the tuple given must be equal.
_MATCH_DESTINATION = 1 << 1
_MATCH_PROTOCOL = 1 << 3
_MATCH_DESTINATION_PORT = 1 << 5


class Conntrack:
    """The connection tracking table of one network namespace. A context manager; one thread at a time.

    Args:
        netns_fd: the namespace; None for the caller's own.

    Raises:
        Unsupported: this kernel has no netfilter netlink.
    """

    def __init__(self, *, netns_fd: int | None = None) -> None:
        try:
            self._socket = NetlinkSocket(NETLINK_NETFILTER, netns_fd=netns_fd)
        except OSError as error:
            raise Unsupported(
                f"netfilter netlink socket: {error.strerror}", "this kernel needs CONFIG_NF_CT_NETLINK"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dump(self, wanted: FlowFilter) -> list[Flow]:
        """The flows that fit the filter.

        The kernel walks its whole table and hands out only these (since Linux 5.8; before, all, and we leave out others).

        Raises:
            KernelError: the kernel refused.
        """
        what = "" if wanted.protocol is None else f" of protocol {wanted.protocol}"
        operation = f"list {wanted.family.value} conntrack{what}"
        request = Request(_GET, 0, _generic(wanted.family) + _filter(wanted), operation)
        flows = (_flow(wanted.family, message.body) for message in self._socket.dump(request))
        return [flow for flow in flows if flow is not None and _fits(flow, wanted)]

    def delete(self, flows: Iterable[Flow]) -> int:
        """End exactly these flows, whose next packets start anew; how many were still there.

        Raises:
            KernelError: the kernel refused for another reason than that a flow has gone.
        """
        # Looked up by what comes back, which says where the flow goes. By what was sent, a client that takes its port again
        # would be hit: the kernel makes an entry's number from its place in memory and what was sent (Linux 6.18), and gives
        # the place of an entry that has just gone to the next one.
        requests = [
            Request(
                _DELETE,
                0,
                _generic(flow.family)
                + nested(_CTA_TUPLE_REPLY, *_tuple(flow.family, flow.protocol, flow.reply))
                + attr(_CTA_ID, flow.id.to_bytes(4, "big")),
                f"delete {flow.family.value} conntrack entry",
            )
            for flow in flows
        ]
        deleted = 0
        for request, refused in zip(requests, self._socket.try_batch(requests), strict=True):
            if refused is None:
                deleted += 1
            elif refused.errno != errno.ENOENT:
                raise KernelError(
                    request.operation, refused.errno, refused.text or os.strerror(refused.errno)
                )
        return deleted


def _generic(family: Family) -> bytes:
    return bytes((_NFPROTO[family], 0, 0, 0))


def _filter(wanted: FlowFilter) -> bytes:
    if wanted.protocol is None:  # the kernel's filter wants one; all of the family are asked for
        return b""
    flags = _MATCH_PROTOCOL
    ip = b""
    ports = b""
    # Kernels (6.18 seen) take the wrong way round whether IPv6 addresses are equal, and give all but those: not asked there.
    if wanted.destination is not None and wanted.family is Family.V4:
        flags |= _MATCH_DESTINATION
        ip = attr(_IP[wanted.family][1], wanted.destination.packed)
    if wanted.destination_port is not None:
        flags |= _MATCH_DESTINATION_PORT
        ports = attr(_PROTO_DST_PORT, be16(wanted.destination_port))
    return (
        nested(
            _CTA_TUPLE_ORIG,
            nested(_TUPLE_IP, ip),
            nested(_TUPLE_PROTO, attr(_PROTO_NUM, u8(wanted.protocol)), ports),
        )
        + nested(_CTA_FILTER, attr(_FILTER_ORIG_FLAGS, u32(flags)), attr(_FILTER_REPLY_FLAGS, u32(0)))
    )  # fmt: skip


def _fits(flow: Flow, wanted: FlowFilter) -> bool:
    return (
        wanted.protocol in (None, flow.protocol)
        and wanted.destination in (None, flow.original.destination)
        and wanted.destination_port in (None, flow.original.destination_port)
    )


def _tuple(family: Family, protocol: int, one: Tuple) -> Iterator[bytes]:
    source, destination = _IP[family]
    yield nested(_TUPLE_IP, attr(source, one.source.packed), attr(destination, one.destination.packed))
    if protocol in _ICMP:
        identifier, kind, code = _ICMP[protocol]
        rest: tuple[bytes, ...] = (
            attr(identifier, be16(one.source_port)),
            attr(kind, u8(one.destination_port >> 8)),
            attr(code, u8(one.destination_port & 0xFF)),
        )
    else:
        rest = (
            attr(_PROTO_SRC_PORT, be16(one.source_port)),
            attr(_PROTO_DST_PORT, be16(one.destination_port)),
        )
    yield nested(_TUPLE_PROTO, attr(_PROTO_NUM, u8(protocol)), *rest)


def _flow(family: Family, body: bytes) -> Flow | None:
    """An entry of a dump; None for entries of other zones, which are not ours, and for those that cannot be read."""
    found = attributes(body, 4)
    if int.from_bytes(found.get(_CTA_ZONE, b""), "big"):
        return None
    original = _read_tuple(family, found.get(_CTA_TUPLE_ORIG, b""))
    reply = _read_tuple(family, found.get(_CTA_TUPLE_REPLY, b""))
    if original is None or reply is None:
        return None
    number = int.from_bytes(found.get(_CTA_ID, b""), "big")
    return Flow(family, original[0], original[1], reply[1], number)


def _read_tuple(family: Family, payload: bytes) -> tuple[int, Tuple] | None:
    parts = attributes(payload)
    ip, proto = attributes(parts.get(_TUPLE_IP, b"")), attributes(parts.get(_TUPLE_PROTO, b""))
    source, destination = (_address(ip.get(kind, b"")) for kind in _IP[family])
    if source is None or destination is None or _PROTO_NUM not in proto:
        return None
    protocol = proto[_PROTO_NUM][0]
    if protocol in _ICMP:
        identifier, kind, code = (int.from_bytes(proto.get(one, b""), "big") for one in _ICMP[protocol])
        return protocol, Tuple(source, destination, identifier, kind << 8 | code)
    ports = (int.from_bytes(proto.get(kind, b""), "big") for kind in (_PROTO_SRC_PORT, _PROTO_DST_PORT))
    return protocol, Tuple(source, destination, *ports)


def _address(packed: bytes) -> Addr | None:
    return ipaddress.ip_address(packed) if len(packed) in (4, 16) else None
