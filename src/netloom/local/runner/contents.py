"""What the containers of one pod are given: variables and volumes. In: the pod; out: environments, mounts, views, specifications.

What they refer to is followed as long as the pod is here. Not here: the rules (``env``, ``volumes``, ``specification``).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping

import msgspec

from netloom.linux.namespaces import has_one_user
from netloom.linux.netns import Namespaces
from netloom.local.runner import env, podfiles, specification
from netloom.local.runner.env import Missing, Surroundings
from netloom.local.runner.running import ContainerSpec, Refused
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.spec import Container, Pod
from netloom.local.runner.tools import Tools
from netloom.local.runner.volumes.payload import MountFailed
from netloom.local.runner.volumes.podvolumes import PodVolumes
from netloom.local.runner.volumes.view import view_of
from netloom.local.runner.volumes.watched import Name
from netloom.units import ObjectKey

_KUBERNETES = ObjectKey("default", "kubernetes")


class Contents:
    """What the containers of one pod are given.

    Args:
        tools: of the node.
        pod: gives the pod as it is known now.
        addresses: gives the pod's.
    """

    def __init__(
        self, *, tools: Tools, pod: Callable[[], Pod], addresses: Callable[[], tuple[str, ...]]
    ) -> None:
        self._tools = tools
        self._pod = pod
        self._addresses = addresses
        self.volumes = PodVolumes(
            tools=tools.volumes, pod=pod, addresses=lambda: (addresses(), tools.addresses.now)
        )
        self._views: dict[str, int] = {}

    def follow(self) -> None:
        """Follow what the pod refers to now."""
        pod = self._pod()
        names: set[Name] = set(self.volumes.names())
        for container in pod.every:
            names |= self._names(container)
        self._tools.volumes.watched.want(pod.uid, names)

    async def environment(self, container: Container) -> dict[str, str]:
        """All variables of a container, as what runs in a stand-in has them.

        Raises:
            Missing: a reference that is not optional leads nowhere.
        """
        maps = await self._maps(container)
        return env.environment(self._pod(), container, self._around(), maps)

    async def specification(self, container: Container, attempt: int, join_pid_of: str) -> ContainerSpec:
        """What the next life of a container is to be.

        Raises:
            Refused: what it refers to is not there.
        """
        pod = self._pod()
        try:
            variables = env.variables(pod, container, self._around(), await self._maps(container))
            mounts = await self.volumes.mounts_of(container, variables)
        except Missing as error:
            raise Refused("CreateContainerConfigError", error.problem) from error
        except MountFailed as error:
            raise Refused("CreateContainerConfigError", error.problem) from error
        return specification.specification(
            pod,
            container,
            id_=secrets.token_hex(32),
            attempt=attempt,
            variables=variables,
            mounts=mounts,
            files=self.files(),
            join_pid_of=join_pid_of,
        )

    async def check(self, container: Container) -> None:
        """See that a stand-in's container has what it refers to, as a program would.

        Raises:
            Refused: it has not.
        """
        if not env.needed_maps(container):
            return  # most name nothing, and a namespace may have thousands of Services to make variables of
        try:
            env.variables(self._pod(), container, self._around(), await self._maps(container))
        except Missing as error:
            raise Refused("CreateContainerConfigError", error.problem) from error

    async def view(self, sandbox: Sandbox, container: Container) -> Namespaces:
        """The namespaces that a command enters to be in a stand-in's container: the pod's, with its volumes.

        Raises:
            MountFailed: a volume cannot be shown.
        """
        if not container.volume_mounts or sandbox.namespaces.mnt is None:
            return sandbox.namespaces
        if container.name not in self._views:
            variables = env.variables(self._pod(), container, self._around(), await self._maps(container))
            mounts = await self.volumes.mounts_of(container, variables)
            made = await view_of(sandbox.namespaces.mnt, mounts)
            if container.name in self._views:  # somebody else was faster
                os.close(made)
            else:
                self._views[container.name] = made
        return msgspec.structs.replace(sandbox.namespaces, mnt=self._views[container.name])

    def files(self) -> Mapping[str, str]:
        """Texts of the files that every container has: hostname, resolv.conf, hosts."""
        config, pod = self._tools.config, self._pod()
        hosts = podfiles.hosts(
            pod, addresses=self._addresses(), node_name=config.node_name, domain=config.cluster_domain
        )
        return {
            "hostname": podfiles.kernel_hostname(pod, config.node_name, config.cluster_domain),
            "resolv.conf": podfiles.resolv_conf(pod, self._tools.dns),
            "hosts": hosts,
        }

    def close_views(self) -> None:
        """Let go of what containers saw: their sandbox has gone, or they begin anew."""
        while self._views:
            os.close(self._views.popitem()[1])

    async def remove(self) -> None:
        """The pod is gone: remove its volumes, follow nothing any more."""
        self.close_views()
        self._tools.volumes.watched.want(self._pod().uid, ())
        await self.volumes.remove()

    def _around(self) -> Surroundings:
        pod, config = self._pod(), self._tools.config
        return Surroundings(
            pod_ips=self._addresses(),
            host_ips=self._tools.addresses.now,
            hostname=podfiles.hostname(pod, config.node_name),
            services=tuple(self._tools.services(pod.metadata.namespace)),
            kubernetes=next((s for s in self._tools.services("default") if s.key == _KUBERNETES), None),
            one_user=has_one_user(),
            allocatable=self._tools.volumes.allocatable,
        )

    def _names(self, container: Container) -> frozenset[Name]:
        namespace = self._pod().metadata.namespace
        return frozenset((kind, ObjectKey(namespace, name)) for kind, name in env.needed_maps(container))

    async def _maps(self, container: Container) -> dict[tuple[str, str], dict[str, str]]:
        names = self._names(container)
        if not names:
            return {}
        try:
            found = await self._tools.volumes.watched.data(names)
        except TimeoutError as error:
            raise Refused(
                "CreateContainerConfigError", "the API server does not answer for ConfigMaps and Secrets"
            ) from error
        return {
            (kind, key.name): {k: v.decode("utf-8", "replace") for k, v in data.items()}
            for (kind, key), data in found.items()
        }
