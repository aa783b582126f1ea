"""Which capabilities a container has (core/v1 Capabilities). Pure, but for our own. In: a Security; out: names as crun takes them."""

from __future__ import annotations

import functools
from pathlib import Path

from netloom.local.runner.running import Refused, Security

NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
"""By their numbers (linux/capability.h)."""
DEFAULT = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
"""What container runtimes give where nothing is said."""


def wanted(security: Security) -> frozenset[str]:
    """The capabilities of a container, as the API names them: added ones win over dropped ones, but not over ``drop: ALL``.

    Raises:
        Refused: there is no capability of a name.
    """
    added = frozenset(_known(name) for name in security.add_capabilities)
    dropped = frozenset(_known(name) for name in security.drop_capabilities)
    every = frozenset(NAMES)
    if security.privileged:
        return every
    base = every if "ALL" in added else frozenset[str]() if "ALL" in dropped else DEFAULT
    return (base - (dropped - {"ALL"})) | (added - {"ALL"})


def named(names: frozenset[str], *, permitted: frozenset[str] | None = None) -> list[str]:
    """As crun takes them, and only those that we have ourselves: nobody can give what he has not."""
    return [f"CAP_{name}" for name in NAMES if name in names & (ours() if permitted is None else permitted)]


@functools.cache
def ours() -> frozenset[str]:
    """The capabilities of this process (proc_pid_status(5), ``CapPrm``)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(NAMES) if bits >> number & 1)
    return frozenset()


def _known(name: str) -> str:
    short = name.upper().removeprefix("CAP_")
    if short != "ALL" and short not in NAMES:
        raise Refused("CreateContainerError", f"unknown capability {name!r}", "see capabilities(7)")
    return short
