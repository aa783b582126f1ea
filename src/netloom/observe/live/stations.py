"""Where a walk passes: which frontends it looks up, which policies it asks, which routes it takes, node by node. Pure.

Comes in: a cluster, origin and destination. Goes out: the walk, and its stations. The walk itself tells in words what happens; this
listens in while it asks the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import msgspec

from netloom.api.core import Pod
from netloom.model.gateways.plan import Plan
from netloom.model.inputs import ClusterFacts, ClusterView
from netloom.model.policy.cluster import PolicyCluster
from netloom.model.policy.judge import Judge, Judgement
from netloom.model.policy.state import Direction
from netloom.model.policy.verdicts import Traffic
from netloom.model.services.frontends import Frontend, FrontendKey
from netloom.model.state import NetworkState, PeerRoute
from netloom.model.walk.cluster import ClusterModel
from netloom.units import Addr


class FrontendStation(msgspec.Struct, frozen=True):
    """A packet to this frontend, or to what could be one, on a node."""

    node: str
    key: FrontendKey
    frontend: Frontend | None


class PolicyStation(msgspec.Struct, frozen=True):
    """Policies asked on a node."""

    node: str
    direction: Direction
    traffic: Traffic
    judgement: Judgement


class RouteStation(msgspec.Struct, frozen=True):
    """A route taken on a node: to another node's pods, or to a pod of its own."""

    node: str
    address: Addr
    route: PeerRoute | None
    """None: the pod is on this node."""


Station = FrontendStation | PolicyStation | RouteStation
_Note = Callable[[FrontendKey, Frontend | None], None]


class TracedCluster(ClusterModel):
    """A cluster that notes what a walk asks it."""

    def __init__(self, view: ClusterView, facts: ClusterFacts, plan: Plan | None = None) -> None:
        super().__init__(view, facts, plan)
        self._traced: dict[str, NetworkState] = {}
        self._noted: list[Station] = []

    @property
    def stations(self) -> tuple[Station, ...]:
        """Each once, in the order of the way."""
        found: list[Station] = []
        for station in self._noted:
            if station not in found:
                found.append(station)
        return tuple(found)

    def plain_state(self, node: str) -> NetworkState:
        """As ``state``, and nothing is noted."""
        return super().state(node)

    def state(self, node: str) -> NetworkState:
        """Notes who looks at which frontend."""
        if node not in self._traced:
            state = super().state(node)
            frontends = _Noting(state.frontends, lambda key, found: self._frontend(node, key, found))
            self._traced[node] = msgspec.structs.replace(state, frontends=frontends)
        return self._traced[node]

    def route(self, node: str, address: Addr) -> PeerRoute | None:
        """Notes the route, if there is one."""
        found = super().route(node, address)
        if found is not None:
            self._noted.append(RouteStation(node, address, found))
        return found

    def pod_at(self, address: Addr, node: str | None = None) -> Pod | None:
        """Notes the way to a pod of a node."""
        pod = super().pod_at(address, node)
        if pod is not None and node is not None:
            self._noted.append(RouteStation(node, address, None))
        return pod

    @cached_property
    def judge(self) -> Judge:
        """Notes what it is asked."""
        policies = PolicyCluster.of(self.view, self.facts.dns_addresses)
        return _NotingJudge(policies, self._noted)

    def _frontend(self, node: str, key: FrontendKey, found: Frontend | None) -> None:
        is_service = key.address is not None and any(key.address in one for one in self.facts.service_cidrs)
        if found is not None or is_service:
            self._noted.append(FrontendStation(node, key, found))


class _NotingJudge(Judge):
    def __init__(self, cluster: PolicyCluster, noted: list[Station]) -> None:
        super().__init__(cluster)
        self._policies = cluster
        self._noted = noted

    def judge(self, direction: Direction, traffic: Traffic) -> Judgement:
        found = super().judge(direction, traffic)
        pod = self._policies.holder(traffic.own(direction))
        if pod is not None and pod.node:
            self._noted.append(PolicyStation(pod.node, direction, traffic, found))
        return found


class _Noting(Mapping[FrontendKey, Frontend]):
    """Frontends, and a note of each look at one."""

    def __init__(self, held: Mapping[FrontendKey, Frontend], note: _Note) -> None:
        self._held = held
        self._note = note

    def __getitem__(self, key: FrontendKey) -> Frontend:
        found = self._held.get(key)
        self._note(key, found)
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[FrontendKey]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)
