"""netloom.io/v1alpha1: EgressGateway, by whose address chosen pods leave the cluster.

Texts are as they were written; ``model/egress/gateways`` reads them. Definition: deploy/crds/egressgateways.yaml.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject, LabelSelector

DROP, NODE = "Drop", "Node"
"""Words of ``whenUnavailable``: nothing leaves, or pods leave by their own nodes like all others."""


class EgressGatewaySpec(msgspec.Struct, frozen=True, rename="camel"):
    """Whose packets to where leave by which addresses, and which nodes may have these. A selector that is missing excludes nobody."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    destinations: tuple[str, ...] = ()
    """Ranges outside of the cluster; empty: all that is outside."""
    except_destinations: tuple[str, ...] = ()
    """Ranges, or parts of them, that are no matter of this gateway."""
    node_selector: LabelSelector | None = None
    addresses: tuple[str, ...] = ()
    """One or several of each family; of several each pod has one."""
    when_unavailable: str = DROP


class EgressAddress(msgspec.Struct, frozen=True):
    """An address in use: the node that has it (empty: nobody), and how many pods leave by it."""

    address: str = ""
    node: str = ""
    pods: int = 0


class EgressGatewayStatus(msgspec.Struct, frozen=True):
    """Where the addresses are."""

    addresses: tuple[EgressAddress, ...] = ()


class EgressGateway(KubeObject, frozen=True):
    """netloom.io/v1alpha1 EgressGateway, of the whole cluster."""

    spec: EgressGatewaySpec = EgressGatewaySpec()
    status: EgressGatewayStatus = EgressGatewayStatus()
