"""What a node's gateway says of itself to whoever asks: values. In: nothing; out: structs that ``netloom gateway status`` shows."""

from __future__ import annotations

import msgspec


class ListenerReport(msgspec.Struct, frozen=True):
    """One listener at a door."""

    name: str
    hostname: str
    """Empty: any."""
    rules: int
    """Rules and streams."""


class DoorReport(msgspec.Struct, frozen=True):
    """One port of a gateway."""

    gateway: str
    """Namespace and name; of all Ingresses together, that of their Service."""
    port: int
    transport: str
    node_port: int | None
    """Where this node listens; None: nowhere yet, or (UDP) not by itself."""
    listeners: tuple[ListenerReport, ...]


class GatewayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one node's gateway has in force."""

    node: str
    state: str
    """``idle`` (no Gateway and no Ingress in the cluster), ``reading``, ``in force`` or ``failing``."""
    plans: int = 0
    """How many were put in force since the process began."""
    reloads: int = 0
    commands: int = 0
    """Changes made while the engine ran on."""
    last_s: float | None = None
    """Seconds since the last one."""
    doors: tuple[DoorReport, ...] = ()
    pools: int = 0
    endpoints: int = 0
    problems: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    """By kind, the resourceVersion up to which everything is in force."""
