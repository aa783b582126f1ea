"""Parts of a node's agent that belong together, joined. In: the configuration, who takes changes. Out: the parts. Not here: what they do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from netloom.agent.admission import Admission
from netloom.agent.config import AgentConfig
from netloom.agent.dns_questions import DnsQuestions
from netloom.agent.domains import DomainNames
from netloom.agent.mapped_ports import MappedPorts
from netloom.agent.names import NamesFeed
from netloom.agent.pod_limits import PodLimits
from netloom.agent.pod_routes import PodRoutes
from netloom.clock import Clock
from netloom.cni.ipam.store import AddressStore
from netloom.dns.frames import questions_beside, told_beside
from netloom.engine.acks import Acks
from netloom.model.inputs import ClusterFacts
from netloom.model.names.records import NameSettings
from netloom.model.provenance import Finding
from netloom.units import ObjectKey

Mark = Callable[[str, ObjectKey, Any], int]
"""Hands a change of a kind to the model; gives the number of its turn (``Pending.mark``)."""


class PodParts:
    """What this node knows of its own pods' interfaces, before and beside what the API server says."""

    def __init__(
        self, *, config: AgentConfig, mark: Mark, acks: Acks, report: Callable[[Iterable[Finding]], None]
    ) -> None:
        self.store = AddressStore(config.address_store, reuse_delay_s=config.reuse_delay_s)
        self.admission = Admission(node=config.node, mark=functools.partial(mark, "pods"), acks=acks)
        self.admission.remember(self.store.leases())
        self.mapped_ports = MappedPorts(mark=functools.partial(mark, "attachments"), acks=acks)
        self.mapped_ports.remember(self.store.leases())
        self.limits = PodLimits(node=config.node, leases=self.store.leases, report=report)
        self.routes = PodRoutes(leases=self.store.leases)
        self.works = (self.limits, self.routes)


class NameParts:
    """What joins this node's agent to its DNS process."""

    def __init__(
        self,
        *,
        config: AgentConfig,
        cluster: ClusterFacts,
        mark: Mark,
        acks: Acks,
        networks: Callable[[], tuple[str, ...] | None],
        clock: Clock,
    ) -> None:
        self.feed = NamesFeed(
            settings=NameSettings.from_facts(cluster),
            socket_path=config.dns_feed_socket,
            node=config.node,
            processes=config.dns_processes,
            networks=networks,
        )
        self.domains = DomainNames(
            path=told_beside(config.dns_feed_socket),
            mark=functools.partial(mark, "domains"),
            in_force=acks.in_force,
            clock=clock,
        )
        self.questions = DnsQuestions(questions_beside(config.dns_feed_socket))
        self.works = (self.feed, self.questions)
