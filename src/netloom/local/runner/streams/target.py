"""What a stream is for: pod, container, sandbox, environment. In: names from a URL; out: a Target, or a refusal."""

from __future__ import annotations

import base64
import binascii

import msgspec

from netloom.errors import NetloomError
from netloom.kube.resources import CONFIG_MAPS, SECRETS
from netloom.linux.namespaces import has_one_user
from netloom.local.runner import podfiles
from netloom.local.runner.env import Surroundings, environment, needed_maps
from netloom.local.runner.http1 import BadRequest
from netloom.local.runner.lifecycle import PodLife
from netloom.local.runner.pods import Pods, ServicesByNamespace
from netloom.local.runner.sandbox import Sandbox
from netloom.local.runner.spec import Container
from netloom.local.runner.tools import Tools
from netloom.units import ObjectKey

_KUBERNETES = ObjectKey("default", "kubernetes")


class Target(msgspec.Struct, frozen=True):
    """One container of one pod that runs here."""

    life: PodLife
    container: Container
    sandbox: Sandbox

    @property
    def netns(self) -> int:
        """The pod's network namespace.

        Raises:
            BadRequest: it has none (any more).
        """
        if self.sandbox.namespaces.net is None:
            raise BadRequest(f"pod {self.life.pod.key} has no network namespace")
        return self.sandbox.namespaces.net


class Targets:
    """Finds targets on this node."""

    def __init__(self, *, pods: Pods, tools: Tools, services: ServicesByNamespace) -> None:
        self._pods = pods
        self._tools = tools
        self._services = services

    def find(self, namespace: str, pod: str, container: str) -> Target:
        """A container that runs; an empty name means the pod's first one.

        Raises:
            NotFound: the pod does not run here.
            BadRequest: it has no such container, or no sandbox yet.
        """
        life = self._pods.find(ObjectKey(namespace, pod))
        found = life.pod.container(container)
        if found is None:
            raise BadRequest(f"container {container} is not valid for pod {pod}")
        if life.sandbox is None:
            raise BadRequest(
                f'container "{found.name}" in pod "{pod}" is waiting to start: ContainerCreating'
            )
        return Target(life, found, life.sandbox)

    async def environment(self, target: Target) -> dict[str, str]:
        """The container's variables, with what its ConfigMaps and Secrets say now."""
        pod = target.life.pod
        config = self._tools.config
        around = Surroundings(
            pod_ips=target.life.addresses,
            host_ips=self._tools.addresses.now,
            hostname=podfiles.hostname(pod, config.node_name),
            services=tuple(self._services.of(pod.metadata.namespace)),
            kubernetes=self._services.get(_KUBERNETES),
            one_user=has_one_user(),
        )
        maps: dict[tuple[str, str], dict[str, str]] = {}
        for kind, name in sorted(needed_maps(target.container)):
            maps[kind, name] = await self._data(kind, ObjectKey(pod.metadata.namespace, name))
        return environment(pod, target.container, around, maps)

    async def _data(self, kind: str, key: ObjectKey) -> dict[str, str]:
        """Data of a ConfigMap or Secret; empty where it cannot be had."""
        resource = SECRETS if kind == "Secret" else CONFIG_MAPS
        try:
            data = (await self._tools.client.get(resource, key)).get("data") or {}
        except NetloomError:
            return {}
        if kind == "ConfigMap":
            return {str(k): str(v) for k, v in data.items()}
        return {str(k): _decoded(v) for k, v in data.items()}


def _decoded(text: object) -> str:
    try:
        return base64.b64decode(str(text), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
