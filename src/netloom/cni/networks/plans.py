"""What a pod's annotations mean on this node: a call for each network, or why there can be none. In: a pod. Out: plans.

All networks are looked up before anything is made. Not here: the annotation's text (``selection``), attaching (``attachments``).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netloom.api.core import Pod
from netloom.api.networks import DEFAULT_NETWORK_ANNOTATION, NETWORKS_ANNOTATION
from netloom.cni.delegate import Call
from netloom.cni.ipam.lease import Attachment
from netloom.cni.networks.configuration import NetworkList, Requested
from netloom.cni.networks.definitions import Definitions
from netloom.cni.networks.isolation import Isolation
from netloom.cni.networks.selection import Selection, default_network_of, networks_of
from netloom.errors import InvalidObject

OWN_PLUGIN = "netloom"
"""``type`` of the cluster's own network."""
_OWN_CAPABILITIES = frozenset({"ips", "mac"})

Tell = Callable[[Pod, str, str, bool], None]
"""Says something about a pod: reason, words, whether it is a warning."""


def tell_nobody(pod: Pod, reason: str, words: str, is_warning: bool) -> None:
    """Where nobody is to be told."""


class Plan(msgspec.Struct, frozen=True):
    """One network of one pod, ready to be attached."""

    selection: Selection
    call: Call


class Planner:
    """Reads pods' annotations.

    Args:
        definitions: what networks there are.
        isolation: whose networks a pod may have.
        tell: says something about a pod; None: nobody is told.
        default_namespace: where networks of ``v1.multus-cni.io/default-network`` are that say no namespace.
    """

    def __init__(
        self,
        *,
        definitions: Definitions,
        isolation: Isolation,
        tell: Tell | None = None,
        default_namespace: str = "kube-system",
    ) -> None:
        self._definitions = definitions
        self._isolation = isolation
        self._tell = tell or tell_nobody
        self._default_namespace = default_namespace

    async def plans(self, pod: Pod, asked: str, instead: str, *, first: Attachment) -> list[Plan]:
        """What is to be attached.

        Args:
            pod: whose.
            asked: text of the annotation ``k8s.v1.cni.cncf.io/networks``.
            instead: text of the annotation ``v1.multus-cni.io/default-network``.
            first: the pod's first interface.

        Raises:
            InvalidObject: the pod cannot have what it asks for.
            Unavailable: a network is not known here, and the API server does not answer.
        """
        if instead:
            await self._check_default(pod, instead, first.interface)
        plans = []
        for selection in networks_of(asked, pod=pod.key, primary=first.interface):
            subject = f"Pod {pod.key}: {selection.where}"
            self._isolation.check(selection.network, pod.key, subject=subject)
            network = await self._definitions.network(selection.network, asked_by=subject)
            _check_capabilities(selection, network, subject)
            if selection.ignored:
                words = f"{selection.where}: passed over: {', '.join(selection.ignored)}"
                self._tell(pod, "NetworkFieldIgnored", words, True)
            requested = Requested(selection.capabilities(), selection.cni_args)
            attachment = Attachment(first.container, selection.interface)
            plans.append(Plan(selection, Call(network, attachment, requested, _arguments(pod, attachment))))
        return plans

    async def _check_default(self, pod: Pod, text: str, interface: str) -> None:
        """Another first interface than the cluster's own would have neither Services nor policies."""
        one = default_network_of(text, pod=pod.key, namespace=self._default_namespace, interface=interface)
        network = await self._definitions.network(one.network, asked_by=f"Pod {pod.key}: {one.where}")
        if network.plugins[0]["type"] == OWN_PLUGIN and not one.capabilities():
            return
        raise InvalidObject(
            f"Pod {pod.key}",
            f"metadata.annotations[{DEFAULT_NETWORK_ANNOTATION}]",
            f"{one.network} is not the cluster's own network, which a pod's first interface always is here:"
            " Services and NetworkPolicies are there",
            f"ask for it in {NETWORKS_ANNOTATION}, with default-route where all else is to go through it",
        )


def _check_capabilities(selection: Selection, network: NetworkList, subject: str) -> None:
    """What is asked for and nobody would hear of is an error, not a surprise."""
    own = _OWN_CAPABILITIES if network.plugins[0]["type"] == OWN_PLUGIN else frozenset[str]()
    for capability in selection.capabilities():
        if capability not in own and not network.declares(capability):
            raise InvalidObject(
                subject,
                "",
                f"asks for {capability}, and no plugin of network {selection.network} declares that capability",
                f'write "capabilities": {{"{capability}": true}} into the plugin\'s configuration, if it has it',
            )


def _arguments(pod: Pod, attachment: Attachment) -> str:
    """CNI_ARGS, as a runtime gives them."""
    pairs = {
        "IgnoreUnknown": "true",
        "K8S_POD_NAMESPACE": pod.metadata.namespace,
        "K8S_POD_NAME": pod.metadata.name,
        "K8S_POD_INFRA_CONTAINER_ID": attachment.container,
        "K8S_POD_UID": pod.metadata.uid,
    }
    return ";".join(f"{name}={value}" for name, value in pairs.items())
