"""What a pod got, as the annotation ``k8s.v1.cni.cncf.io/network-status`` says it. Pure.

In: results. Out: the annotation's text: a JSON list in the shape of the Network Plumbing Working Group's de-facto standard, version
1.3, section 5. The first entry is the pod's own interface; ``default`` is true where its default route goes. Not here: writing it
into the pod (``publish``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from netloom.cni.networks.results import Attached, ResultInterface
from netloom.program.links import Link

_DNS = ("nameservers", "domain", "search", "options")


class NetworkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One interface. ``name`` is namespace/name of the NetworkAttachmentDefinition, or the name of the cluster's network.

    ``mtu`` in bytes, 0 where it is not known; ``gateways`` are said where the default route goes through them.
    """

    name: str
    interface: str
    ips: tuple[str, ...] = ()
    mac: str = ""
    mtu: int = 0
    is_default: bool = False
    dns: Mapping[str, Any] = {}
    gateways: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As it is written; what is empty is left out, but for ``dns``."""
        body: dict[str, Any] = {
            "name": self.name,
            "interface": self.interface,
            "ips": list(self.ips),
            "mac": self.mac,
            "mtu": self.mtu,
            "default": self.is_default,
            "dns": {key: self.dns[key] for key in _DNS if self.dns.get(key)},
            "gateway": list(self.gateways),
        }
        return {key: value for key, value in body.items() if value or key == "dns"}


def status_of(
    network: str,
    interface: str,
    attached: Attached,
    *,
    gateways: tuple[str, ...] = (),
    link: Link | None = None,
) -> NetworkStatus:
    """The status of a network from its plugins' result; what older results cannot say, from the interface itself."""
    inside = attached.of_pod(interface) or ResultInterface(interface)
    return NetworkStatus(
        name=network,
        interface=inside.name,
        ips=tuple(str(one.address.ip) for one in attached.addresses),
        mac=inside.mac or (link.mac if link is not None else ""),
        mtu=inside.mtu or (link.mtu if link is not None else 0),
        dns=attached.dns,
        gateways=gateways,
    )


def annotation(statuses: Iterable[NetworkStatus]) -> str:
    """The annotation's text, as people read it with kubectl."""
    documents = [status.document() for status in statuses]
    return msgspec.json.format(msgspec.json.encode(documents), indent=4).decode()
