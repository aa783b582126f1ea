"""NetworkLeases as the API server has them: read, and written for who has an address or for whom it is kept. Pure.

Not here: when (``leases``, ``netloom/controller``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from netloom.api.networks import POOL_LABEL, LeaseHolder, NetworkLease, NetworkLeaseSpec
from netloom.cni.ipam.lease import Attachment
from netloom.cni.networks.pools import lease_name
from netloom.errors import InvalidObject
from netloom.kube.resources import NETWORK_LEASES
from netloom.units import Addr


def taken(pool: str, address: Addr, holder: LeaseHolder) -> dict[str, Any]:
    """A lease for somebody: the body of a create, or, with a resourceVersion, of an update."""
    return {
        "apiVersion": NETWORK_LEASES.api_version,
        "kind": NETWORK_LEASES.kind,
        "metadata": {"name": lease_name(pool, address), "labels": {POOL_LABEL: pool}},
        "spec": _written(NetworkLeaseSpec(pool, str(address), holder)),
    }


def kept(lease: NetworkLease, until: str, *, pod: str | None = None) -> dict[str, Any]:
    """A lease as it is kept for a name: the body of an update, which fails where the lease has changed.

    Args:
        lease: as it is.
        until: RFC 3339.
        pod: the name; None: the pod that has it. Empty: nobody may take it any more.
    """
    name = lease.spec.holder.pod if pod is None else pod
    holder = LeaseHolder(pod=name, interface=lease.spec.holder.interface)
    spec = msgspec.structs.replace(lease.spec, holder=holder, kept_until=until)
    return {
        "apiVersion": NETWORK_LEASES.api_version,
        "kind": NETWORK_LEASES.kind,
        "metadata": {
            "name": lease.metadata.name,
            "resourceVersion": lease.metadata.resource_version,
            "labels": {POOL_LABEL: lease.spec.pool},
        },
        "spec": _written(spec),
    }


def is_held(lease: NetworkLease, attachment: Attachment) -> bool:
    """True where this interface has the address."""
    holder = lease.spec.holder
    return (holder.container, holder.interface) == (attachment.container, attachment.interface)


def read_lease(item: Mapping[str, Any]) -> NetworkLease:
    """A lease from a document.

    Raises:
        InvalidObject: it is none.
    """
    try:
        return msgspec.convert(item, type=NetworkLease)
    except msgspec.ValidationError as error:
        name = str((item.get("metadata") or {}).get("name", ""))
        raise InvalidObject(
            f"NetworkLease {name}", "", str(error), "it is written by netloom only"
        ) from error


def _written(spec: NetworkLeaseSpec) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(spec)
    return {key: value for key, value in body.items() if value != ""} | {
        "holder": {key: value for key, value in body["holder"].items() if value}
    }
