"""netloom.io/v1alpha1: IPPool, from which pods get addresses, and IPBlock, a node's part of one.

Texts are as they were written; ``model/addresses`` reads them. Definitions: deploy/crds/ippools.yaml, deploy/crds/ipblocks.yaml.
"""

from __future__ import annotations

import msgspec

from netloom.api.meta import KubeObject, LabelSelector


class BlockSize(msgspec.Struct, frozen=True):
    """Prefix lengths of the blocks that nodes claim, one for each family."""

    ipv4: int = 26
    ipv6: int = 122


class IPPoolSpec(msgspec.Struct, frozen=True, rename="camel"):
    """What the pool holds, and who may have addresses of it. A selector that is missing excludes nobody."""

    cidrs: tuple[str, ...] = ()
    block_size: BlockSize = BlockSize()
    node_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    pod_selector: LabelSelector | None = None
    disabled: bool = False
    """Nobody is given an address any more; who has one keeps it."""
    reserved: tuple[str, ...] = ()
    """Addresses and ranges that nobody is given."""


class IPPool(KubeObject, frozen=True):
    """netloom.io/v1alpha1 IPPool, of the whole cluster."""

    spec: IPPoolSpec = IPPoolSpec()


class IPBlockSpec(msgspec.Struct, frozen=True):
    """A range, the node that hands its addresses out, and the pool that it is of. Never changes."""

    cidr: str = ""
    node: str = ""
    pool: str = ""


class IPBlockStatus(msgspec.Struct, frozen=True):
    """``grants``: what each node says in whose range the block is: ``granted``, or why not."""

    grants: dict[str, str] = {}


class IPBlock(KubeObject, frozen=True):
    """netloom.io/v1alpha1 IPBlock, of the whole cluster. Its name follows from the range: no range is claimed twice."""

    spec: IPBlockSpec = IPBlockSpec()
    status: IPBlockStatus = IPBlockStatus()
