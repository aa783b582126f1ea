"""The maps and sets of the table: what is keyed by a frontend is there twice, for NodePorts without an address. Pure."""

from __future__ import annotations

import msgspec

from netloom.program import names
from netloom.program.nft import Container, Field
from netloom.units import Family

_MOST_REMEMBERED = 1 << 18
"""Clients of all Services with session affinity; beyond, clients are balanced anew with each connection."""


class Keyed(msgspec.Struct, frozen=True):
    """The containers of one way to key frontends, and the prefix of the chains that use them."""

    prefix: str
    key: tuple[Field, ...]
    labels: Container
    """Frontend to its first label."""
    stages: Container
    """Stage and frontend to the next label."""
    endpoints: Container
    """Slot and frontend to the backend."""
    draws: Container
    """Where backends are drawn by number (affinity, pools for clients outside): slot and frontend to the number."""
    targets: Container
    """Number and frontend to the backend."""
    affinity: Container
    """A digest of client and frontend to the number of the client's backend. Written by packets."""
    holds: Container
    """With affinity: frontend to the chain that remembers for its time."""

    def expression(self, family: Family) -> str:
        """The key of a packet, in nft's words."""
        return ("" if self.prefix else f"{family.value} daddr . ") + "meta l4proto . th dport"

    @property
    def containers(self) -> tuple[Container, ...]:
        """All of them."""
        return (
            self.labels,
            self.stages,
            self.endpoints,
            self.draws,
            self.targets,
            self.affinity,
            self.holds,
        )


def _keyed(prefix: str, labels: str, *key: Field) -> Keyed:
    target = (Field.ADDRESS, Field.PORT)
    return Keyed(
        prefix=prefix,
        key=key,
        labels=Container(labels, key, data=(Field.LABEL,)),
        stages=Container(prefix + names.NFT_STAGES, (Field.LABEL, *key), data=(Field.LABEL,)),
        endpoints=Container(prefix + names.NFT_ENDPOINTS, (Field.SLOT, *key), data=target),
        draws=Container(prefix + names.NFT_DRAWS, (Field.SLOT, *key), data=(Field.LABEL,)),
        targets=Container(prefix + names.NFT_TARGETS, (Field.LABEL, *key), data=target),
        affinity=Container(
            prefix + names.NFT_AFFINITY, (Field.SLOT,), data=(Field.LABEL,), most_written=_MOST_REMEMBERED
        ),
        holds=Container(prefix + names.NFT_HOLDS, key, verdicts=True),
    )


SERVICE = _keyed("", names.NFT_SERVICES, Field.ADDRESS, Field.PROTOCOL, Field.PORT)
NODE_PORT = _keyed(names.NFT_NODE_PORT_PREFIX, names.NFT_NODE_PORTS, Field.PROTOCOL, Field.PORT)
KEYED = (SERVICE, NODE_PORT)

SOURCE_RANGES = Container(names.NFT_SOURCE_RANGES, (*SERVICE.key, Field.SOURCE_RANGE))
"""Frontend and who is let in (LoadBalancer addresses only)."""
HAIRPIN = Container(names.NFT_HAIRPIN, (Field.ADDRESS, Field.ADDRESS))
"""Pods of this node, twice: as source and as destination."""
PEERS = Container(names.NFT_PEERS, (Field.ADDRESS,))
"""Addresses of other nodes."""
POD_RANGES = Container(names.NFT_POD_RANGES, (Field.SOURCE_RANGE,))
"""Ranges of pods of all nodes, beside those that stand in rules."""
OWN_POD_RANGES = Container(names.NFT_OWN_POD_RANGES, (Field.SOURCE_RANGE,))
"""The same, of pods of this node."""
OWN_SOURCE = Container(names.NFT_OWN_SOURCE, (Field.ADDRESS,))
"""Pods of this node that leave the cluster with their own address."""
POLICY_INGRESS = Container(names.NFT_POLICY_INGRESS, (Field.ADDRESS,), verdicts=True)
POLICY_EGRESS = Container(names.NFT_POLICY_EGRESS, (Field.ADDRESS,), verdicts=True)
"""Pods of this node to the chain of their policies (``policy``)."""
POLICED = Container(names.NFT_POLICED, (Field.ADDRESS,))
"""Those pods."""

CONTAINERS = (
    *SERVICE.containers,
    *NODE_PORT.containers,
    SOURCE_RANGES,
    HAIRPIN,
    PEERS,
    POD_RANGES,
    OWN_POD_RANGES,
    OWN_SOURCE,
    POLICY_INGRESS,
    POLICY_EGRESS,
    POLICED,
)
OURS = tuple(
    container
    for container in CONTAINERS
    if not container.most_written and container not in (POLICY_INGRESS, POLICY_EGRESS, POLICED)
)
"""Those that are ours alone to write, and have to do with Services, pods and nodes; policies have sets of their own besides."""


def keyed(prefix_of: Container) -> Keyed | None:
    """The group that a container belongs to; None for sets that are keyed by other things."""
    return next((group for group in KEYED if prefix_of in group.containers), None)
