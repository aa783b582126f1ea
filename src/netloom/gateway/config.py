"""What a node's gateway is told at its start. In: a JSON or YAML file, or options of the command; out: GatewayConfig. Not here: what it does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.errors import UsageError
from netloom.units import Addr, parse_addr


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's gateway."""

    node: str
    """Name of the Node object that this gateway is for."""
    kubeconfig: str = ""
    """Credentials; empty: the pod's own service account."""
    addresses: tuple[str, ...] = ()
    """Where it listens; empty: at the InternalIPs of its Node."""
    directory: str = "/run/netloom/gateway"
    """For files and sockets of HAProxy; its path has at most 80 bytes."""
    socket: str = "/run/netloom/gateway.sock"
    """Where the gateway answers questions."""
    metrics_address: str = "127.0.0.1:10264"
    """Where ``/metrics`` is answered. Empty: nowhere."""

    def listen_at(self) -> tuple[Addr, ...]:
        """``addresses``, read.

        Raises:
            UsageError: one is none.
        """
        found = []
        for i, text in enumerate(self.addresses):
            address = parse_addr(text)
            if address is None:
                raise UsageError(
                    f"gateway configuration: addresses[{i}]: {text!r} is no address",
                    "write it as 192.0.2.10",
                )
            found.append(address)
        return tuple(found)


def load(path: str) -> GatewayConfig:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, or has a field that is wrong or unknown.
    """
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=GatewayConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}", "see: netloom gateway serve --help") from error
