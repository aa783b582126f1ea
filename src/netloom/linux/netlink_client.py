"""What every client of a netlink protocol has: a socket in a namespace, and its end. In: the protocol. Out: nothing of its own."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from netloom.linux.netlink import NetlinkSocket


class NetlinkClient:
    """One netlink socket with a purpose. A context manager; not for two threads at once.

    Args:
        protocol: NETLINK_*.
        netns_fd: the namespace; None for the caller's own.
    """

    def __init__(self, protocol: int, netns_fd: int | None = None) -> None:
        self._netlink = NetlinkSocket(protocol, netns_fd=netns_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()
