"""TUN devices: IP packets of an interface to and from a descriptor. In: a name. Out: a file, or KernelError (linux/if_tun.h).

Not here: addresses and routes of the interface (``rtnl``), what is done with the packets.
"""

from __future__ import annotations

import fcntl
import io
import os
import struct

from netloom.linux import netns
from netloom.linux.libc import kernel_error

_PATH = "/dev/net/tun"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOFFLOAD = 0x400454CA, 0x400454CB, 0x400454D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_CHECKSUM, _TSO4, _TSO6, _TSO_ECN = 1, 2, 4, 8


def open_tun(
    name: str, *, netns_fd: int | None = None, persistent: bool = False, whole_trains: bool = False
) -> io.FileIO:
    """Attach to a TUN device; it is made where there is none. Reads and writes do not block.

    Args:
        name: of the interface.
        netns_fd: the namespace it is in; None for the caller's own.
        persistent: it stays when the file is closed.
        whole_trains: each packet has a ``struct virtio_net_hdr`` before it; checksums may be left to be filled in, and TCP
            packets may have up to 64 KiB, to be cut later.

    Raises:
        KernelError: no right to, somebody else has it (EBUSY), or no TUN devices here.
    """

    def attach() -> io.FileIO:
        try:
            fd = os.open(_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            hint = "load the kernel's tun module, and let this user open it"
            raise kernel_error(f"open {_PATH}", error.errno or 0, hint) from error
        file = io.FileIO(fd, "r+")
        try:
            flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if whole_trains else 0)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            if whole_trains:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, _CHECKSUM | _TSO4 | _TSO6 | _TSO_ECN)
            if persistent:
                fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        except OSError as error:
            file.close()
            raise kernel_error(f"attach to TUN device {name}", error.errno or 0) from error
        return file

    return attach() if netns_fd is None else netns.run_in(netns_fd, attach)
