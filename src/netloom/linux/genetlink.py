"""Generic netlink: families found by name, commands to them. In: commands and attributes. Out: attributes, or an error.

Not here: what a family's commands mean, see ``wireguard`` (linux/genetlink.h).
"""

from __future__ import annotations

import errno
import struct

import msgspec

from netloom.errors import KernelError, Unsupported
from netloom.linux.netlink import Request, attr, attributes, string
from netloom.linux.netlink_client import NetlinkClient

NETLINK_GENERIC = 16

_CONTROLLER = 0x10  # GENL_ID_CTRL
_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME, _FAMILY_VERSION = 1, 2, 3
_HEADER = struct.Struct("=BBxx")


class GenericFamily(msgspec.Struct, frozen=True):
    """A family as this kernel numbers it."""

    id: int
    version: int


class GenericNetlink(NetlinkClient):
    """Generic netlink of one network namespace. A context manager; not for two threads at once.

    Args:
        netns_fd: the namespace; None for the caller's own.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        super().__init__(NETLINK_GENERIC, netns_fd)

    def family(self, name: str) -> GenericFamily:
        """The family of that name; the kernel loads the module for it where it may.

        Raises:
            Unsupported: this kernel has none.
        """
        body = _HEADER.pack(_GET_FAMILY, 1) + attr(_FAMILY_NAME, string(name))
        try:
            answers = self._netlink.request(Request(_CONTROLLER, 0, body, f"find {name} in generic netlink"))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                raise Unsupported(f"this kernel has no {name}", f"load its {name} module") from error
            raise
        found = attributes(answers[0].body, _HEADER.size)
        (number,) = struct.unpack("=H", found[_FAMILY_ID])
        (version,) = struct.unpack("=I", found[_FAMILY_VERSION])
        return GenericFamily(number, version)

    def request(self, family: GenericFamily, command: int, body: bytes, operation: str) -> None:
        """Send a command and wait for its ack.

        Raises:
            KernelError: refused.
        """
        self._netlink.request(Request(family.id, 0, _HEADER.pack(command, family.version) + body, operation))

    def dump(self, family: GenericFamily, command: int, body: bytes, operation: str) -> list[bytes]:
        """The attributes of each message of a dump, without headers.

        Raises:
            KernelError: refused.
        """
        request = Request(family.id, 0, _HEADER.pack(command, family.version) + body, operation)
        return [message.body[_HEADER.size :] for message in self._netlink.dump(request)]
