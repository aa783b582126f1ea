"""The fields of Pod, Service and Node that a runner reads (core/v1), typed. Pure; readers only, nothing is written through them."""

from __future__ import annotations

import msgspec

from netloom.api.meta import ObjectMeta
from netloom.local.runner.references import FieldRef, KeyRef, NameRef, Quantity, ResourceFieldRef
from netloom.local.runner.told import OldContainerStatus
from netloom.local.runner.volumes.spec import Volume, VolumeDevice, VolumeMount
from netloom.units import ObjectKey


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 ContainerPort."""

    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(name="hostIP", default="")


class HttpHeader(msgspec.Struct, frozen=True):
    """core/v1 HTTPHeader."""

    name: str
    value: str = ""


class HttpGet(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 HTTPGetAction; ``port`` may be a container port's name."""

    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(msgspec.Struct, frozen=True):
    """core/v1 TCPSocketAction."""

    port: int | str
    host: str = ""


class Exec(msgspec.Struct, frozen=True):
    """core/v1 ExecAction."""

    command: tuple[str, ...] = ()


class Grpc(msgspec.Struct, frozen=True):
    """core/v1 GRPCAction."""

    port: int
    service: str | None = None


class Probe(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Probe, with the API's defaults."""

    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: Exec | None = None
    grpc: Grpc | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Sleep(msgspec.Struct, frozen=True):
    """core/v1 SleepAction."""

    seconds: int = 0


class Hook(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 LifecycleHandler."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: Sleep | None = None


class Lifecycle(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Lifecycle."""

    post_start: Hook | None = None
    pre_stop: Hook | None = None
    stop_signal: str = ""


class EnvSource(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 EnvVarSource."""

    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 EnvVar."""

    name: str
    value: str | None = None
    value_from: EnvSource | None = None


class EnvFrom(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 EnvFromSource."""

    prefix: str = ""
    config_map_ref: NameRef | None = None
    secret_ref: NameRef | None = None


class Capabilities(msgspec.Struct, frozen=True):
    """core/v1 Capabilities."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class Seccomp(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 SeccompProfile."""

    type: str = "Unconfined"
    localhost_profile: str = ""


class SecurityContext(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 SecurityContext: what is None was not said."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities = Capabilities()
    seccomp_profile: Seccomp | None = None
    proc_mount: str = "Default"


class Sysctl(msgspec.Struct, frozen=True):
    """core/v1 Sysctl."""

    name: str
    value: str


class PodSecurityContext(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodSecurityContext."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: str = "Always"
    supplemental_groups: tuple[int, ...] = ()
    seccomp_profile: Seccomp | None = None
    sysctls: tuple[Sysctl, ...] = ()


class Resources(msgspec.Struct, frozen=True):
    """core/v1 ResourceRequirements."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 Container, and EphemeralContainer."""

    name: str = ""
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[Port, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    restart_policy: str | None = None
    """``Always`` on an init container makes it a sidecar."""
    image_pull_policy: str = ""
    volume_mounts: tuple[VolumeMount, ...] = ()
    volume_devices: tuple[VolumeDevice, ...] = ()
    security_context: SecurityContext = SecurityContext()
    resources: Resources = Resources()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    target_container_name: str = ""
    """Of an ephemeral container: whose processes it sees."""


class DnsOption(msgspec.Struct, frozen=True):
    """core/v1 PodDNSConfigOption."""

    name: str = ""
    value: str | None = None


class DnsConfig(msgspec.Struct, frozen=True):
    """core/v1 PodDNSConfig."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class HostAlias(msgspec.Struct, frozen=True):
    """core/v1 HostAlias."""

    ip: str = ""
    hostnames: tuple[str, ...] = ()


class ReadinessGate(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodReadinessGate."""

    condition_type: str = ""


class PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodSpec, as far as a runner needs it."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    restart_policy: str = "Always"
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    host_aliases: tuple[HostAlias, ...] = ()
    enable_service_links: bool = True
    service_account_name: str = ""
    readiness_gates: tuple[ReadinessGate, ...] = ()
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    ephemeral_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    security_context: PodSecurityContext = PodSecurityContext()
    share_process_namespace: bool = False
    host_pid: bool = msgspec.field(name="hostPID", default=False)
    host_ipc: bool = msgspec.field(name="hostIPC", default=False)
    set_hostname_as_fqdn: bool | None = msgspec.field(name="setHostnameAsFQDN", default=None)


class Condition(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodCondition and NodeCondition."""

    type: str
    status: str
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


class PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    """core/v1 PodStatus, as far as a runner goes on from it."""

    phase: str = ""
    start_time: str | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[OldContainerStatus, ...] = ()
    init_container_statuses: tuple[OldContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[OldContainerStatus, ...] = ()

    @property
    def of_containers(self) -> tuple[OldContainerStatus, ...]:
        """Of containers of every kind."""
        return (
            *self.init_container_statuses,
            *self.container_statuses,
            *self.ephemeral_container_statuses,
        )


class PodMeta(ObjectMeta, frozen=True, rename="camel"):
    """Metadata of a pod, with how long it may take to end."""

    deletion_grace_period_seconds: int | None = None


class Pod(msgspec.Struct, frozen=True):
    """core/v1 Pod."""

    metadata: PodMeta = PodMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.metadata.namespace, self.metadata.name)

    @property
    def uid(self) -> str:
        """The pod's identity: a new pod of the same name is another pod."""
        return self.metadata.uid

    @property
    def is_terminating(self) -> bool:
        """Somebody asked for its deletion."""
        return self.metadata.deletion_timestamp is not None

    @property
    def grace_s(self) -> int:
        """Seconds that it may take to end: those of the deletion, or the pod's own (``terminationGracePeriodSeconds``)."""
        asked = self.metadata.deletion_grace_period_seconds
        return self.spec.termination_grace_period_seconds if asked is None else asked

    @property
    def is_over(self) -> bool:
        """Phase Succeeded or Failed: it never runs again."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def apps(self) -> tuple[Container, ...]:
        """The containers that keep running: sidecars (init containers with restartPolicy Always) and the others."""
        return (
            tuple(c for c in self.spec.init_containers if c.restart_policy == "Always") + self.spec.containers
        )

    @property
    def every(self) -> tuple[Container, ...]:
        """Containers of every kind."""
        return (*self.spec.init_containers, *self.spec.containers, *self.spec.ephemeral_containers)

    def container(self, name: str) -> Container | None:
        """The container of that name, or the first one of ``spec.containers`` where the name is empty."""
        if not name:
            return self.spec.containers[0] if self.spec.containers else None
        return next((c for c in self.every if c.name == name), None)


def port_number(wanted: int | str, container: Container) -> int | None:
    """The number of a port that a probe or Service gives as number or as container port's name; None where unknown."""
    if isinstance(wanted, int):
        return wanted
    if wanted.isdigit():
        return int(wanted)
    return next((p.container_port for p in container.ports if p.name == wanted), None)
