"""CNI's numbered errors, and the one place where ours become them. In: an exception. Out: a :class:`CniError`.

Numbers below 100 are the specification's (CNI 1.1.0, section "Error"); those from 100 on are ours, listed here and in no other
place. Not here: how an error is written to the runtime (``result``).
"""

from __future__ import annotations

import enum

from netloom.errors import (
    AlreadyExists,
    InvalidObject,
    KernelError,
    NetloomError,
    NotFound,
    StorageError,
    Unavailable,
    Unsupported,
    Untrue,
    UsageError,
)


class Code(enum.IntEnum):
    """Error numbers that a runtime may see from us."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    CONTAINER_UNKNOWN = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    CANNOT_DECODE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN_LATER = 11
    NOT_AVAILABLE = 50
    LIMITED = 51
    """As before, and what is there already may be cut off from parts of the network."""
    KERNEL_REFUSED = 100
    NOT_AS_IT_SHOULD_BE = 101
    INTERFACE_TAKEN = 102
    KERNEL_LACKS_FEATURE = 103
    PORT_TAKEN = 104
    INTERNAL = 999


class CniError(NetloomError):
    """An error with its CNI number.

    Args:
        code: the number: one of ours, or what a plugin said that we called.
        problem: becomes ``msg``.
        details: becomes ``details``: what to do, or a longer text.
    """

    def __init__(self, code: int, problem: str, details: str = "") -> None:
        self.code = code
        super().__init__(problem, details)


_CODES: tuple[tuple[type[NetloomError], Code], ...] = (
    (KernelError, Code.KERNEL_REFUSED),
    (Unavailable, Code.TRY_AGAIN_LATER),
    (StorageError, Code.TRY_AGAIN_LATER),  # kubelet tries again, and a disk can be emptied meanwhile
    (AlreadyExists, Code.INTERFACE_TAKEN),
    (NotFound, Code.CONTAINER_UNKNOWN),
    (Unsupported, Code.KERNEL_LACKS_FEATURE),
    (Untrue, Code.NOT_AS_IT_SHOULD_BE),
    (InvalidObject, Code.INVALID_CONFIG),
    (UsageError, Code.INVALID_CONFIG),
)


def cni_error(error: NetloomError) -> CniError:
    """The CNI error for any error of ours."""
    if isinstance(error, CniError):
        return error
    code = next((code for kind, code in _CODES if isinstance(error, kind)), Code.INTERNAL)
    return CniError(code, error.problem, error.hint)
