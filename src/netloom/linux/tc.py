"""Queues of interfaces, and packets led from one to another: our own codec of traffic control.

In: values of ``program.tc``, numbers of interfaces. Out: the same, or KernelError. Messages are those of linux/pkt_sched.h,
linux/pkt_cls.h and linux/tc_act/tc_mirred.h. Not here: which pod is limited (``cni/limits``).

What comes in by an interface has no queue. So it is led to an interface of kind ``ifb`` that has one, and goes on from there as if
nothing had happened: its incoming interface stays the one it came by.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator, Mapping

import msgspec

from netloom.errors import KernelError
from netloom.linux.netlink import (
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    Request,
    attr,
    attributes,
    nested,
    string,
    text,
    u32,
)
from netloom.linux.netlink_client import NetlinkClient
from netloom.program.tc import Impairment, TokenBucket

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_TCMSG = struct.Struct("=BxxxiIII")
_ROOT, _INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_ROOT_HANDLE, _INGRESS_HANDLE = 0x4E4C0000, 0xFFFF0000
_KIND, _OPTIONS, _STATS2 = 1, 2, 7
_STATS_BASIC, _STATS_QUEUE = 1, 3

_TBF_PARMS, _TBF_RATE64, _TBF_BURST = 1, 4, 6
_RATESPEC = struct.Struct("=BBHhHI")
_TBF_QOPT_TAIL = struct.Struct("=III")
_LINKLAYER_ETHERNET = 1
_U32_MAX = (1 << 32) - 1
_TICK_NS = 64
"""PSCHED_SHIFT is 6."""

_NETEM_QOPT = struct.Struct("=IIIIII")
_NETEM_LATENCY64, _NETEM_JITTER64 = 10, 11

_ETH_P_ALL = 0x0003
_PRIORITY = 1
_U32_SEL, _U32_ACT = 5, 7
_U32_SEL_HEAD = struct.Struct("=BBBxHHhhI")
_U32_TERMINAL = 1
_U32_KEY = struct.Struct("=IIii")
_ACT_KIND, _ACT_OPTIONS = 1, 2
_MIRRED_PARMS = 2
_MIRRED = struct.Struct("=IIiiiiI")
_TC_ACT_STOLEN = 4
_EGRESS_REDIRECT = 1
_GONE = frozenset({errno.ENOENT, errno.EINVAL, errno.ENODEV})


class Passed(msgspec.Struct, frozen=True):
    """What a queue has let through, in bytes of frames, and dropped, in packets, since it was made."""

    bytes: int
    drops: int


class Tc(NetlinkClient):
    """The queues of one namespace. A context manager; every method raises KernelError where the kernel refuses.

    Args:
        netns_fd: the namespace; None for the caller's own.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        super().__init__(NETLINK_ROUTE, netns_fd)

    def put_bucket(self, index: int, bucket: TokenBucket) -> None:
        """What leaves by an interface passes this bucket from now on; what waits in one that is there goes on waiting."""
        self._netlink.request(bucket_request(index, bucket))

    def put_impairment(self, index: int, line: Impairment) -> None:
        """What leaves by an interface takes this line from now on; ENOENT where the kernel has no netem."""
        self._netlink.request(impairment_request(index, line))

    def bucket(self, index: int) -> TokenBucket | None:
        """The bucket that what leaves by an interface passes; None where there is none. ``burst`` is a little inexact."""
        found = self._root(index)
        return None if found is None else read_bucket(found)

    def passed(self, index: int) -> Passed | None:
        """What the bucket of an interface has let through; None where there is none."""
        found = self._root(index)
        if found is None:
            return None
        stats = attributes(found.get(_STATS2, b""))
        (sent,) = struct.unpack_from("=Q", stats[_STATS_BASIC])
        _, _, drops = struct.unpack_from("=III", stats[_STATS_QUEUE])
        return Passed(sent, drops)

    def delete_bucket(self, index: int) -> None:
        """Nothing limits what leaves by an interface any more; no error where nothing did."""
        self._tolerate(Request(_RTM_DELQDISC, 0, _tcmsg(index, 0, _ROOT), f"no bucket at interface {index}"))

    def redirect_incoming(self, index: int, to: int) -> None:
        """What comes in by an interface goes through the queue of interface ``to`` first."""
        self._netlink.batch(
            [
                Request(
                    _RTM_NEWQDISC,
                    NLM_F_CREATE | NLM_F_REPLACE,
                    _tcmsg(index, _INGRESS_HANDLE, _INGRESS) + attr(_KIND, string("ingress")),
                    f"ingress queue of interface {index}",
                ),
                redirect_request(index, to),
            ]
        )

    def redirected(self, index: int) -> int | None:
        """The interface that what comes in is led to; None where nothing is."""
        request = Request(_RTM_GETTFILTER, 0, _tcmsg(index, 0, _INGRESS_HANDLE), f"filters of {index}")
        try:
            messages = self._netlink.dump(request)
        except KernelError as error:
            if error.errno in _GONE:
                return None
            raise
        return next(iter(_redirections(messages)), None)

    def stop_redirecting(self, index: int) -> None:
        """What comes in goes its way at once again; no error where it did."""
        body = _tcmsg(index, _INGRESS_HANDLE, _INGRESS)
        self._tolerate(Request(_RTM_DELQDISC, 0, body, f"no ingress queue of interface {index}"))

    def _root(self, index: int) -> Mapping[int, bytes] | None:
        request = Request(_RTM_GETQDISC, 0, _tcmsg(index, 0, 0), f"queues of interface {index}")
        for message in self._netlink.dump(request):
            _, at, handle, _, _ = _TCMSG.unpack_from(message.body)
            if message.type == _RTM_NEWQDISC and (at, handle) == (index, _ROOT_HANDLE):
                found = attributes(message.body, _TCMSG.size)
                return found if text(found.get(_KIND, b"")) == "tbf" else None
        return None

    def _tolerate(self, request: Request) -> None:
        try:
            self._netlink.request(request)
        except KernelError as error:
            if error.errno not in _GONE:
                raise


