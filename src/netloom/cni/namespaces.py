"""The namespace that a runtime names, seen to be a pod's. In: a descriptor. Out: the same, or an error that names CNI_NETNS."""

from __future__ import annotations

import fcntl
import os

from netloom.cni.codes import CniError, Code
from netloom.cni.request import CniRequest
from netloom.linux.libc import CLONE_NEWNET

_NS_GET_NSTYPE = 0xB703


def pod_netns(request: CniRequest, fd: int | None) -> int:
    """The pod's namespace, seen to be a network namespace and not the node's own.

    Raises:
        CniError: codes 3 and 4.
    """
    if fd is None:
        raise CniError(
            Code.CONTAINER_UNKNOWN,
            f"CNI_NETNS {request.netns_path!r} cannot be opened",
            "is the container still running?",
        )
    try:
        kind = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        raise CniError(Code.INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns_path!r} is no network namespace")
    if os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/ns/net")):
        raise CniError(
            Code.INVALID_ENVIRONMENT, f"CNI_NETNS {request.netns_path!r} is the node's own namespace"
        )
    return fd


def netns_if_pods(request: CniRequest, fd: int | None) -> int | None:
    """The pod's namespace, or None where it is gone; a path of a process that is gone may lead to another's by now."""
    try:
        return pod_netns(request, fd)
    except CniError:
        return None
