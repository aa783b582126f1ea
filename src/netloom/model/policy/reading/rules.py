"""A policy as it was read: whom it is about and its rules, before names of ports mean numbers. Values only."""

from __future__ import annotations

import msgspec

from netloom.model.policy.state import Action, AddressSetKey, Direction, PodPeers, PolicyRef, PortRange, Tier
from netloom.model.provenance import Finding, Source
from netloom.units import Protocol


class ReadPeer(msgspec.Struct, frozen=True, gc=False):
    """One entry of a rule's list of peers."""

    field: str
    key: AddressSetKey
    written: str = ""
    """Ranges as the author wrote them: ``192.0.2.0/24 except 192.0.2.128/25``."""


class PortName(msgspec.Struct, frozen=True, gc=False):
    """A container port's name; of any protocol where none is given."""

    name: str
    protocol: Protocol | None


class ReadPort(msgspec.Struct, frozen=True, gc=False):
    """One entry of a rule's list of ports."""

    field: str
    port: PortRange | PortName


class ReadRule(msgspec.Struct, frozen=True, gc=False):
    """One rule. None stands for whatever there is, an empty tuple for nothing (what could not be read)."""

    field: str
    action: Action
    peers: tuple[ReadPeer, ...] | None
    ports: tuple[ReadPort, ...] | None
    name: str = ""

    @property
    def port_names(self) -> tuple[PortName, ...]:
        """The names of ports that it uses."""
        return tuple(port.port for port in self.ports or () if isinstance(port.port, PortName))


class PolicyReading(msgspec.Struct, frozen=True, gc=False):
    """One policy, of either kind."""

    ref: PolicyRef
    source: Source
    tier: Tier
    priority: int
    """Within the tier, lowest first; 0 for NetworkPolicies, whose order does not matter."""
    subject: PodPeers
    ingress: tuple[ReadRule, ...] | None
    """None: the policy has no opinion about this direction. Empty: a NetworkPolicy that isolates and allows nothing."""
    egress: tuple[ReadRule, ...] | None
    findings: tuple[Finding, ...] = ()

    def rules(self, direction: Direction) -> tuple[ReadRule, ...] | None:
        """Of one direction; None where the policy has no opinion about it."""
        return self.ingress if direction is Direction.INGRESS else self.egress