def bucket_request(index: int, bucket: TokenBucket) -> Request:
    """Put a bucket at an interface, in place of one that is there."""
    low = min(bucket.rate, _U32_MAX)
    rate = _RATESPEC.pack(0, _LINKLAYER_ETHERNET, 0, 0, 0, low)
    parms = rate + _RATESPEC.pack(0, 0, 0, 0, 0, 0) + _TBF_QOPT_TAIL.pack(bucket.queue, 0, 0)
    options = [attr(_TBF_PARMS, parms), attr(_TBF_BURST, u32(bucket.burst))]
    if bucket.rate >= _U32_MAX:
        options.append(attr(_TBF_RATE64, struct.pack("=Q", bucket.rate)))
    body = _tcmsg(index, _ROOT_HANDLE, _ROOT) + attr(_KIND, string("tbf")) + nested(_OPTIONS, *options)
    return Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, f"token bucket at interface {index}")


def impairment_request(index: int, line: Impairment) -> Request:
    """Put a bad line at an interface, in place of what is there. Times are told twice: in 32 bits of 64 ns each, and exactly."""
    low = [min(nanoseconds // _TICK_NS, _U32_MAX) for nanoseconds in (line.delay_ns, line.jitter_ns)]
    qopt = _NETEM_QOPT.pack(low[0], line.queue, min(round(line.loss * _U32_MAX), _U32_MAX), 0, 0, low[1])
    exact = attr(_NETEM_LATENCY64, struct.pack("=q", line.delay_ns))
    exact += attr(_NETEM_JITTER64, struct.pack("=q", line.jitter_ns))
    body = _tcmsg(index, _ROOT_HANDLE, _ROOT) + attr(_KIND, string("netem")) + attr(_OPTIONS, qopt + exact)
    return Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, f"bad line at interface {index}")


def is_missing(error: KernelError) -> bool:
    """The kernel knows no queue of that kind, and has no module of it."""
    return error.errno in {errno.ENOENT, errno.EOPNOTSUPP}


def read_bucket(found: Mapping[int, bytes]) -> TokenBucket:
    """The bucket of a queue of kind ``tbf``. The kernel keeps the time that a burst takes, in 32 bits of 64 ns each."""
    options = attributes(found.get(_OPTIONS, b""))
    parms = options[_TBF_PARMS]
    rate = _RATESPEC.unpack_from(parms)[-1]
    if _TBF_RATE64 in options:
        (rate,) = struct.unpack("=Q", options[_TBF_RATE64])
    queue, ticks, _ = _TBF_QOPT_TAIL.unpack_from(parms, 2 * _RATESPEC.size)
    return TokenBucket(rate, ticks * _TICK_NS * rate // 1_000_000_000, queue)


def redirect_request(index: int, to: int) -> Request:
    """Lead all that comes in by an interface, which has its ingress queue already, to another one."""
    # one key that any packet fits: no bit of its first word is looked at
    select = _U32_SEL_HEAD.pack(_U32_TERMINAL, 0, 1, 0, 0, 0, 0, 0) + _U32_KEY.pack(0, 0, 0, 0)
    mirred = _MIRRED.pack(0, 0, _TC_ACT_STOLEN, 0, 0, _EGRESS_REDIRECT, to)
    action = nested(1, attr(_ACT_KIND, string("mirred")), nested(_ACT_OPTIONS, attr(_MIRRED_PARMS, mirred)))
    info = _PRIORITY << 16 | socket.htons(_ETH_P_ALL)
    body = _tcmsg(index, _FILTER, _INGRESS_HANDLE, info) + attr(_KIND, string("u32"))
    body += nested(_OPTIONS, attr(_U32_SEL, select), nested(_U32_ACT, action))
    return Request(
        _RTM_NEWTFILTER,
        NLM_F_CREATE | NLM_F_REPLACE,
        body,
        f"what comes in by interface {index} goes to interface {to}",
    )


_FILTER = 0x80000800
"""The first filter of the first hash table; with a number of its own it is replaced and never doubled."""


def _redirections(messages: list[Message]) -> Iterator[int]:
    for message in messages:
        if message.type != _RTM_NEWTFILTER:
            continue
        options = attributes(attributes(message.body, _TCMSG.size).get(_OPTIONS, b""))
        for action in attributes(options.get(_U32_ACT, b"")).values():
            parts = attributes(action)
            parms = attributes(parts.get(_ACT_OPTIONS, b"")).get(_MIRRED_PARMS)
            if text(parts.get(_ACT_KIND, b"")) == "mirred" and parms is not None:
                *_, to = _MIRRED.unpack_from(parms)
                yield to


def _tcmsg(index: int, handle: int, parent: int, info: int = 0) -> bytes:
    return _TCMSG.pack(socket.AF_UNSPEC, index, handle, parent, info)
