"""Which system calls a container may not make (core/v1 SeccompProfile). In: a Security; out: a filter as crun takes it, or None.

``RuntimeDefault`` refuses what changes the machine and not the container; some of it is allowed with the capability that it
is about. ``Localhost`` is a file of the node, in the same form.
"""

from __future__ import annotations

import platform
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import msgspec

from netloom.local.runner.running import Refused, Security

_ARCHITECTURES = {
    "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}
"""A machine's own calling conventions: a program that uses another one would be past the filter."""
_NEVER = [
    "add_key",
    "create_module",
    "get_kernel_syms",
    "kexec_file_load",
    "kexec_load",
    "keyctl",
    "move_pages",
    "nfsservctl",
    "query_module",
    "request_key",
    "sysfs",
    "_sysctl",
    "uselib",
    "userfaultfd",
    "ustat",
    "vm86",
    "vm86old",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
]
_WITH = {
    "SYS_ADMIN": [
        "bpf",
        "clone3",
        "fanotify_init",
        "fsconfig",
        "fsmount",
        "fsopen",
        "fspick",
        "lookup_dcookie",
        "mount",
        "mount_setattr",
        "move_mount",
        "open_tree",
        "perf_event_open",
        "pivot_root",
        "quotactl",
        "quotactl_fd",
        "setdomainname",
        "sethostname",
        "setns",
        "swapoff",
        "swapon",
        "umount",
        "umount2",
        "unshare",
    ],
    "SYS_BOOT": ["reboot"],
    "SYS_MODULE": ["delete_module", "finit_module", "init_module"],
    "SYS_PACCT": ["acct"],
    "SYS_PTRACE": ["kcmp", "process_vm_readv", "process_vm_writev"],
    "SYS_RAWIO": ["ioperm", "iopl"],
    "SYS_TIME": ["clock_adjtime", "clock_settime", "settimeofday", "stime"],
    "SYS_NICE": ["get_mempolicy", "mbind", "set_mempolicy"],
    "SYSLOG": ["syslog"],
}
_EPERM, _ENOSYS = 1, 38
_MOST = 1 << 20


def profile(security: Security, capabilities: AbstractSet[str], directory: Path) -> dict[str, Any] | None:
    """The filter.

    Args:
        security: the container's.
        capabilities: that it has.
        directory: where the node's own profiles lie.

    Raises:
        Refused: there is no such profile, or it is none.
    """
    if security.privileged or security.seccomp == "Unconfined":
        return None
    if security.seccomp == "Localhost":
        return _own(directory, security.seccomp_profile)
    refused = [name for cap, names in _WITH.items() if cap not in capabilities for name in names]
    rules = [
        {
            "names": [*_NEVER, *(n for n in refused if n != "clone3")],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": _EPERM,
        }
    ]
    if "clone3" in refused:
        # its flags are out of a filter's sight; libraries fall back to clone where it is not there
        rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS})
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": _ARCHITECTURES.get(platform.machine(), []),
        "syscalls": rules,
    }


def _own(directory: Path, name: str) -> dict[str, Any]:
    parts = Path(name).parts
    if not name or name.startswith("/") or ".." in parts:
        raise Refused(
            "CreateContainerError", f"localhostProfile {name!r} is no path below the node's profiles"
        )
    try:
        with (directory / name).open("rb") as file:
            found = msgspec.json.decode(file.read(_MOST), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise Refused("CreateContainerError", f"cannot load seccomp profile {name!r}: {error}") from error
    return found
