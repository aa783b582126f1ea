"""The limits of a pod's bandwidth in the kernel: put in force, looked at, taken away.

In: the node's side of a pod's interface, a :class:`Bandwidth`. Out: KernelError where the kernel refuses. For the caller's own network
namespace. What the pod receives leaves by the node's side, and waits in a queue there. What it sends comes in by that side; the kernel
leads it through an interface of kind ``ifb``, one for each pod that has such a limit, whose queue it waits in. Both are the node's: the
pod cannot take them away, whatever it may do in its own network namespace. Not here: how much (``bandwidth``).
"""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Self

from netloom.cni.bandwidth import Bandwidth
from netloom.errors import KernelError, Unsupported
from netloom.linux import rtmsg
from netloom.linux.rtnl import Rtnl
from netloom.linux.tc import Passed, Tc
from netloom.program import names
from netloom.program.links import Link
from netloom.program.tc import TokenBucket

_NOTHING = Bandwidth()


class Limits:
    """The limits of pods on one node. A context manager, for the network namespace that it was made in.

    Args:
        netns_fd: the node's namespace; None for the caller's own.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        self._rtnl = Rtnl(netns_fd)
        self._tc = Tc(netns_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tc.close()
        self._rtnl.close()

    def put(self, host_link: str, wanted: Bandwidth | None) -> None:
        """Limit a pod as is wanted from now on, whatever was before; no error where its interface is gone.

        Raises:
            Unsupported: this kernel lacks what it takes.
            KernelError: refused.
        """
        limits = wanted or _NOTHING
        link = self._rtnl.find_link(host_link)
        if link is None:
            return
        try:
            _put_ingress(self._tc, link.index, limits.ingress(link.mtu))
            _put_egress(self._rtnl, self._tc, link, limits.egress(link.mtu))
        except KernelError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.ENOENT}:
                raise
            problem = f"the bandwidth of pods cannot be limited here: {error}"
            hint = "load the kernel modules sch_tbf, sch_ingress, cls_u32, act_mirred and ifb"
            raise Unsupported(problem, hint) from error

    def remove_orphans(self) -> int:
        """Take away what is left of pods whose interface is gone; how many there were.

        Raises:
            KernelError: refused.
        """
        links = self._rtnl.links()
        there = {link.name for link in links}
        relays = [link.name for link in links if link.kind == "ifb" and names.is_pod_relay(link.name)]
        orphans = [name for name in relays if names.link_of_relay(name) not in there]
        for name in orphans:
            self._rtnl.delete_link(name)
        return len(orphans)

    def defects(self, host_link: str, wanted: Bandwidth | None) -> list[str]:
        """What is not as :meth:`put` leaves it, one line each; empty where all is well.

        Raises:
            KernelError: the kernel cannot be asked.
        """
        limits = wanted or _NOTHING
        link = self._rtnl.find_link(host_link)
        if link is None:
            return []
        found = _difference("receives", limits.ingress(link.mtu), self._tc.bucket(link.index))
        relay = self._rtnl.find_link(names.pod_relay(host_link))
        is_led = relay is not None and relay.up and self._tc.redirected(link.index) == relay.index
        present = self._tc.bucket(relay.index) if relay is not None and is_led else None
        return found + _difference("sends", limits.egress(link.mtu), present)

    def passed(self, host_link: str) -> tuple[Passed | None, Passed | None]:
        """What passed the limits of what a pod receives, and of what it sends; None where there is none."""
        link = self._rtnl.find_link(host_link)
        relay = self._rtnl.find_link(names.pod_relay(host_link))
        return (
            None if link is None else self._tc.passed(link.index),
            None if relay is None else self._tc.passed(relay.index),
        )


def remove_relay(rtnl: Rtnl, host_link: str) -> None:
    """Take away what is left of a pod's limits when its interface is gone; no error where nothing is.

    Raises:
        KernelError: refused.
    """
    relay = names.pod_relay(host_link)
    if rtnl.find_link(relay) is not None:
        rtnl.delete_link(relay)


def _put_ingress(tc: Tc, index: int, bucket: TokenBucket | None) -> None:
    if bucket is not None:
        tc.put_bucket(index, bucket)
    elif tc.bucket(index) is not None:
        tc.delete_bucket(index)


def _put_egress(rtnl: Rtnl, tc: Tc, link: Link, bucket: TokenBucket | None) -> None:
    index, relay = link.index, names.pod_relay(link.name)
    there = rtnl.find_link(relay)
    if bucket is None:
        if there is not None:
            tc.stop_redirecting(index)
            rtnl.delete_link(relay)
        return
    if there is None:
        rtnl.batch([rtmsg.new_link(relay, "ifb")])
        there = rtnl.find_link(relay)
        if there is None:
            raise KernelError(f"make ifb {relay}", errno.ENODEV, "it is gone again", "try again")
        rtnl.batch([rtmsg.quieten_link(there.index, relay)])
    tc.put_bucket(there.index, bucket)
    rtnl.set_up(relay)
    if tc.redirected(index) != there.index:
        tc.stop_redirecting(index)
        tc.redirect_incoming(index, there.index)


def _difference(what: str, wanted: TokenBucket | None, present: TokenBucket | None) -> list[str]:
    if wanted is None and present is None:
        return []
    if wanted is None or present is None:
        is_limited = "is limited and should not be" if wanted is None else "is not limited"
        return [f"node: what the pod {what} {is_limited}"]
    if wanted.rate != present.rate:
        return [
            f"node: what the pod {what} is limited to {present.rate} bytes a second, not to {wanted.rate}"
        ]
    return []
