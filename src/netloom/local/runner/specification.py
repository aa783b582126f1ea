"""What a container is to be, resolved (``running.ContainerSpec``): from the pod's fields and what they refer to. Pure.

In: pod, container, variables, mounts. Out: values for whoever runs it. Not here: where variables (``env``) and mounts
(``volumes``) come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from netloom.api.quantity import parse
from netloom.local.runner.env import expand
from netloom.local.runner.references import Quantity
from netloom.local.runner.running import ContainerSpec, Found, Limits, Mount, PullPolicy, Refused, Security
from netloom.local.runner.spec import Container, Pod, SecurityContext

STAND_IN = "netloom.io/stand-in"
"""Annotation of a pod: with ``"false"`` no stand-in takes the place of an image that is not there."""


def pull_policy(container: Container) -> PullPolicy:
    """``imagePullPolicy``; the API's default where it says nothing: Always for the tag latest, else IfNotPresent."""
    if container.image_pull_policy:
        return PullPolicy(container.image_pull_policy)
    name, _, digest = container.image.partition("@")
    _, _, tag = name.rpartition("/")[2].partition(":")
    is_latest = not digest and tag in {"", "latest"}
    return PullPolicy.ALWAYS if is_latest else PullPolicy.IF_NOT_PRESENT


def wants_standin(pod: Pod) -> bool:
    """A stand-in may play its containers where their images are not there."""
    return pod.metadata.annotations.get(STAND_IN, "").lower() != "false"


def security_of(pod: Pod, container: Container) -> Security:
    """The container's securityContext over the pod's."""
    of_pod, own = pod.spec.security_context, container.security_context
    groups = of_pod.supplemental_groups
    if of_pod.fs_group is not None:
        groups = (*groups, of_pod.fs_group)
    seccomp = own.seccomp_profile or of_pod.seccomp_profile
    return Security(
        run_as_user=_first(own.run_as_user, of_pod.run_as_user),
        run_as_group=_first(own.run_as_group, of_pod.run_as_group),
        run_as_non_root=bool(of_pod.run_as_non_root if own.run_as_non_root is None else own.run_as_non_root),
        supplemental_groups=groups,
        privileged=bool(own.privileged),
        read_only_root=bool(own.read_only_root_filesystem),
        allow_privilege_escalation=_may_escalate(own),
        add_capabilities=own.capabilities.add,
        drop_capabilities=own.capabilities.drop,
        seccomp=seccomp.type if seccomp is not None else "Unconfined",
        seccomp_profile=seccomp.localhost_profile if seccomp is not None else "",
        proc_mount=own.proc_mount,
        sysctls=tuple((s.name, s.value) for s in of_pod.sysctls),
    )


def check_user(security: Security, found: Found) -> None:
    """``runAsNonRoot`` holds.

    Raises:
        Refused: the container would run as root, or nobody knows.
    """
    if not security.run_as_non_root:
        return
    reason, user = "CreateContainerConfigError", found.user.partition(":")[0]
    if security.run_as_user == 0:
        raise Refused(reason, "container's runAsUser breaks non-root policy")
    if security.run_as_user is not None:
        return
    if user in {"", "0", "root"}:
        raise Refused(reason, "container has runAsNonRoot and image will run as root")
    if not user.isdecimal():
        raise Refused(
            reason,
            f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root",
        )


def limits_of(container: Container) -> Limits:
    """``resources``, in thousandths of a processor and in bytes."""
    asked, most = container.resources.requests, container.resources.limits
    return Limits(
        cpu_request_millis=_amount(asked, "cpu", 1000),
        cpu_limit_millis=_amount(most, "cpu", 1000),
        memory_request=_amount(asked, "memory", 1),
        memory_limit=_amount(most, "memory", 1),
    )


def specification(  # noqa: PLR0913 - what is known of a container, from as many places
    pod: Pod,
    container: Container,
    *,
    id_: str,
    attempt: int,
    variables: Mapping[str, str],
    mounts: tuple[Mount, ...],
    files: Mapping[str, str],
    join_pid_of: str = "",
) -> ContainerSpec:
    """The whole of it.

    Args:
        pod: whose it is.
        container: as the pod has it.
        id_: of this life.
        attempt: how many lives there were before.
        variables: from ``env``.
        mounts: from ``volumes``.
        files: texts of ``hostname``, ``resolv.conf`` and ``hosts``.
        join_pid_of: the life whose processes it sees.
    """
    spec = pod.spec
    return ContainerSpec(
        id=id_,
        pod_uid=pod.uid,
        namespace=pod.metadata.namespace,
        pod_name=pod.metadata.name,
        name=container.name,
        image=container.image,
        pull=pull_policy(container),
        attempt=attempt,
        command=tuple(expand(word, variables) for word in container.command),
        args=tuple(expand(word, variables) for word in container.args),
        env=variables,
        working_dir=container.working_dir,
        hostname=files["hostname"],
        resolv_conf=files["resolv.conf"],
        hosts=files["hosts"],
        mounts=mounts,
        security=security_of(pod, container),
        limits=limits_of(container),
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        tty=container.tty,
        stop_signal=container.lifecycle.stop_signal,
        termination_message_path=container.termination_message_path,
        termination_message_policy=container.termination_message_policy,
        share_process_namespace=spec.share_process_namespace,
        join_pid_of=join_pid_of,
        host_pid=spec.host_pid,
        host_ipc=spec.host_ipc,
        cgroup=pod.uid,
    )


def _first(own: int | None, of_pod: int | None) -> int | None:
    return of_pod if own is None else own


def _may_escalate(own: SecurityContext) -> bool:
    return bool(own.privileged) or own.allow_privilege_escalation is not False


def _amount(quantities: Mapping[str, Quantity], name: str, factor: int) -> int:
    return math.ceil((parse(quantities.get(name, "0")) or Decimal(0)) * factor)
