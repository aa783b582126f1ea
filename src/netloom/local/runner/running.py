"""The face between *what to run* (a pod's life decides it) and *who runs it* (a container of an image, or a stand-in).

In: a :class:`ContainerSpec`, everything resolved: references of variables, volumes as directories of the host, users as numbers
where the pod says so. Out: a :class:`Running`, which ends at some time and tells how. Values and protocols only. Not here: when
to start, probe, restart or end it (``container``), and how it is done (``crun``, ``standins``).
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Mapping
from typing import IO, Protocol

import msgspec

from netloom.errors import NetloomError
from netloom.linux.process import Command, Completed
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.standins.feed import LogLine, ReadLog
from netloom.local.runner.streams.remote import Remote, Wish


class PullPolicy(enum.Enum):
    """core/v1 ``imagePullPolicy``; what a pod leaves open is IfNotPresent here, unless the tag is ``latest`` or there is none."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """One volumeMount, or a file that the pod's life provides (``/etc/hosts``)."""

    source: str
    """Absolute path of a directory or file that is there, in the runner's mount namespace; ``subPath`` is in it already."""
    target: str
    """Absolute path in the container (``mountPath``)."""
    read_only: bool = False
    propagation: str = "None"
    """``None``, ``HostToContainer``, ``Bidirectional``."""


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """The container's ``securityContext`` over the pod's: what is None was said by neither."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    supplemental_groups: tuple[int, ...] = ()
    """With ``fsGroup``, where the pod has one."""
    privileged: bool = False
    read_only_root: bool = False
    allow_privilege_escalation: bool = True
    add_capabilities: tuple[str, ...] = ()
    """As the API writes them: ``NET_ADMIN``, ``ALL``."""
    drop_capabilities: tuple[str, ...] = ()
    seccomp: str = "Unconfined"
    """``seccompProfile.type``: ``Unconfined``, ``RuntimeDefault`` or ``Localhost``."""
    seccomp_profile: str = ""
    """For ``Localhost``: its ``localhostProfile``."""
    proc_mount: str = "Default"
    sysctls: tuple[tuple[str, str], ...] = ()


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """``resources``, as far as the machine's cgroups are ours to set; 0 means none."""

    cpu_request_millis: int = 0
    cpu_limit_millis: int = 0
    memory_request: int = 0
    """Bytes, as the limit."""
    memory_limit: int = 0


class ContainerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One life of one container. A restart is another life: another ``id``, the same ``pod_uid`` and ``name``."""

    id: str
    """64 hexadecimal digits, as ``containerID`` shows them; new with each start."""
    pod_uid: str
    namespace: str
    pod_name: str
    name: str
    image: str
    """As the pod writes it."""
    pull: PullPolicy = PullPolicy.IF_NOT_PRESENT
    attempt: int = 0
    """How often it was started before: its log is a file of its own."""
    command: tuple[str, ...] = ()
    """``$(NAME)`` is expanded already; empty means the image's entrypoint."""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    """The pod's variables; the image's own lie beneath them. Without PATH, HOME and the like, unless the pod sets them."""
    working_dir: str = ""
    hostname: str = ""
    resolv_conf: str = ""
    hosts: str = ""
    """Texts of /etc/hostname, /etc/resolv.conf and /etc/hosts, where no mount is there already."""
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Mount, ...] = ()
    """Block volumes (``volumeDevices``)."""
    security: Security = Security()
    limits: Limits = Limits()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    stop_signal: str = ""
    """``lifecycle.stopSignal``, else the image's, else SIGTERM."""
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    share_process_namespace: bool = False
    """Its processes are seen by the pod's others, as process 1 is the sandbox's."""
    join_pid_of: str = ""
    """``id`` of the container whose processes it sees (``targetContainerName`` of an ephemeral container)."""
    host_pid: bool = False
    host_ipc: bool = False
    cgroup: str = ""
    """Where pods have cgroups, the pod's, relative to the runtime's own."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a life ended (core/v1 ContainerStateTerminated)."""

    exit_code: int
    """128 and the signal's number where a signal ended it."""
    reason: str
    """``Completed``, ``Error``, ``OOMKilled``, ``ContainerStatusUnknown``."""
    finished: float
    """Seconds since the epoch."""
    message: str = ""
    """The termination message, at most 4,096 bytes."""
    signal: int = 0


