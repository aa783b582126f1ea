"""The ``config.json`` of a container (runtime-spec 1.0). Pure. In: what is to run and as whom; out: the document.

The pod's namespaces are joined by path; mount namespace and, unless it is shared, pid namespace are the container's own.
Nothing is asked for that a user namespace forbids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from netloom.local.images.archive import RunConfig
from netloom.local.runner.crun import capabilities
from netloom.local.runner.crun.users import User
from netloom.local.runner.running import ContainerSpec, Mount, Refused

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HIDDEN = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_DEVICES = ("/dev/net/tun", "/dev/fuse", "/dev/kvm")
"""Of a privileged container, where the machine has them."""
_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What a container finds around it, made before it."""

    root: str
    """Path of its root directory."""
    files: Mapping[str, str]
    """Files of its own by the place where it sees them: ``/etc/hosts`` ..."""
    shm: str
    """The pod's /dev/shm, a directory that all its containers share."""
    holder: int
    """Process that holds the pod's namespaces."""
    other_pid: int = 0
    """Process 1 of the container whose processes it sees."""
    user: User
    seccomp: Mapping[str, Any] | None = None
    permitted: frozenset[str] | None = None
    """Our own capabilities; None: as they are."""
    is_one_user: bool = False
    """The cluster's user namespace knows one user: another one needs a namespace of its own, where he is that one."""


def arguments(spec: ContainerSpec, image: RunConfig) -> list[str]:
    """The program and its arguments: ``command`` replaces the entrypoint and what goes with it (core/v1 Container).

    Raises:
        Refused: neither pod nor image names one.
    """
    entry = spec.command or image.entrypoint or ()
    rest = spec.args or (() if spec.command else image.cmd or ())
    found = [*entry, *rest]
    if not found:
        raise Refused("CreateContainerError", "no command specified", "set command in the pod")
    return found


def environment(spec: ContainerSpec, image: RunConfig, user: User) -> dict[str, str]:
    """The image's variables, and the pod's over them."""
    found = {"PATH": PATH, "HOME": user.home, "HOSTNAME": spec.hostname}
    if spec.tty:
        found["TERM"] = "xterm"
    for pair in image.env or ():
        name, _, value = pair.partition("=")
        found[name] = value
    return {name: value for name, value in (found | dict(spec.env)).items() if name}


def process(
    spec: ContainerSpec,
    image: RunConfig,
    around: Around,
    *,
    argv: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    tty: bool | None = None,
) -> dict[str, Any]:
    """The process of a container, or one beside it.

    Args:
        spec: of the container.
        image: how its image starts.
        around: what is made.
        argv: another program than its own.
        env: variables over its own.
        tty: whether that has a terminal.
    """
    user, names = around.user, capabilities.wanted(spec.security)
    given = capabilities.named(names, permitted=around.permitted)
    others: dict[str, list[str]] = {"inheritable": []}
    if user.uid == 0:
        others |= {"effective": given, "permitted": given}
    else:
        # as execve(2) leaves them to a user who is not root; those that were asked for by name are ambient
        others |= {"effective": [], "permitted": []}
    account: dict[str, Any] = {"uid": user.uid, "gid": user.gid}
    if user.groups and not around.is_one_user:
        account["additionalGids"] = list(user.groups)
    return {
        "terminal": spec.tty if tty is None else tty,
        "user": account,
        "args": list(argv) or arguments(spec, image),
        "env": [
            f"{name}={value}" for name, value in (environment(spec, image, user) | dict(env or {})).items()
        ],
        "cwd": spec.working_dir or image.working_dir or "/",
        "capabilities": {"bounding": given, **others},
        "noNewPrivileges": not spec.security.allow_privilege_escalation and not spec.security.privileged,
    }


def document(spec: ContainerSpec, image: RunConfig, around: Around) -> dict[str, Any]:
    """The whole document."""
    security = spec.security
    linux: dict[str, Any] = {"namespaces": _namespaces(spec, around)}
    if not security.privileged and security.proc_mount == "Default":
        linux |= {"maskedPaths": _HIDDEN, "readonlyPaths": _READ_ONLY}
    if around.seccomp is not None:
        linux["seccomp"] = around.seccomp
    if _has_other_user(around):
        user = around.user
        linux["uidMappings"] = [{"containerID": user.uid, "hostID": 0, "size": 1}]
        linux["gidMappings"] = [{"containerID": user.gid, "hostID": 0, "size": 1}]
    return {
        "ociVersion": "1.0.2",
        "process": process(spec, image, around),
        "root": {"path": around.root, "readonly": security.read_only_root},
        "mounts": _mounts(spec, around),
        "linux": linux,
    }


def _has_other_user(around: Around) -> bool:
    return around.is_one_user and (around.user.uid != 0 or around.user.gid != 0)


def _namespaces(spec: ContainerSpec, around: Around) -> list[dict[str, str]]:
    held = f"/proc/{around.holder}/ns"
    found = [
        {"type": "mount"},
        {"type": "network", "path": f"{held}/net"},
        {"type": "uts", "path": f"{held}/uts"},
    ]
    if not spec.host_ipc:
        found.append({"type": "ipc", "path": f"{held}/ipc"})
    if spec.share_process_namespace:
        found.append({"type": "pid", "path": f"{held}/pid"})
    elif around.other_pid:
        found.append({"type": "pid", "path": f"/proc/{around.other_pid}/ns/pid"})
    elif not spec.host_pid:
        found.append({"type": "pid"})
    if _has_other_user(around):
        found.append({"type": "user"})
    return found


def _mounts(spec: ContainerSpec, around: Around) -> list[dict[str, Any]]:
    privileged = spec.security.privileged
    sys_way = "rw" if privileged else "ro"
    found: list[dict[str, Any]] = [
        _special("/proc", "proc", "nosuid", "noexec", "nodev"),
        _special("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _special("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
        _special("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _special("/sys", "sysfs", "nosuid", "noexec", "nodev", sys_way),
        _bind(Mount(source=around.shm, target="/dev/shm"), "nosuid", "noexec", "nodev"),  # noqa: S108 - the container's
    ]
    if _has_other_user(around):
        # these belong to namespaces that its own user namespace does not own
        found = [m for m in found if m["destination"] not in {"/sys", "/dev/mqueue"}]
        found.append(_bind(Mount(source="/sys", target="/sys", read_only=True), "nosuid", "noexec", "nodev"))
    if privileged:
        found += [_bind(Mount(source=device, target=device)) for device in _DEVICES if Path(device).exists()]
    targets = {_normal(mount.target) for mount in spec.mounts}
    own = [Mount(source=file, target=place) for place, file in around.files.items() if place not in targets]
    for mount in sorted((*own, *spec.mounts), key=lambda m: _normal(m.target).count("/")):
        found.append(_bind(mount, _PROPAGATION.get(mount.propagation, "rprivate")))
    found += [_bind(device) for device in spec.devices]
    return found


def _special(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _bind(mount: Mount, *options: str) -> dict[str, Any]:
    way = "ro" if mount.read_only else "rw"
    return {
        "destination": _normal(mount.target),
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", way, *options],
    }


def _normal(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in {"", "."})
