"""Which pod asks from which address, and how its resolver completes names.

Comes in: pods with the addresses that they really have (the agent's admission sees to that), and the node. Goes out: an Asker for each
address of a pod of this node. Not here: the search itself (``dns/search.py``).
Source of the rules: core/v1 PodSpec ``dnsPolicy`` and ``dnsConfig``, resolv.conf(5).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netloom.api.core import Pod
from netloom.model.names.records import NameSettings, is_domain_name
from netloom.model.routes.local_pods import is_finished
from netloom.units import Addr, ObjectKey, parse_addr

CLUSTER_NDOTS = 5
"""``options ndots:5``, which kubelet writes for dnsPolicy ClusterFirst."""
_CLUSTER_POLICIES = frozenset({"ClusterFirst", "ClusterFirstWithHostNet"})
_MAX_NDOTS = 15


class Asker(msgspec.Struct, frozen=True, array_like=True):
    """A pod as its resolver sees the world."""

    pod: str
    """namespace/name; empty where several pods claim the address, and nobody is known by it."""
    domains: tuple[str, ...] = ()
    """Its search path, in order, lower case, no final dots. Empty: nothing is completed for it."""
    ndots: int = CLUSTER_NDOTS
    """A name with so many dots is asked for as it is before the search path is tried."""


class AskersDelta(msgspec.Struct, frozen=True):
    """What an update changed."""

    upserts: Mapping[Addr, Asker] = {}
    removals: tuple[Addr, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True where nothing has changed."""
        return not (self.upserts or self.removals)


class Askers:
    """The pods of one node by their addresses. One owner."""

    def __init__(self, *, node: str, settings: NameSettings) -> None:
        self._node = node
        self._settings = settings
        self._pods: dict[ObjectKey, tuple[tuple[Addr, ...], Asker]] = {}
        self._holders: dict[Addr, tuple[ObjectKey, ...]] = {}
        self._askers: dict[Addr, Asker] = {}

    @property
    def state(self) -> dict[Addr, Asker]:
        """All of them; a copy."""
        return dict(self._askers)

    def update(self, pods: Mapping[ObjectKey, Pod | None]) -> AskersDelta:
        """Take pods in, None for one that is gone."""
        touched: set[Addr] = set()
        for key, pod in pods.items():
            addresses, asker = self._read(pod)
            before, _ = self._pods.pop(key, ((), asker))
            if addresses:
                self._pods[key] = (addresses, asker)
            for address in (*before, *addresses):
                touched.add(address)
                rest = tuple(k for k in self._holders.get(address, ()) if k != key)
                self._holders[address] = (*rest, key) if address in addresses else rest
        upserts: dict[Addr, Asker] = {}
        removals = []
        for address in touched:
            holders = self._holders[address]
            if not holders:
                del self._holders[address]
                if self._askers.pop(address, None) is not None:
                    removals.append(address)
                continue
            # An address that two pods claim tells nobody who asks: better no help than another namespace's.
            asker = self._pods[holders[0]][1] if len(holders) == 1 else Asker("")
            if self._askers.get(address) != asker:
                self._askers[address] = upserts[address] = asker
        return AskersDelta(upserts, tuple(removals))

    def _read(self, pod: Pod | None) -> tuple[tuple[Addr, ...], Asker]:
        if pod is None or pod.spec.node_name != self._node or pod.spec.host_network or is_finished(pod):
            return (), Asker("")
        texts = dict.fromkeys((pod.status.pod_ip, *(p.ip for p in pod.status.pod_ips)))
        addresses = tuple(a for t in texts if (a := parse_addr(t)) is not None)
        return addresses, asker_of(pod, self._settings)


def asker_of(pod: Pod, settings: NameSettings) -> Asker:
    """What kubelet writes into the pod's resolv.conf, as far as completing names goes."""
    domain = settings.cluster_domain
    spec = pod.spec
    domains: list[str] = []
    ndots = 1  # resolv.conf(5)
    if spec.dns_policy in _CLUSTER_POLICIES:
        domains = [f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain]
        ndots = CLUSTER_NDOTS
    elif spec.dns_policy != "None":
        return Asker(str(pod.key))  # the node's own search path, which nobody told us
    if spec.dns_config is not None:
        searches = (s.lower().rstrip(".") for s in spec.dns_config.searches)
        domains = list(dict.fromkeys([*domains, *searches]))
        for one in spec.dns_config.options:
            if one.name == "ndots" and one.value is not None and one.value.isdecimal():
                ndots = min(int(one.value), _MAX_NDOTS)
    if not all(is_domain_name(d) for d in domains):
        domains = []
    return Asker(str(pod.key), tuple(domains), ndots)
