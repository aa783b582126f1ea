"""Whether the hardware of an interface fills in checksums (ethtool ioctl, linux/ethtool.h). In: a name. Out: a switch, or KernelError.

Not here: when to switch (``agent/path_mtu``).
"""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct

from netloom.linux import netns
from netloom.linux.libc import kernel_error

_SIOCETHTOOL = 0x8946
_ETHTOOL_GTXCSUM, _ETHTOOL_STXCSUM = 0x16, 0x17


def has_tx_checksums(device: str, netns_fd: int | None = None) -> bool:
    """Whether checksums of what leaves by an interface are left to it.

    Raises:
        KernelError: no such interface, or it cannot tell.
    """
    return bool(_call(device, _ETHTOOL_GTXCSUM, 0, netns_fd))


def set_tx_checksums(device: str, is_on: bool, netns_fd: int | None = None) -> None:
    """Leave checksums to an interface, or fill them in before; as ``ethtool -K DEVICE tx on`` and ``off``.

    What needs them goes off with them: then packets are cut before, too.

    Raises:
        KernelError: no such interface, or it cannot do otherwise.
    """
    _call(device, _ETHTOOL_STXCSUM, int(is_on), netns_fd)


def _call(device: str, command: int, value: int, netns_fd: int | None) -> int:
    data = array.array("I", (command, value))
    request = struct.pack("16sP", device.encode(), data.buffer_info()[0])
    words = f"ethtool: checksums of {device}"
    if len(device) > 15:
        raise kernel_error(words, errno.ENODEV)
    try:
        if netns_fd is None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock, _SIOCETHTOOL, request)
        else:
            with netns.open_socket(netns_fd, socket.AF_INET, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock, _SIOCETHTOOL, request)
    except OSError as error:
        raise kernel_error(words, error.errno or errno.EIO) from error
    return data[1]