class Refused(NetloomError):
    """A container that does not start: ``reason`` is what ``state.waiting`` shows, ``str()`` of it the message.

    Of images: InvalidImageName, ErrImagePull (then ImagePullBackOff), ErrImageNeverPull. Before the start:
    CreateContainerConfigError, CreateContainerError. At the start: RunContainerError, or StartError, which is an End with
    128 where the program is not in the image.
    """

    def __init__(self, reason: str, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint)
        self.reason = reason


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is there."""

    image: str
    """Its name with registry and tag, as ``status.containerStatuses[].image`` shows it."""
    id: str
    """``sha256:...`` of its configuration (``imageID``)."""
    size: int
    user: str = ""
    """The image's ``USER``, for ``runAsNonRoot``."""


class Executed(Protocol):
    """A command that runs in a container beside its program; ``netloom.linux.process.Process`` is one."""

    terminal: int
    """Our end of a terminal that was made for it, and is ours to close; -1: it has the one of the command."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Our end of its standard input, if that is a pipe."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """Our end of its standard output, if that is a pipe."""

    @property
    def stderr(self) -> IO[bytes] | None:
        """Our end of its standard error, if that is a pipe."""

    async def wait(self) -> int:
        """Wait for its end: exit code, or the negative number of the signal that ended it."""

    def kill_group(self) -> None:
        """Kill it and its offspring, as far as they stayed together."""

    def close(self) -> None:
        """Kill it if it runs, and let go of everything."""


class Running(Protocol):
    """A container that was started. It goes on without the runner, and the next one takes it up (:meth:`Runtime.adopt`)."""

    spec: ContainerSpec
    image_id: str
    started: float
    """Seconds since the epoch."""

    async def ended(self) -> End:
        """Wait for its end; may be called again and by several."""

    def stop(self) -> None:
        """Ask it to end (its stop signal); no error where it has ended."""

    def kill(self) -> None:
        """End it now, with all its offspring."""

    async def run(self, argv: tuple[str, ...], timeout_s: float) -> Completed:
        """Run a command inside to its end, as user and with the variables of the container (probes, hooks).

        Raises:
            NotFound: the container has no such program.
            Unavailable: it did not end in time, and was killed.
        """

    async def spawn(self, command: Command) -> Executed:
        """Start a command inside. With a ``terminal`` it gets one of the container (:attr:`Executed.terminal`). Of its ``env`` only what comes to the container's own variables, for ``exec``.

        Raises:
            NotFound: the container has no such program.
            Unavailable: the container has ended.
        """

    async def attach(self, remote: Remote, wish: Wish) -> None:
        """Join its standard streams until it ends or the client leaves."""

    async def remove(self) -> None:
        """Kill it where it runs, and give back everything but its log."""


class Runtime(Protocol):
    """Who runs containers of images that were loaded."""

    def is_present(self, image: str) -> bool:
        """Whether the image is loaded: where it is not, a stand-in runs in its place (:meth:`find` says whether it may)."""

    async def find(self, image: str, pull: PullPolicy, *, standin: bool = True) -> Found | None:
        """The image, or None where a stand-in is to run in its place.

        Args:
            image: as the pod writes it.
            pull: its policy. With NEVER no stand-in takes the place: who writes it, loads images himself.
            standin: False where the pod wants none in any case (annotation ``netloom.io/stand-in: "false"``).

        Raises:
            Refused: InvalidImageName, ErrImageNeverPull or ErrImagePull, with a kubelet's words.
        """

    async def start(self, spec: ContainerSpec, sandbox: Sandbox) -> Running:
        """Start a container in a pod's namespaces. Its program runs when this returns.

        Raises:
            Refused: it cannot be; nothing of it is left.
        """

    async def adopt(self, pod_uid: str) -> Mapping[str, Running]:
        """The newest life of each container of a pod that a runner before us started, by name; some may have ended."""

    def read_log(self, wish: ReadLog) -> AsyncGenerator[tuple[LogLine, ...], None]:
        """A container's log in pieces, as they come; ended containers have theirs until :meth:`forget`.

        Raises:
            NotFound: the container has no such log.
        """

    async def forget(self, pod_uid: str) -> None:
        """The pod is gone: end what still runs of it, and remove what is left, with the logs."""
