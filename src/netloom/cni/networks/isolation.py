"""Whose networks a pod may have. Pure. In: a network and a pod. Out: nothing, or InvalidObject. As Multus' ``namespaceIsolation``."""

from __future__ import annotations

import msgspec

from netloom.errors import InvalidObject
from netloom.units import ObjectKey


class Isolation(msgspec.Struct, frozen=True):
    """The rule of a cluster.

    ``enabled``: pods may have networks of their own namespace, and of those in ``shared``; else of every namespace.
    """

    enabled: bool = True
    shared: frozenset[str] = frozenset()

    def check(self, network: ObjectKey, pod: ObjectKey, *, subject: str) -> None:
        """Pass where the pod may have the network.

        Raises:
            InvalidObject: it may not.
        """
        if not self.enabled or network.namespace == pod.namespace or network.namespace in self.shared:
            return
        raise InvalidObject(
            subject,
            "",
            f"NetworkAttachmentDefinition {network} is of another namespace",
            f"make one in {pod.namespace}, or let the agents share {network.namespace}"
            " (networks.shared_namespaces in their configuration)",
        )
