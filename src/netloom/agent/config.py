"""What a node's agent is told at its start. In: a JSON or YAML file; out: AgentConfig with its ranges parsed."""

from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.errors import UsageError
from netloom.model.inputs import ClusterFacts
from netloom.units import Addr, Cidr, parse_addr, parse_cidr


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node's agent."""

    node: str
    """Name of the Node object that this agent is for."""
    kubeconfig: str = ""
    """Credentials; empty: the pod's own service account."""
    cluster_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    dns_addresses: tuple[str, ...] = ()
    """ClusterIPs of the cluster's DNS; this node answers them itself."""
    cluster_domain: str = "cluster.local"
    node_port_range: tuple[int, int] = (30000, 32767)
    cni_socket: str = "/run/netloom/cni.sock"
    dns_feed_socket: str = "/run/netloom/dns.sock"
    """The socket of the node's DNS process."""
    address_store: str = "/var/lib/netloom/addresses.db"
    """Which pod has which address; must survive restarts."""

    def cluster_facts(self) -> ClusterFacts:
        """The settings of the cluster that the model depends on.

        Raises:
            UsageError: a range or an address is none; names the field.
        """
        return ClusterFacts(
            cluster_cidrs=_cidrs("cluster_cidrs", self.cluster_cidrs),
            service_cidrs=_cidrs("service_cidrs", self.service_cidrs),
            dns_addresses=_addresses("dns_addresses", self.dns_addresses),
            cluster_domain=self.cluster_domain,
            node_port_range=self.node_port_range,
        )


def _cidrs(field: str, texts: tuple[str, ...]) -> tuple[Cidr, ...]:
    found = []
    for i, text in enumerate(texts):
        cidr = parse_cidr(text)
        if cidr is None:
            raise UsageError(
                f"agent configuration: {field}[{i}]: {text!r} is no CIDR", "write it as 10.244.0.0/16"
            )
        found.append(cidr)
    return tuple(found)


def _addresses(field: str, texts: tuple[str, ...]) -> tuple[Addr, ...]:
    found = []
    for i, text in enumerate(texts):
        address = parse_addr(text)
        if address is None:
            raise UsageError(
                f"agent configuration: {field}[{i}]: {text!r} is no address", "write it as 10.96.0.10"
            )
        found.append(address)
    return tuple(found)


def load(path: str) -> AgentConfig:
    """Read a configuration file.

    Raises:
        UsageError: it cannot be read, or has a field that is wrong or unknown.
    """
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=AgentConfig)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path}: {error}", "see: netloom agent --help") from error
