"""What policies come to on one node: ordered rules, address sets that rules share, and which pod is under which rules. Values only.

A packet of a pod of this node is judged where policy sees it: after the destination was translated and before the source is
(so a Service is transparent), first by the egress chain of its sender, then by the ingress chain of its receiver, each on the
node where that pod lives. In a chain the first rule that matches decides; ``PASS`` goes on with the next tier; where no rule
decides, ``Chain.default`` does. A pod that is not in ``PolicyState.pods`` is under no policy. Replies are no matter of chains:
what a connection's first packet was allowed holds for all of it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from netloom.api.selectors import Selector
from netloom.model.provenance import Finding, Source
from netloom.units import Addr, Cidr, ObjectKey, Protocol


class Direction(enum.Enum):
    """Seen from the pod that is under the policy."""

    INGRESS = "ingress"
    EGRESS = "egress"


class Tier(enum.Enum):
    """In the order in which they are asked."""

    ADMIN = "Admin"
    NETWORK_POLICY = "NetworkPolicy"
    BASELINE = "Baseline"


class Action(enum.Enum):
    """What a rule says of traffic that it matches (policy.networking.k8s.io ClusterNetworkPolicyRuleAction)."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105 - the API's word, no password
    """No opinion: on with the next tier."""


class PodPeers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """The pods with these labels, of one namespace or of all whose labels match. Never pods in a node's network."""

    namespace: str = ""
    namespaces: Selector | None = None
    """Set exactly where ``namespace`` is empty."""
    pods: Selector = Selector()

    def __str__(self) -> str:
        which = f"pods {self.pods}" if self.pods.requirements else "all pods"
        if self.namespace:
            return f"{which} in namespace {self.namespace}"
        return f"{which} in namespaces {self.namespaces}" if self.namespaces != Selector() else which


ALL_PODS = PodPeers(namespaces=Selector())


class NodePeers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """All addresses of the nodes with these labels."""

    nodes: Selector = Selector()

    def __str__(self) -> str:
        return f"nodes {self.nodes}" if self.nodes.requirements else "all nodes"


class NetworkPeers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Ranges of addresses; none overlaps with or touches another, and exceptions are already taken out."""

    cidrs: tuple[Cidr, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.cidrs))


class DomainPeers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """Domain names. Which addresses they have, no object says: members are those that pods of the node were told."""

    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ", ".join(self.names)


class EndpointPeers(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """The ports with this name of these pods; of any protocol where none is given."""

    pods: PodPeers
    port: str
    protocol: Protocol | None = None

    def __str__(self) -> str:
        word = f"/{self.protocol.word}" if self.protocol else ""
        return f"port {self.port}{word} of {self.pods}"


class Special(enum.Enum):
    """Peers that differ from pod to pod or from node to node, so that no shared set can hold them."""

    OWN_NODE = "the pod's own node"
    """Whatever the node itself sends; as addresses, ``PolicyState.own_node``."""
    SELF = "the pod itself"
    """Source and destination are the same address: a pod that reaches itself through a Service."""


AddressSetKey = PodPeers | NodePeers | NetworkPeers | DomainPeers
SetKey = AddressSetKey | EndpointPeers
Peers = AddressSetKey | Special


class Endpoint(NamedTuple):
    """One port of one pod; the member of a set with a key of ``EndpointPeers``."""

    address: Addr
    protocol: Protocol
    port: int


Member = Addr | Cidr | Endpoint
Members = Mapping[Member, ObjectKey]
"""Each with the pod, node or domain name (without namespace) that it comes from; ranges come from none: ``ObjectKey("", "")``."""


class PortRange(msgspec.Struct, frozen=True, gc=False):
    """Ports of one protocol, first and last included."""

    protocol: Protocol
    first: int
    last: int

    @property
    def order(self) -> tuple[str, int, int]:
        """For sorting."""
        return self.protocol.value, self.first, self.last

    def __str__(self) -> str:
        if (self.first, self.last) == (0, 65535):
            return f"any {self.protocol.word} port"
        ports = str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
        return f"{ports}/{self.protocol.word}"


class Rule(msgspec.Struct, frozen=True, gc=False):
    """Matches where the other end is one of ``peers`` and the packet goes to one of ``ports`` or ``endpoints``."""

    tier: Tier
    action: Action
    source: Source
    """Policy and field, such as ``spec.ingress[0].from[1]``."""
    peers: Peers | None = None
    """None: anybody."""
    ports: tuple[PortRange, ...] | None = None
    """Of the destination. None: whatever protocol and port, where ``endpoints`` is empty too."""
    endpoints: tuple[EndpointPeers, ...] = ()
    """Egress only: ports that have a name; which number that is depends on the pod that the packet goes to."""
    name: str = ""
    """Of the rule, where its author gave it one (ClusterNetworkPolicy)."""


class PolicyRef(msgspec.Struct, frozen=True, order=True, cache_hash=True):
    """A policy."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class NamedPort(msgspec.Struct, frozen=True):
    """What a name in a rule means for the pods under the rule."""

    name: str
    protocol: Protocol | None
    ports: tuple[PortRange, ...]
    """Sorted; empty where no container has it."""


class ChainKey(msgspec.Struct, frozen=True, cache_hash=True, gc=False):
    """A distinct set of policies as it applies: pods with the same policies and the same meaning of port names share a chain.

    An edit of a policy changes the rules in a chain, not its key.
    """

    direction: Direction
    policies: tuple[PolicyRef, ...]
    """Sorted; those that have something to say about this direction."""
    ports: tuple[NamedPort, ...] = ()
    """Ingress only, sorted by name: the names that rules of these policies use."""

    def __str__(self) -> str:
        return f"{self.direction.value} of {', '.join(map(str, self.policies))}"


class Chain(msgspec.Struct, frozen=True):
    """Rules in order; all of ``ADMIN`` come before all of ``NETWORK_POLICY``, and those before all of ``BASELINE``."""

    rules: tuple[Rule, ...]
    default: Action
    """``DENY`` where a NetworkPolicy isolates the pod, otherwise ``ACCEPT``."""
    isolating: tuple[Source, ...] = ()
    """The NetworkPolicies that do."""


class PolicyPod(msgspec.Struct, frozen=True):
    """An address of a pod of this node that is under some policy; None: nothing is said of that direction."""

    pod: ObjectKey
    uid: str
    ingress: ChainKey | None
    egress: ChainKey | None


class PolicyState(msgspec.Struct, frozen=True):
    """All policies as they apply on one node. Equal states mean equal verdicts for every packet."""

    sets: Mapping[SetKey, Members] = {}
    """Exactly those that rules of ``chains`` name; with members from the whole cluster."""
    chains: Mapping[ChainKey, Chain] = {}
    """Exactly those that ``pods`` name."""
    pods: Mapping[Addr, PolicyPod] = {}
    own_node: tuple[Addr, ...] = ()
    findings: tuple[Finding, ...] = ()


class SetChange(msgspec.Struct, frozen=True):
    """What became of one set."""

    added: Members = {}
    """Also members that were there and now come from another object."""
    removed: tuple[Member, ...] = ()
    is_new: bool = False


class PolicyDelta(msgspec.Struct, frozen=True):
    """What an update changed: per key the new value, or None where it is gone. Empty where nothing changed."""

    sets: Mapping[SetKey, SetChange | None] = {}
    chains: Mapping[ChainKey, Chain | None] = {}
    pods: Mapping[Addr, PolicyPod | None] = {}

    @property
    def is_empty(self) -> bool:
        """True where nothing has to be done."""
        return not (self.sets or self.chains or self.pods)
